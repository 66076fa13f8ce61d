"""The server: HTTP in, a `Verdict` from `decision`, a record, a reply out. Litestar on Granian."""
