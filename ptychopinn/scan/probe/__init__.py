"""The light of a probe, of scans as arrays."""
