"""Benchmarks: `make bench`. Every figure that is worth saying is a ratio to a yardstick in the same run."""
