"""What one instance keeps for its plan: the day's checks and agents, and usage events that Cloud has yet to get."""
