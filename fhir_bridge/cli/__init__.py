"""The command line: thin entry points, one file per group of commands."""
