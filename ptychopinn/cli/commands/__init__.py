"""One file per command: its own arguments, one call, a line or a table."""
