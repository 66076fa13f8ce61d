"""Decides. Knows no HTTP and no database, and only the clock and the counters that it is given."""
