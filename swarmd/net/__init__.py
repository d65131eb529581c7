"""Sockets, and the driver that pumps protocol machines: the only place where bytes meet the network."""
