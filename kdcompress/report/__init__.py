"""Results of benchmarks: records, scores, statistics, the gate and the pages that show them."""
