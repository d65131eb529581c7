"""Swarms in virtual time: the real machines over a model of the network, from one seed. `python -m tests.sim`."""
