"""Networks that no scan trains."""
