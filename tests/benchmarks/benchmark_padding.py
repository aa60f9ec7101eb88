"""Measure how much of the training batches is padding, on the demo's audio or on some of yours.

    python tests/benchmarks/benchmark_padding.py [DIR|MANIFEST]

Decodes an epoch at several speeds for several sizes of batches, with the sampler's default buckets.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from kdcompress.audio.manifest import read_utterances
from kdcompress.config.data import DataConfig
from kdcompress.distill.data.batches import Batches, write_cuts
from kdcompress.resources import recipe_path

SPEEDS = (0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("audio", type=Path, nargs="?", default=recipe_path("demo").parent / "train.jsonl")
    utterances, _ = read_utterances(parser.parse_args().audio)
    with tempfile.TemporaryDirectory() as folder:
        cuts = Path(folder) / "cuts.jsonl"
        write_cuts(utterances, cuts)
        for seconds in (12, 30, 120):
            config = DataConfig(batch_seconds=seconds, speed=SPEEDS)
            batches = samples = padded = 0
            for batch in Batches(cuts, len(utterances), config, seed=0).epoch(0):
                batches += 1
                samples += int(batch.lengths.sum())
                padded += batch.waveforms.numel()
            sys.stdout.write(
                f"batches of {seconds} s: {1 - samples / padded:.1%} padding in {batches} batches\n"
            )


if __name__ == "__main__":
    main()
