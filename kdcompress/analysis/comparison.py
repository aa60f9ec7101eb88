"""Train every row of a comparison with every seed, score each student, and summarise the differences.

DIR/  ROW/seed-0/  a run directory, and score.json in it when the student has been scored
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdcompress import __version__
from kdcompress.analysis.rehearsal import rehearse
from kdcompress.analysis.student_score import decode, score_student
from kdcompress.audio.manifest import read_references, read_utterances
from kdcompress.audio.utterance import Reference
from kdcompress.config.comparison import Comparison, row_recipes
from kdcompress.config.recipe import Recipe, load_recipe, merge, read_layers
from kdcompress.distill.distributed import training_device
from kdcompress.distill.loop import distill
from kdcompress.distill.observer import Observer
from kdcompress.distill.posteriors.source import PosteriorSource, open_source
from kdcompress.distill.run import environment
from kdcompress.errors import ConfigError, KdcompressError, RunError
from kdcompress.files import write_file
from kdcompress.report.bootstrap import difference, rate
from kdcompress.resources import recipe_path
from kdcompress.students.weights import load_student
from kdcompress.teachers.open import open_teacher, resolve_teacher
from kdcompress.teachers.teacher import Teacher

SCHEMA = 1


@dataclass(frozen=True)
class Materials:
    """What is not part of a comparison because it lies elsewhere on every machine.

    Attributes:
        teacher: as `--teacher` takes it.
        audio: what rows without transcripts train on.
        transcribed: the same audio as a manifest with texts, for rows whose objective reads them.
        test: manifest with texts.
        silence: folder or manifest of clips without speech; None leaves them out.
        cache: posteriors of the teacher that all rows train on; None runs it on the audio. A cache is of one
            seed, where there are clips of noise.
    """

    teacher: str
    audio: Path
    transcribed: Path | None
    test: Path
    silence: Path | None
    cache: Path | None = None


@dataclass(frozen=True)
class Cell:
    """One row with one seed: its recipe and where it lives."""

    row: str
    seed: int
    recipe: Recipe
    folder: Path


def cells(comparison: Comparison, materials: Materials, out: Path) -> list[Cell]:
    """Lay the rows over the recipe, all rows of a seed before the next seed.

    Raises:
        ConfigError: as `row_recipes`.
    """
    taught = resolve_teacher(materials.teacher).model_dump(mode="json")
    if materials.cache is not None:
        taught = {"kind": "cache", "path": str(materials.cache.expanduser().resolve())}
    flags = {
        "teacher": taught,
        "data": {"audio": str(materials.audio.resolve())},
    }
    layers = merge(read_layers(recipe_path(comparison.recipe)), flags)
    return [
        Cell(row, seed, recipe, out / row / f"seed-{seed}")
        for seed in comparison.seeds
        for row, recipe in row_recipes(comparison, layers, seed, materials.transcribed).items()
    ]


def compare(
    comparison: Comparison,
    materials: Materials,
    out: Path,
    observer: Observer,
    *,
    shard: tuple[int, int] = (0, 1),
    on_cell: Callable[[Cell, int, int], None] | None = None,
) -> bool:
    """Train and score the cells of a shard; what is done is skipped, what was interrupted goes on.

    Every row that is not begun is tried for a step before the first is trained. A row that fails later does
    not keep the others from being trained.

    Args:
        shard: (i, n): the cells i, i + n, i + 2n, …, so that n processes share a comparison.
        on_cell: called with each cell before it is trained, its number and how many there are.

    Returns:
        Whether all of the shard is done; False after a signal.

    Raises:
        ConfigError: a cell was trained with other settings than these, or rows cannot be trained.
        RunError: cells failed while they were trained; says which and why, when all others are done.
    """
    index, of = shard
    mine = cells(comparison, materials, out)[index::of]
    untried: dict[str, Recipe] = {}
    for cell in mine:
        if not _scored(cell) and not (cell.folder / "recipe.yaml").is_file():
            untried.setdefault(cell.row, cell.recipe)
    rehearse(untried, observer)
    failed: list[str] = []
    scoring: _Scoring | None = None
    source: PosteriorSource | None = None
    source_of = None
    for number, cell in enumerate(mine):
        if _scored(cell):
            continue
        if on_cell is not None:
            on_cell(cell, number, len(mine))
        try:
            asked = cell.recipe.teacher if cell.recipe.objective.kd_weight > 0 else None
            if asked is not None and source_of != (cell.seed, asked):
                # Rows of one seed and teacher train on the same audio: the teacher runs on it once for all.
                source, source_of = open_source(asked, training_device()), (cell.seed, asked)
            begun = (cell.folder / "recipe.yaml").is_file()
            own = None if asked is None else source
            # The recipe is given again on resumption: a run of other settings must not pass for this one.
            if not distill(cell.recipe, cell.folder, observer, resume=begun, source=own).finished:
                return False
            if scoring is None:
                scoring = _Scoring(materials)
            text = json.dumps({"schema": SCHEMA, **scoring(cell.folder)})
        except KdcompressError as error:
            failed.append(f"{cell.row}, seed {cell.seed}: {error}")
            observer.say(f"failed: {failed[-1]}")
            continue
        write_file(cell.folder / "score.json", text + "\n")
    if failed:
        raise RunError(
            f"{len(failed)} of {len(mine)} runs failed, the others are done: {'; '.join(failed)}; "
            "the same command tries them again"
        )
    return True


def _scored(cell: Cell) -> bool:
    if not (cell.folder / "score.json").is_file():
        return False
    if load_recipe(cell.folder / "recipe.yaml") != cell.recipe:
        raise ConfigError(
            f"{cell.folder} was trained with other settings than the comparison has now; "
            "remove it to train it again, or choose another --out"
        )
    return True


class _Scoring:
    """The test set and the teacher's transcripts of it, kept for all students."""

    def __init__(self, materials: Materials) -> None:
        self.references: Sequence[Reference] = read_references(materials.test)
        self.silence = [] if materials.silence is None else read_utterances(materials.silence)[0]
        self.utterances = [r.utterance for r in self.references]
        teacher = open_teacher(resolve_teacher(materials.teacher))
        self.teacher_shift = teacher.frame_shift
        self.teacher_decoded = decode(
            lambda waveforms, lengths: _outputs(teacher, waveforms, lengths),
            teacher.vocabulary,
            teacher.frame_shift,
            self.utterances,
        )

    def __call__(self, run: Path) -> dict[str, Any]:
        found = load_student(run)
        shift = found.model.frame_shift
        speech, silence = (
            decode(found.model, found.vocabulary, shift, utterances)
            for utterances in (self.utterances, self.silence)
        )
        score = score_student(
            speech,
            self.references,
            shift,
            silence,
            sum(u.duration for u in self.silence),
            self.teacher_decoded,
            self.teacher_shift,
            phonetic=found.vocabulary.phonetic,
        )
        return {
            "parameters": found.model.parameter_count(),
            "step": found.record.get("step"),
            **score.to_json(),
        }


