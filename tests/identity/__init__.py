"""Tests of swarmd.identity."""
