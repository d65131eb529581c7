"""Who a node is: its keys, its certificate, and the handshake that proves them to a peer."""
