"""Iterative engines: the native one, its error bars, and pty-chi."""
