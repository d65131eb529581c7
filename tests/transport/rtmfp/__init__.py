"""RFC 7016: its bytes, its machines, and pairs of endpoints over a network that loses and reorders."""
