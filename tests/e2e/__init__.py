"""Real daemons, the real command line, real files and sockets on loopback."""
