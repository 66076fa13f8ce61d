"""Where the tools that agents register are kept: in one process, a file that worker processes share, or Redis."""
