"""The command `bench`: its options, what it measures, and what it writes."""
