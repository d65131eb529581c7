"""Objects on disk: manifests, sharing in place, downloads, and what the node remembers.

From files to a content ID: `scan` walks, `hashing` reads, `layout` says which bytes are which chunk,
`manifest` writes it down. From a content ID to files: `tree` is the only way to write below a user's
folder. All of it is synchronous and runs on worker threads.
"""
