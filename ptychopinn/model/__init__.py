"""The network, what it needs to run, and its files."""
