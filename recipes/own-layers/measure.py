"""Students cut out of a teacher, before and after training, against layers at even distances and random cuts.

    python recipes/own-layers/measure.py recipes/demo/teacher --an4 an4 --out demo-teacher.json
    python recipes/own-layers/measure.py recipes/demo/teacher --an4 an4 --out demo-teacher.json --steps 200

Audio of an4/train.jsonl, without its transcripts; words of an4/test.jsonl. What is in --out already is kept.
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from kdcompress.analysis.student_score import decode, word_errors
from kdcompress.audio.manifest import read_references, read_utterances
from kdcompress.config.recipe import make_recipe
from kdcompress.config.student import PretrainedConfig
from kdcompress.distill.loop import distill
from kdcompress.distill.pretrained import open_as_student
from kdcompress.students.initialize import sample_waveforms
from kdcompress.students.pretrained import chosen_layers
from kdcompress.students.pruning.budget import Budget
from kdcompress.students.pruning.prune import Cut, prune
from kdcompress.students.pruning.search import calibration_of, search
from kdcompress.students.student import Student
from kdcompress.students.weights import load_student, save_student
from kdcompress.teachers.open import resolve_teacher
from kdcompress.text.normalize import normalize


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("teacher")
    parser.add_argument("--an4", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/own-layers"))
    parser.add_argument("--budgets", nargs="+", default=["0.5x", "0.25x"])
    parser.add_argument("--random", type=int, default=0, help="random cuts of equal size, refitted likewise")
    parser.add_argument("--steps", type=int, default=0, help="of training, three seeds each")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = json.loads(asked.out.read_text()) if asked.out.is_file() else {}

    def keep() -> None:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(found, indent=1) + "\n")

    student, vocabulary = open_as_student(PretrainedConfig(), resolve_teacher(asked.teacher))
    references = read_references(asked.an4 / "test.jsonl")
    utterances, _ = read_utterances(asked.an4 / "train.jsonl")
    sounds = list(sample_waveforms(utterances))
    calibration, fit = calibration_of(student, sounds)

    def figures(model: Student) -> dict[str, Any]:
        with torch.no_grad():
            said = decode(model, vocabulary, model.frame_shift, [entry.utterance for entry in references])
            kl = calibration.of_student(model)
        texts = [normalize(said[entry.utterance.id].text) for entry in references]
        truths = [normalize(entry.text) for entry in references]
        errors = [sum(edits) for edits in word_errors(truths, texts)]
        words = [len(text.split()) for text in truths]
        size = 4 * model.parameter_count()
        return {
            "bytes": size,
            "kl": round(kl, 5),
            "wer": round(100 * sum(errors) / sum(words), 2),
            "errors": errors,
        }

    if "teacher" not in found:
        found["teacher"] = figures(student)
        keep()
    for budget in asked.budgets:
        entry = found.setdefault(budget, {})
        folder = asked.runs / f"{Path(asked.teacher).name}-{budget}"
        target = Budget.parse(budget).of(4 * student.parameter_count()) * 4 * student.parameter_count()
        if "cut" not in entry and "frontier" in entry and folder.is_dir():  # was broken off between the two
            entry["cut"] = figures(load_student(folder).model)
            keep()
        if "cut" not in entry:
            begin = time.process_time()
            frontier = search(student, vocabulary, Budget.parse(budget), sounds)
            entry["search_cpu_seconds"] = round(time.process_time() - begin, 1)
            entry["frontier"] = frontier.to_json()["tried"]
            save_student(folder, frontier.chosen.student, vocabulary, {"step": 0})
            entry["cut"] = figures(frontier.chosen.student)
            keep()
        even = evenly_spaced(student, target)
        if "evenly spaced, not refitted" not in entry:
            entry["evenly spaced, not refitted"] = figures(even(False, fit))
            entry["evenly spaced, refitted"] = figures(even(True, fit))
            keep()
        drawn = entry.setdefault("random", [])
        draw = random.Random(f"{budget} {len(drawn)}")
        while len(drawn) < asked.random:
            made = prune(student, random_cut(student, target, draw), calibration.fit).student
            drawn.append([4 * made.parameter_count(), round(calibration.of_student(made), 5)])
            keep()
        if asked.steps:
            plain = asked.runs / f"{folder.name}-even"
            if not plain.is_dir():
                save_student(plain, even(False, fit), vocabulary, {"step": 0})
            for name, source in (("cut", folder), ("evenly spaced", plain)):
                trained = entry.setdefault(f"{name}, {asked.steps} steps", [])
                for seed in range(len(trained), 3):
                    run = asked.runs / f"{source.name}-{asked.steps}-{seed}"
                    train(asked, source, run, seed)
                    trained.append(figures(load_student(run).model))
                    keep()
    keep()


def evenly_spaced(student: Student, target: float) -> Callable[[bool, list[torch.Tensor]], Student]:
    """Return what makes the student of the most layers at even distances that is no larger."""
    layers = len(student.anatomy().layers)
    for count in range(layers - 1, 0, -1):
        cut = Cut(dropped=frozenset(range(layers)) - frozenset(chosen_layers(count, layers)))
        tried = prune(student, cut, [torch.zeros(16_000)], refit=False).student
        if 4 * tried.parameter_count() <= target or count == 1:
            break
    return lambda refit, fit: prune(student, cut, fit, refit=refit).student


def random_cut(student: Student, target: float, draw: random.Random) -> Cut:
    """Return a cut to a number of bytes: layers and, of what stays, shares of units by chance."""
    anatomy = student.anatomy()
    layers = range(len(anatomy.layers))
    while True:
        dropped = frozenset(draw.sample(layers, draw.randint(0, len(anatomy.layers) // 2)))
        gone = {part.name for index in dropped for part in anatomy.layers[index].parts}
        weights = {part.name: draw.uniform(0.2, 1.0) for _, part in anatomy}
        low, high, found = 0.0, 5.0, None
        for _ in range(12):
            middle = (low + high) / 2
            sizes, total = {}, 4.0 * student.parameter_count()
            total -= sum(4 * sum(p.numel() for p in anatomy.layers[i].module.parameters()) for i in dropped)
            for owner, part in anatomy:
                if part.name not in gone:
                    sizes[part.name] = max(
                        1, min(part.units, round(part.units * weights[part.name] * middle))
                    )
                    total -= 4 * (part.units - sizes[part.name]) * part.parameters(owner)
            if total <= target:
                low, found = middle, (total, Cut(sizes, dropped))
            else:
                high = middle
        if found is not None and found[0] > 0.97 * target:
            return found[1]


def train(asked: argparse.Namespace, source: Path, run: Path, seed: int) -> None:
    """Train a student on audio alone for a few steps, as the demo's is trained."""

    class Quiet:
        def stage(self, *_: Any) -> None: ...
        def step(self, *_: Any) -> None: ...
        def validated(self, *_: Any) -> None: ...
        def say(self, _: str) -> None: ...

    recipe = {
        "seed": seed,
        "teacher": resolve_teacher(asked.teacher).model_dump(mode="json"),
        "student": {"kind": "pretrained", "source": str(source)},
        "data": {"audio": str(asked.an4 / "train.jsonl"), "batch_seconds": 15},
        "training": {
            "steps": asked.steps,
            "peak_lr": 3e-4,
            "ema_decay": 0.99,
            "delay_ms": 0,
            "validate_every": asked.steps,
            "spec_augment": {"time_masks": 0, "band_masks": 0},
        },
    }
    distill(make_recipe(recipe, [], "own-layers"), run, Quiet(), resume="auto")


if __name__ == "__main__":
    main()
