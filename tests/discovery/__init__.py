"""Tests of swarmd.discovery."""
