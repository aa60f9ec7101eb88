"""Tokens become text and back (numpy; no torch)."""
