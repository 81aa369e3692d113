"""Masks and frames to leave out: those of a file, those found in the frames, those that the user gives."""
