"""The small models: what they compute and how their weights are kept."""
