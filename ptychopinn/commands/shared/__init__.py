"""What several commands share: the request, runs and results as arms, starting points, messages."""
