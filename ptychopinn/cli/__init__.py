"""The command line: arguments in, one library call, a line or a table out."""
