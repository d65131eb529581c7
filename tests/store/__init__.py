"""The store: manifests, the tree guard, serving, downloads, and what a kill leaves behind."""
