"""A dose x overlap study: the matrix as data, one command per job, a report at the end."""
