"""What `decision.limits` counts with."""
