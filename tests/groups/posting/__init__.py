"""Posting, from its bytes to a thousand members in virtual time."""
