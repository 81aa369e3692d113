"""Registration, Fourier ring correlation, scores, comparison."""
