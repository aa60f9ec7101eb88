"""`auto`: the best mixture of precisions within a budget."""
