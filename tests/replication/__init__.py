"""Tests of `swarmd.replication`: its parts one by one, replicators joined by function calls, and small swarms."""
