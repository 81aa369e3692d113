"""PNG figures."""
