"""Micro-benchmarks. Run by hand, on a quiet machine; nothing here is timed in a test."""
