"""The command `swarm`: asks a running swarmd over its control socket and prints what it says.

It knows only the control client and its schema, holds no state and decides nothing about files or peers.
Results go to stdout, everything else to stderr; whatever a stranger may have named is escaped before it is
printed. `overview` has the table of commands, one module each; they are imported only when they run.
"""
