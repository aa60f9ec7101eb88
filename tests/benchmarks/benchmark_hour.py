"""Transcribe an hour made of utterances with silence between them, and the five minutes that it is made of.

    python tests/benchmarks/benchmark_hour.py BUNDLE test.jsonl

The utterances of a manifest are repeated, with silence between them, to parts of at least five minutes; the
hour is these parts one after the other. Every figure comes from a process of its own. Prints the peak memory
of both, how much of the hour's text is that of the parts, and error rates: of the hour, of the utterances by
themselves, and of the hour in chunks that do not look for pauses.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path

import jiwer
import numpy as np
import soundfile

from kdcompress.audio.decode import read_audio
from kdcompress.audio.manifest import read_references
from kdcompress.runtime.chunks import Chunking
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.text.decode import greedy_pieces

RATE = 16_000
GRID = RATE * 8 // 100  # a multiple of every frame shift


def hear(arguments: argparse.Namespace) -> None:
    """Transcribe the files named, one after the other, and print texts and this process's peak memory."""
    decoder = greedy_pieces
    if arguments.beam:
        from kdcompress.text.beam import BeamSearch

        decoder = BeamSearch(arguments.beam)
    recognizer = Recognizer(
        arguments.bundle,
        arguments.variant,
        threads=1,
        decoder=decoder,
        chunking=Chunking(pause=arguments.pause),
    )
    start = time.perf_counter()
    texts = [recognizer.transcribe(Path(file)).text for file in arguments.hear]
    taken = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
    sys.stdout.write(json.dumps({"texts": texts, "peak": peak, "taken": taken}))


def heard(arguments: argparse.Namespace, files: list[Path], pause: float = 0.8) -> dict[str, object]:
    """Run `hear` in a process of its own."""
    command = [sys.executable, __file__, str(arguments.bundle), str(arguments.manifest)]
    command += ["--beam", str(arguments.beam), "--pause", str(pause), "--hear", *map(str, files)]
    command += [] if arguments.variant is None else ["--variant", arguments.variant]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def build(arguments: argparse.Namespace, folder: Path) -> tuple[list[Path], Path, list[list[int]]]:
    """Write the parts and the hour; returns them and which utterance is where in the parts."""
    references = read_references(arguments.manifest)
    rng = np.random.default_rng(0)
    waveforms = [read_audio(r.utterance.audio, r.utterance.start, r.utterance.duration) for r in references]
    order = cycle(range(len(waveforms)))
    parts, said = [], []
    hour = folder / f"hour.{arguments.suffix}"
    with soundfile.SoundFile(hour, "w", RATE, 1) as whole:
        while whole.frames < arguments.minutes * 60 * RATE:
            parts.append(folder / f"part{len(parts):02}.{arguments.suffix}")
            said.append([])
            with soundfile.SoundFile(parts[-1], "w", RATE, 1) as part:
                while part.frames < 300 * RATE:
                    said[-1].append(next(order))
                    waveform = waveforms[said[-1][-1]]
                    # Parts begin on the hour's grid of frames, or no two frames would see the same samples.
                    silence = round(arguments.silence * RATE)
                    silence += -(len(waveform) + silence) % GRID
                    noise = rng.normal(0, arguments.noise, silence).astype(np.float32)
                    # Parts begin and end within a silence.
                    for samples in (noise[: silence // 2], waveform, noise[silence // 2 :]):
                        part.write(samples)
                        whole.write(samples)
    return parts, hour, said


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--variant")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--silence", type=float, default=1.0, help="between utterances [s]")
    parser.add_argument("--noise", type=float, default=1e-4, help="standard deviation of the silence")
    parser.add_argument("--suffix", default="flac")
    parser.add_argument("--beam", type=int, default=0)
    parser.add_argument("--pause", type=float, default=0.8, help=argparse.SUPPRESS)
    parser.add_argument("--hear", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.hear:
        hear(arguments)
        return
    references = read_references(arguments.manifest)
    with tempfile.TemporaryDirectory() as folder:
        parts, hour, said = build(arguments, Path(folder))
        one = heard(arguments, parts[:1])
        whole = heard(arguments, [hour])
        apart = heard(arguments, parts)
        blind = heard(arguments, [hour], pause=0)
        alone = Recognizer(arguments.bundle, arguments.variant, threads=1)
        texts = [
            alone.transcribe(read_audio(r.utterance.audio, r.utterance.start, r.utterance.duration)).text
            for r in references
        ]
        seconds = soundfile.info(hour).duration
    lines = [index for part in said for index in part]
    reference = " ".join(references[index].text for index in lines)
    by_itself = " ".join(texts[index] for index in lines)
    text, joined = whole["texts"][0], " ".join(apart["texts"])
    words = jiwer.process_words(joined, text)
    sys.stdout.write(
        f"peak memory: {one['peak']:.0f} MB for five minutes, {whole['peak']:.0f} MB for {seconds / 60:.0f} "
        f"minutes: {whole['peak'] / one['peak']:.2f} ×; {whole['taken']:.1f} s, real-time factor "
        f"{whole['taken'] / seconds:.4f}\n"
        f"text against that of the {len(parts)} parts: {'equal' if text == joined else 'not equal'}, "
        f"{words.substitutions + words.deletions + words.insertions} of {len(joined.split())} words differ\n"
        f"WER: {jiwer.wer(reference, by_itself):.2%} for the utterances by themselves, "
        f"{jiwer.wer(reference, text):.2%} for the hour, "
        f"{jiwer.wer(reference, blind['texts'][0]):.2%} in chunks that do not look for pauses\n"
    )


if __name__ == "__main__":
    main()
