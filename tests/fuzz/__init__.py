"""Fuzzing of what is parsed in Python: bodies and tokens (`make fuzz`). Not part of `make test`."""
