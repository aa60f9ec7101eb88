"""A teacher and audio become a student in a run directory."""
