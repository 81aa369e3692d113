"""One file per command: what it computes and writes."""
