"""Time `kdcompress transcribe` of many files against onnxruntime alone, in two processes of one thread each.

    python tests/benchmarks/benchmark_transcribe.py BUNDLE AUDIO [--files 1000] [--rounds 5] [--variant fp32]

AUDIO is a folder or a manifest, whose utterances are written as WAV files, repeated if need be. `alone` is
`session.run` on features that were computed beforehand, half of the files in each of two processes that begin
together. Both take turns; ratios are taken within a round, of wall time and of CPU time: of the whole
command, and of what it takes longer than for one file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

import soundfile

from kdcompress.audio.decode import read_audio, read_utterance
from kdcompress.audio.manifest import read_utterances
from kdcompress.runtime.recognizer import Recognizer, pad

JOBS = 2


def alone(bundle: Path, variant: str | None, files: Sequence[Path]) -> None:
    """Run the graph on the features of each file once for every line of standard input; print the times."""
    recognizer = Recognizer(bundle, variant, threads=1)
    session = recognizer.session
    feeds = [session.layout.feeds(*pad([recognizer.features(read_audio(file))])) for file in files]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        for feed in feeds:
            session.session.run(session.layout.outputs, feed)
        sys.stdout.write(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]) + "\n")
        sys.stdout.flush()


def together(workers: "Sequence[subprocess.Popen[str]]") -> tuple[float, float]:
    """Let all processes of `alone` run their files; returns wall time [s] of the slowest, and CPU time."""
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    told = [json.loads(worker.stdout.readline()) for worker in workers if worker.stdout is not None]
    return max(wall for wall, _ in told), sum(cpu for _, cpu in told)


def command(bundle: Path, variant: str | None, files: Sequence[Path]) -> tuple[float, float]:
    """Transcribe files by the command; returns wall and CPU time [s]."""
    line = [sys.executable, "-m", "kdcompress", "transcribe", str(bundle), *map(str, files)]
    line += [] if variant is None else ["--variant", variant]
    wall, before = time.perf_counter(), os.times()
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - wall, cpu


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("audio", type=Path)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--variant")
    parser.add_argument("--alone", nargs="+", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.alone:
        alone(asked.bundle, asked.variant, asked.alone)
        return
    utterances, _ = read_utterances(asked.audio)
    with tempfile.TemporaryDirectory() as folder:
        files, seconds = [], 0.0
        for number, utterance in enumerate(islice(cycle(utterances), asked.files)):
            files.append(Path(folder) / f"{number:05}.wav")
            soundfile.write(files[-1], read_utterance(utterance), 16_000)
            seconds += utterance.duration
        again = [sys.executable, __file__, str(asked.bundle), str(asked.audio)]
        again += [] if asked.variant is None else ["--variant", asked.variant]
        workers = [
            subprocess.Popen(
                [*again, "--alone", *map(str, files[job::JOBS])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for job in range(JOBS)
        ]
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()
        rows = []
        for number in range(asked.rounds + 1):
            whole, one = (
                command(asked.bundle, asked.variant, files),
                command(asked.bundle, asked.variant, files[:1]),
            )
            bare = together(workers)
            if number:  # the first fills caches
                rows.append([whole, one, bare])
        for worker in workers:
            worker.communicate()
    sys.stdout.write(f"{asked.files} files, {seconds / 60:.0f} minutes, {asked.rounds} rounds, medians\n")
    for name, kind in (("wall", 0), ("CPU", 1)):
        whole, one, bare = ([row[of][kind] for row in rows] for of in range(3))
        ratios = [w / b for w, b in zip(whole, bare, strict=True)]
        less = [(w - o) / b for w, o, b in zip(whole, one, bare, strict=True)]
        sys.stdout.write(
            f"{name}: command {statistics.median(whole):.2f} s (one file {statistics.median(one):.2f}), "
            f"onnxruntime {statistics.median(bare):.2f} s; ratio {statistics.median(ratios):.2f} "
            f"[{min(ratios):.2f}, {max(ratios):.2f}], without the start {statistics.median(less):.2f}\n"
        )


if __name__ == "__main__":
    main()
