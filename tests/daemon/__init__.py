"""Tests of swarmd.daemon."""
