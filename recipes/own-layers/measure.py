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
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.config.cache import CacheStorage
from kdcompress.config.recipe import Recipe, make_recipe
from kdcompress.config.student import ConformerConfig, PretrainedConfig
from kdcompress.distill.cache_writer import write_cache
from kdcompress.distill.loop import distill
from kdcompress.distill.pretrained import open_as_student
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.initialize import sample_waveforms
from kdcompress.students.pretrained import chosen_layers
from kdcompress.students.pruning.budget import Budget
from kdcompress.students.pruning.prune import Cut, prune
from kdcompress.students.pruning.search import calibration_of, search
from kdcompress.students.student import Student
from kdcompress.students.weights import load_student, save_student
from kdcompress.teachers.open import resolve_teacher
from kdcompress.text.normalize import normalize

BEGUN = ("cut", "evenly spaced", "random weights")
FIT_SECONDS = 40  # for a random cut, of which there are many


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
    parser.add_argument("--steps", type=int, default=0, help="of training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--begun", nargs="+", default=BEGUN, choices=BEGUN, help="what is trained")
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
        wer = round(100 * sum(errors) / sum(found["words"]), 2)
        return {"bytes": 4 * model.parameter_count(), "kl": round(kl, 5), "wer": wer, "errors": errors}

    found["words"] = [len(normalize(entry.text).split()) for entry in references]
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
        if asked.random:
            chance = entry.setdefault("random", {"drawn": []})
            seconds = sum(map(len, calibration.fit)) / SAMPLE_RATE
            few = calibration.fit[:: max(1, round(seconds / FIT_SECONDS))]

            def refitted(cut: Cut, few: list[torch.Tensor] = few) -> list[float]:
                made = prune(student, cut, few, coarse=True).student
                return [4 * made.parameter_count(), round(calibration.of_student(made), 5)]

            if "searched" not in chance:  # refitted as these are
                chance["searched"] = refitted(cut_of(student, entry["frontier"][-1]))
            while len(chance["drawn"]) < asked.random:
                draw = random.Random(f"{budget} {len(chance['drawn'])}")
                chance["drawn"].append(refitted(random_cut(student, target, draw)))
                keep()
        if not asked.steps:
            continue
        labelled(asked)
        plain = asked.runs / f"{folder.name}-even"
        if not plain.is_dir():
            save_student(plain, even(False, fit), vocabulary, {"step": 0})
        begun = {"cut": of_run(folder), "evenly spaced": of_run(plain), "random weights": conformer(target)}
        for name in asked.begun:
            trained = entry.setdefault(f"{name}, {asked.steps} steps", [])
            for seed in range(len(trained), asked.seeds):
                run = asked.runs / f"{folder.name}-{name.split()[0]}-{asked.steps}-{seed}"
                start = time.process_time()
                train(asked, begun[name], run, seed)
                spent = round(time.process_time() - start, 1)
                trained.append(figures(load_student(run).model) | {"cpu_seconds": spent})
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


def cut_of(student: Student, chosen: dict[str, Any]) -> Cut:
    """Return what was cut out of a student, given the entry of what was chosen on the frontier."""
    anatomy, sizes = student.anatomy(), {}
    for index, origin in enumerate(chosen["layers"]):
        for part in anatomy.layers[origin].parts:
            sizes[part.name] = chosen["sizes"][f"{index}.{part.name.split('.', 1)[1]}"]
    sizes |= {part.name: chosen["sizes"][part.name] for part in anatomy.front}
    return Cut(sizes, frozenset(range(len(anatomy.layers))) - frozenset(chosen["layers"]))


def of_run(folder: Path) -> dict[str, Any]:
    """Return the student of a recipe that begins as a run."""
    return {"kind": "pretrained", "source": str(folder), "dropout": 0}


def conformer(target: float) -> dict[str, Any]:
    """Return the student of a recipe that is a Conformer of random weights, the widest that is no larger."""
    for width in range(144, 16, -8):
        config = ConformerConfig(width=width, layers=6, dropout=0.0, frame_shift_ms=40)
        if 4 * ConformerStudent(config, 29).parameter_count() <= target:
            break
    return config.model_dump(mode="json")


class Quiet:
    """Follows a run, and says nothing."""

    def stage(self, *_: Any) -> None: ...
    def step(self, *_: Any) -> None: ...
    def validated(self, *_: Any) -> None: ...
    def say(self, _: str) -> None: ...


def recipe(asked: argparse.Namespace, **keys: Any) -> Recipe:
    """Return a short training on audio alone; all begin alike, are given the same batches, and few steps."""
    made = {
        "objective": {"selection": {"kind": "all"}, "occupancy_weight": 0, "pseudo_label": {"weight": 0}},
        "data": {
            "audio": str(asked.an4 / "train.jsonl"),
            "batch_seconds": 15,
            "noise_share": 0,
            "surround": {"share": 0},
        },
        "training": {
            "steps": max(1, asked.steps),
            "peak_lr": 5e-4,
            "ema_decay": 0.98,
            "delay_ms": 0,
            "validate_every": max(1, asked.steps),
            "spec_augment": {"time_masks": 0, "band_masks": 0},
        },
    }
    return make_recipe(made | keys, [], "own-layers")


def labelled(asked: argparse.Namespace) -> Path:
    """Return the teacher's posteriors, which it is run for once."""
    cache: Path = asked.runs / f"{Path(asked.teacher).name}-cache"
    teacher = resolve_teacher(asked.teacher).model_dump(mode="json")
    write_cache(recipe(asked, teacher=teacher), cache, CacheStorage(), Quiet())
    return cache


def train(asked: argparse.Namespace, student: dict[str, Any], run: Path, seed: int) -> None:
    """Train a student for a few steps."""
    teacher = {"kind": "cache", "path": str(labelled(asked))}
    distill(recipe(asked, teacher=teacher, student=student, seed=seed), run, Quiet(), resume="auto")


if __name__ == "__main__":
    main()
