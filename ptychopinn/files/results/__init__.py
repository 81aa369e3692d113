"""Results of this and of other programs: images, probes and positions that were found, read as sources."""
