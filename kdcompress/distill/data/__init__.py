"""Batches of audio: listing, loading, padding, noise."""