def _outputs(teacher: Teacher, waveforms: Any, lengths: Any) -> tuple[Any, Any]:
    found = teacher.posteriors(waveforms, lengths)
    return found.log_probs, found.lengths


def summarize(comparison: Comparison, materials: Materials, out: Path) -> dict[str, Any]:
    """Return what is scored so far as plain data: a row of figures per method, differences paired.

    A difference is taken over the seeds that both the row and the baseline have.
    """
    by_row: dict[str, dict[int, dict[str, Any]]] = {row: {} for row in comparison.rows}
    for cell in cells(comparison, materials, out):
        if _scored(cell):
            by_row[cell.row][cell.seed] = json.loads((cell.folder / "score.json").read_text(encoding="utf-8"))
    rows = {}
    for name, scores in by_row.items():
        if scores:
            baseline = by_row[comparison.baseline]
            rows[name] = _row(scores, {} if name == comparison.baseline else baseline)
    recipe = cells(comparison, materials, out)[0].recipe
    return {
        "schema": SCHEMA,
        "version": __version__,
        "environment": {k: v for k, v in environment().items() if k != "command"},
        "comparison": comparison.model_dump(mode="json"),
        "test_utterances": len(read_references(materials.test)),
        "recipe": recipe.model_dump(mode="json", exclude={"teacher", "data"})
        | {"data": recipe.data.model_dump(mode="json", exclude={"audio", "validation"})},
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "rows": rows,
    }


def _row(scores: dict[int, dict[str, Any]], baseline: dict[int, dict[str, Any]]) -> dict[str, Any]:
    def errors(of: dict[int, dict[str, Any]], seeds: Sequence[int]) -> Any:
        return np.array([[sum(edits) for edits in of[seed]["errors"]] for seed in seeds])

    def mean(key: str) -> float | None:
        values = [s[key] for s in scores.values() if s[key] is not None]
        return float(np.mean(values)) if values else None

    seeds = sorted(scores)
    reference = np.array(scores[seeds[0]]["reference_words"])
    edits = np.array([scores[seed]["errors"] for seed in seeds]).sum(axis=1)  # [seeds, 3]
    rates = edits.sum(axis=1) / reference.sum()
    shared = [seed for seed in seeds if seed in baseline]
    disagreements = [
        sum(s["disagreement"]) / max(1, sum(s["teacher_words"]))
        for s in scores.values()
        if s["disagreement"] is not None
    ]
    minutes = scores[seeds[0]]["silence_minutes"]
    return {
        "seeds": seeds,
        "unit": scores[seeds[0]].get("unit", "words"),
        "parameters": scores[seeds[0]]["parameters"],
        "wer": vars(rate(errors(scores, seeds), reference)),
        "wer_by_seed": [float(value) for value in rates],
        "wer_deviation": float(rates.std(ddof=1)) if len(seeds) > 1 else None,
        "substitutions_insertions_deletions": (edits.mean(axis=0) / reference.sum()).tolist(),
        "against_baseline": vars(difference(errors(scores, shared), errors(baseline, shared), reference))
        if shared
        else None,
        "disagreement": float(np.mean(disagreements)) if disagreements else None,
        "silence_characters_per_minute": float(
            np.mean([s["silence_characters"] for s in scores.values()]) / minutes
        )
        if minutes
        else None,
        "pause_tokens_per_minute": mean("pause_tokens_per_minute"),
        "blank_rate": mean("blank_rate"),
        "spike_offset_ms": mean("spike_offset_ms"),
        "spike_spread_ms": mean("spike_spread_ms"),
    }
