"""The tests of swarmd, by the rungs of the design: vectors, unit, conformance, simulation, fuzz, end to end."""
