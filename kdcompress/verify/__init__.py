"""Check a bundle in the runtimes that are to load it."""
