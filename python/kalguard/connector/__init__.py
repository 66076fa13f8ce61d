"""The connection to KalGuard Cloud: licence, signing keys, revocations in; usage out. Never on the way of a check."""
