"""What `make demo` runs: three daemons on this machine, one shares a file, the other two fetch it at once."""
