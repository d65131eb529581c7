"""What every layer stands on: ids, errors, clock, randomness, codecs, range sets, safe names. Stdlib only."""
