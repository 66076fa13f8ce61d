"""KalGuard: runtime security for AI agents.

Importing this package does nothing but name it; the server is `kalguard.sidecar`, the commands `kalguard.cli`.
"""
