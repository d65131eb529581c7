"""Tests of swarmd.groups."""
