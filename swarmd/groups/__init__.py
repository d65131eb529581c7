"""What a group is, who is in it and what it shares: groupspec, tickets, join proof, membership, catalogue."""
