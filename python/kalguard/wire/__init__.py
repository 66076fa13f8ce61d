"""What leaves the process: replies, audit lines, usage events. camelCase lives here and nowhere else."""
