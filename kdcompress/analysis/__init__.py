"""What is known of a teacher or student from audio: inspection, advice, comparisons, scores."""
