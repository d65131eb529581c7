"""Directed routing."""
