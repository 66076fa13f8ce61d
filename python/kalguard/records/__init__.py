"""What is kept of a verdict: the audit record, and the usage event for Cloud."""
