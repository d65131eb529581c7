"""Tests of swarmd.core."""
