"""The `kalguard` command. Exit codes: 0 it is so, 1 it is not so, 2 the question cannot be answered as asked."""
