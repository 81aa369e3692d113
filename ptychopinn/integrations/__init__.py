"""Bridges to programs that call ptychopinn."""
