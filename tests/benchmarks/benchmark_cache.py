"""Time an epoch with a cache against one that asks the teacher, and weigh caches against their estimates.

    python tests/benchmarks/benchmark_cache.py

Trains on some of the demo's audio a student of a tenth of its teacher's size, the teacher being of 10 or 30
million random weights: epochs with every batch shown to the teacher and from a cache, in turn. Then the bytes
per hour of audio of three ways of storing, each beside what was foreseen before the teacher had heard it all.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdcompress.audio.manifest import read_utterances
from kdcompress.config.cache import CacheStorage
from kdcompress.config.recipe import Recipe
from kdcompress.config.student import ConformerConfig
from kdcompress.distill.cache_writer import write_cache
from kdcompress.distill.loop import distill
from kdcompress.resources import recipe_path
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.weights import save_student
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.vocabulary import Vocabulary

# A tenth of the teacher's parameters, by the teacher's preset.
STUDENTS = {
    "10M": {"width": 112, "layers": 5, "heads": 4, "feed_forward": 2.0, "stem_channels": 24, "dropout": 0.0},
    "30M": {"width": 184, "layers": 6, "heads": 4, "feed_forward": 2.0, "stem_channels": 32, "dropout": 0.0},
}
SECONDS = 240.0
UNITS = ("<blk>", "|", *"abcdefghijklmnopqrstuvwxyz'")


class Quiet:
    """An observer that looks at nothing."""

    def stage(self, name: str, done: int, total: int) -> None: ...
    def step(self, step: int, total: int, figures: dict[str, Any]) -> None: ...
    def validated(self, step: int, figures: Any, best: bool) -> None: ...
    def say(self, text: str) -> None: ...


class Wide:
    """A teacher of many units: spikes of a few likely ones at every eighth frame, 25 frames a second."""

    sample_rate, frame_shift, fingerprint, parameters, bytes = 16_000, 0.04, "wide", 0, 0

    def __init__(self, size: int) -> None:
        self.vocabulary = Vocabulary(("<blk>", *(f"▁{index}" for index in range(1, size))), 0, None)

    def posteriors(self, waveforms: Tensor, lengths: Tensor) -> Posteriors:
        """Draw posteriors that depend on the lengths alone."""
        frames = lengths // 640
        generator = torch.Generator().manual_seed(int(lengths.sum()))
        scores = 2 * torch.randn(len(lengths), int(frames.max()), len(self.vocabulary), generator=generator)
        scores[..., 0] += 12
        scores[:, ::8, 0] -= 14
        return Posteriors(scores.log_softmax(-1), frames, self.frame_shift)


def recipe(audio: Path, teacher: dict[str, str], student: dict[str, float]) -> Recipe:
    """Return a recipe of two epochs over the audio."""
    steps = 2 * round(SECONDS / 13)
    training = {"teacher_memory_mb": 0, "log_every": 1, "steps": steps, "validate_every": steps}
    data = {"audio": str(audio), "batch_seconds": 15, "validation": {"max_seconds": 1}}
    return Recipe.model_validate({"teacher": teacher, "student": student, "data": data, "training": training})


def epoch(asked: Recipe, out: Path) -> float:
    """Train, and return the seconds of the second epoch: the first decodes the audio."""
    distill(asked, out, Quiet())
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    times = [line["seconds"] for line in lines if "seconds" in line]
    return float(times[-1] - times[len(times) // 2])


def big_teacher(folder: Path, preset: str) -> dict[str, str]:
    """Save a model of random weights, and return how a recipe names it."""
    torch.manual_seed(0)
    vocabulary = Vocabulary(UNITS, 0, "|")
    config = ConformerConfig.model_validate({"preset": preset, "frame_shift_ms": 40})
    save_student(folder, ConformerStudent(config, len(vocabulary)), vocabulary, {"step": 0})
    return {"kind": "checkpoint", "path": str(folder)}


def some_audio(folder: Path) -> Path:
    """Write a manifest of a few minutes of the demo's audio."""
    utterances, _ = read_utterances(recipe_path("demo").parent / "train.jsonl")
    manifest, total = folder / "some.jsonl", 0.0
    with manifest.open("w", encoding="utf-8") as file:
        for utterance in utterances:
            total += utterance.duration
            line = {"audio_filepath": str(utterance.audio), "id": utterance.id}
            line |= {"offset": utterance.start, "duration": utterance.duration}
            file.write(json.dumps(line) + "\n")
            if total > SECONDS:
                break
    return manifest


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--teacher", choices=STUDENTS, default="10M")
    options = parser.parse_args()
    repeats, student = options.repeats, STUDENTS[options.teacher]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        audio = some_audio(folder)
        teacher = big_teacher(folder / "teacher", options.teacher)
        write_cache(recipe(audio, teacher, student), folder / "cache", CacheStorage(), Quiet())
        cached = {"kind": "cache", "path": str(folder / "cache")}
        ratios = []
        for index in range(repeats):
            online = epoch(recipe(audio, teacher, student), folder / f"online{index}")
            ratios.append(online / epoch(recipe(audio, cached, student), folder / f"cached{index}"))
        sys.stdout.write(
            f"an epoch from the cache: {statistics.median(ratios):.1f}× faster "
            f"({min(ratios):.1f} to {max(ratios):.1f})\n"
        )
        for title, size, storage in (
            ("V 32, dense", 32, CacheStorage()),
            ("V 1024, top 16 and the rest", 1024, CacheStorage(top_k=16)),
            ("V 32, selected frames", 32, CacheStorage(frames="selected")),
        ):
            out = folder / f"cache-{title}"
            made = write_cache(recipe(audio, teacher, student), out, storage, Quiet(), teacher=Wide(size))
            hours = sum(json.loads(line)["duration"] for line in audio.read_text().splitlines()) / 3600
            assert made.estimated is not None
            sys.stdout.write(
                f"{title}: {made.bytes / hours / 1e6:.2f} MB an hour, foreseen "
                f"{made.estimated / hours / 1e6:.2f} ({made.estimated / made.bytes - 1:+.1%})\n"
            )


if __name__ == "__main__":
    main()
