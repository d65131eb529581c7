"""swarmd: a daemon that lets a group of machines share large files without a server."""

__version__ = "0.1.0"
