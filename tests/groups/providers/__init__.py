"""Who holds what in a group: announced, kept and found."""
