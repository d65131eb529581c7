"""Directed routing in a group: NetGroup's calls, one hop each, and messages that the members carry to an address."""
