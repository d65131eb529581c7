"""Posting: short messages from any authorised member to all members, announced by key and fetched by who lacks them."""
