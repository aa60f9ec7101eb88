"""How accurate and how fast, measured so that a sceptic can believe it (no torch)."""
