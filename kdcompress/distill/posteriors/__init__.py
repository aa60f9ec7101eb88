"""Where teacher posteriors come from: a teacher, memory, or a cache on disk."""
