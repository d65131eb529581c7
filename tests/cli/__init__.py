"""Tests of `swarm`: the real command against a real control server with small handlers."""
