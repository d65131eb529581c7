"""How members of a group meet, and leave each other notes, in a DHT whose nodes are strangers."""
