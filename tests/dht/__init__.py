"""Tests of the DHT."""
