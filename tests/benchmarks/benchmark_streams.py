"""Measure how many streams a core keeps up with, here and in sherpa-onnx, on the same graph.

    python tests/benchmarks/benchmark_streams.py BUNDLE test.jsonl [--streams 1,8,64,256] [--variant fp32]

For bundles of the profiles `streaming` and `telephone`. One process on one core, one thread each. Both are
given a chunk of every stream in turn, who begins alternates, and what counts is CPU time: from the samples to
the text. Ratios are taken over `--block` chunks at a time, so that a machine that is slow for a while is slow
for both.
"""

import argparse
import gc
import os
import sys
import time
from pathlib import Path

import numpy as np

from kdcompress.audio.decode import read_audio
from kdcompress.audio.manifest import read_references
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.bench.combinations import combine
from kdcompress.bench.runtimes import bundle, sherpa

RUNTIMES = {"kdcompress": bundle, "sherpa-onnx": sherpa}


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--streams", default="1,8,64,256")
    parser.add_argument("--variant", default="fp32")
    parser.add_argument("--chunks", type=int, default=60, help="of each stream, for up to 64 streams")
    parser.add_argument("--block", type=int, default=6)
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    specs = [one.spec for one in combine([args.bundle], list(RUNTIMES), [args.variant])]
    rivals = [module.build(spec) for module, spec in zip(RUNTIMES.values(), specs, strict=True)]
    for rival in rivals:
        rival.load()
    seconds = rivals[0].chunk_seconds
    size = round(seconds * SAMPLE_RATE)
    sound = np.concatenate([read_audio(r.utterance.audio) for r in read_references(args.manifest)[:50]])
    sys.stdout.write("| streams | streams a core | in sherpa-onnx | ratio, median (least to most) |\n")
    sys.stdout.write("|---:|---:|---:|---:|\n")
    for count in map(int, args.streams.split(",")):
        starts = np.linspace(0, len(sound), count, endpoint=False).astype(int)
        streams = [rival.open_streams(count) for rival in rivals]
        turns = max(args.chunks * 64 // max(count, 64), 2 * args.block)
        spent = np.zeros((turns, 2))
        gc.collect()
        for turn in range(-2, turns):  # the first two fill look-aheads and caches
            chunks = [
                np.take(sound, range(s + turn * size, s + (turn + 1) * size), mode="wrap") for s in starts
            ]
            for which in (0, 1) if turn % 2 else (1, 0):
                begin = time.process_time()
                for stream, chunk in enumerate(chunks):
                    streams[which].push(stream, chunk)
                streams[which].advance()
                spent[turn, which] = time.process_time() - begin
        blocks = spent[: turns // args.block * args.block].reshape(-1, args.block, 2).sum(axis=1)
        ratios = blocks[:, 1] / blocks[:, 0]
        ours, theirs = count * seconds * turns / spent.sum(axis=0)
        sys.stdout.write(
            f"| {count} | {ours:.0f} | {theirs:.0f} | {np.median(ratios):.2f} "
            f"({ratios.min():.2f} to {ratios.max():.2f}) |\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
