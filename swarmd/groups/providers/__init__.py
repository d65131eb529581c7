"""Who of a group holds an object: found over the ring, where neighbours do not hold it."""
