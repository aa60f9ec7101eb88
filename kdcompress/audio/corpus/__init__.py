"""Corpora of many formats become lines, shard by shard; one module for each format."""
