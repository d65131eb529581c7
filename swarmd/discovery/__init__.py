"""Finding peers on the local network: multicast DNS, and what its announcements say and hide."""
