"""Reading and writing files; what a format means is decided here and nowhere else."""
