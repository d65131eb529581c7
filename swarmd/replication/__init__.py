"""Object replication: the swarming core of a group, as one sans-IO machine per node.

`replicator.Replicator` is the only class that the layers above use; its head explains how to drive it. Have and
Want are sets of chunk indices, as in NetGroup; receiving is not having: a chunk is announced only once it is stored.
"""
