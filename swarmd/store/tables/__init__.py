"""What the node remembers, one module per subject: plain rows in and out of the database, no rules about them.

A row's bytes (a groupspec, a signed record, a list of addresses) are opaque here: their owners encode and check them.
"""
