"""Smaller students in closed form: what can be cut, what to cut, and how what is left is refitted."""
