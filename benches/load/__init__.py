"""What KalGuard carries, measured beside yardsticks and peers in one run: `make load`. See `benches/README.md`."""
