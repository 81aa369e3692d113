"""Pixels and frames that a detector did not measure: found, named, left out."""
