"""Sessions over one TCP connection: Noise IK keying, then AEAD records that carry flows.

`keying` makes the keys, `record` seals and opens, `frames` is the layout inside a record, `outbox` decides what is
sent next, `session` is the machine that joins them. No socket is touched here: see `swarmd.net`.
"""
