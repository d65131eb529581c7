"""Kademlia with Mainline's wire format, sans-IO: distributed storage and rendezvous. `node.Node` is the way in."""
