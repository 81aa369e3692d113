"""Commands that make an image, or the probe for it, from frames alone."""
