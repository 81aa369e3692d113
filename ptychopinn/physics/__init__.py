"""Stateless torch functions for far-field ptychography: no settings, no files, no state."""
