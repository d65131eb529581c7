"""Sessions between two nodes: what a session is (`api`), its implementations, and the one-per-pair rule (`sessions`).

Features above import `swarmd.transport.api` only.
"""
