"""All the quantized graphs of a bundle: written, measured, and their blanks put right."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import onnx

from kdcompress.aliases import FloatArray, StageProgress
from kdcompress.config.deploy import PRESETS, Calibration
from kdcompress.digests import file_sha256
from kdcompress.errors import ConfigError
from kdcompress.files import writing_file
from kdcompress.quantize.apply import quantize, write_checked
from kdcompress.quantize.auto.budget import Budget
from kdcompress.quantize.auto.frontier import describe
from kdcompress.quantize.auto.search import search
from kdcompress.quantize.blank_bias import blank_rate, fit_blank_bias, fold_blank_bias
from kdcompress.quantize.census import OpCensus, census
from kdcompress.quantize.cost import file_cost
from kdcompress.quantize.layers import LayerChoice, choose_layers, weight_matrices
from kdcompress.quantize.rounding import trained_integers
from kdcompress.runtime.bundle import FP32, Variant
from kdcompress.runtime.compare import Feed, difference, posteriors, text_difference
from kdcompress.runtime.session import GraphSession
from kdcompress.text.vocabulary import Vocabulary

BlankBias: TypeAlias = float | Literal["none", "auto", "teacher"]
"""What is added to the blank's logit [nats]; `auto` repairs quantized graphs, `teacher` the float one too."""

_NEED_AUDIO = frozenset({"int8-static", "auto"})


@dataclass(frozen=True)
class Options:
    """How to quantize, beside which presets.

    Attributes:
        calibration: how `int8-static` finds the ranges of activations.
        budget: of `auto`.
        blank_bias: see `BlankBias`.
        teacher_shift: by how much the teacher's blank rate was above the student's, where both are known.
        threads: of each graph; None takes every core.
        measure_files: record what each file costs to ship and to load, in a process of its own.
    """

    calibration: Calibration = "percentile"
    budget: Budget = field(default_factory=Budget)
    blank_bias: BlankBias = "none"
    teacher_shift: float | None = None
    threads: int | None = None
    measure_files: bool = True

    def check(self, presets: Sequence[str], *, audio: bool) -> None:
        """Check that what is asked for can be had.

        Raises:
            ConfigError: something needs audio and there is none, or the teacher's blank rate is not known.
        """
        needy: list[str] = [name for name in presets if name in _NEED_AUDIO]
        needy += [f"--blank-bias {self.blank_bias}"] if self.blank_bias in ("auto", "teacher") else []
        if needy and not audio:
            raise ConfigError(f"{needy[0]} is fitted on audio, transcripts are not read: give --audio")
        if self.blank_bias == "teacher" and self.teacher_shift is None:
            raise ConfigError(
                "--blank-bias teacher needs a run whose validation compared student and teacher; this one's "
                "record has no teacher_blank_rate: give a number instead"
            )


@dataclass(frozen=True)
class Audio:
    """What graphs are measured on.

    Attributes:
        source: in words.
        speech: recordings, which weights may be fitted to; rendered sound tells a broken graph only.
    """

    feeds: Sequence[Feed]
    source: str
    speech: bool = True


@dataclass
class Variants:
    """The graphs of a bundle and what is known about them, ready for bundle.json.

    Attributes:
        search: what `auto` tried; None where it was not asked for.
    """

    variants: dict[str, Variant]
    parity: dict[str, Any]
    search: dict[str, Any] | None = None


def write_variants(
    fp32: Path,
    presets: Sequence[str],
    audio: Audio,
    vocabulary: Vocabulary,
    options: Options,
    on_step: StageProgress,
    on_search: StageProgress,
) -> Variants:
    """Write quantized graphs beside a float one, which may get another bias of its blank.

    Args:
        fp32: the float graph.
        presets: what to make of it.
        audio: what graphs are calibrated, searched and measured on.
        vocabulary: the output units.
        options: how.
        on_step: called before each preset.
        on_search: called before each measurement of `auto`.

    Raises:
        ConfigError: a preset needs what is not there.
        ExportError: the graph cannot be quantized, or the result is not what was planned.
        NumericsError: a quantized graph gives NaN or infinity.
    """
    made = Variants({}, {FP32: {}})
    # Nothing to compare with otherwise.
    reference = _answers(fp32, audio, options) if presets or options.blank_bias != "none" else []
    if isinstance(options.blank_bias, float) or options.blank_bias == "teacher":
        value, about = _bias_of_float(reference, vocabulary, options)
        before = reference
        reference = _rebias(fp32, value, audio, vocabulary, options)
        made.parity[FP32] = {
            "blank_bias": {**about, "value": value, "before": _rates(before, before, vocabulary)},
            "blank_rate_on_audio": blank_rate(reference, vocabulary.blank),
        }
    made.variants[FP32] = _variant(FP32, fp32, census(fp32), options)
    for done, name in enumerate(presets):
        on_step(f"quantizing: {name}", done, len(presets))
        path = fp32.with_name(f"model.{PRESETS[name].suffix}.onnx")
        if name == "auto":
            counted, made.search = _search(fp32, path, audio, vocabulary, options, on_search)
        else:
            feeds = audio.feeds if audio.speech else ()
            counted = quantize(fp32, name, path, feeds=feeds, calibration=options.calibration)
        if counted is None:
            continue
        answers = _answers(path, audio, options)
        about = {}
        if options.blank_bias in ("auto", "teacher"):
            wanted = blank_rate(reference, vocabulary.blank)
            value = fit_blank_bias(answers, vocabulary.blank, wanted)
            about = {
                "blank_bias": {
                    "value": value,
                    "reference": FP32,
                    "before": _rates(reference, answers, vocabulary),
                }
            }
            answers = _rebias(path, value, audio, vocabulary, options)
        made.parity[name] = {
            "against": FP32,
            "on": audio.source,
            "kept": list(counted.kept),
            **difference(reference, answers, vocabulary.blank).to_json(),
            **text_difference(reference, answers, vocabulary).to_json(),
            "domains": list(counted.foreign),
            **({"fitted": _fitted(fp32, name, audio)} if PRESETS[name].method == "packed" else {}),
            **about,
        }
        made.variants[name] = _variant(name, path, counted, options)
    return made


def _fitted(fp32: Path, preset: str, audio: Audio) -> str:
    """Say what the integers of a packed graph come from."""
    graph = onnx.load(str(fp32)).graph
    matrices = weight_matrices(graph, choose_layers(graph, PRESETS[preset]).quantized).values()
    if all(map(trained_integers, matrices)):
        return "training"
    return "audio" if audio.speech else "nothing"


def _search(
    fp32: Path, out: Path, audio: Audio, vocabulary: Vocabulary, options: Options, on_search: StageProgress
) -> tuple[OpCensus | None, dict[str, Any]]:
    found, evaluator = search(
        onnx.load(str(fp32)),
        audio.feeds,
        vocabulary,
        options.budget,
        threads=options.threads,
        on_progress=lambda what, done, total: on_search(f"auto: {what}", done, total),
    )
    described = describe(
        found, evaluator, on_pass=lambda done, total: on_search("auto: timing the frontier", done, total)
    )
    if found.chosen is None:
        return None, described
    assignment = found.chosen.assignment
    kept = tuple(name for name in evaluator.sizes if name not in assignment.widths)
    nodes = LayerChoice(tuple(assignment.widths), kept)
    return write_checked(evaluator.build(assignment), nodes, out, "auto"), described


def _bias_of_float(
    reference: Sequence[FloatArray], vocabulary: Vocabulary, options: Options
) -> tuple[float, dict[str, Any]]:
    if isinstance(options.blank_bias, float):
        return options.blank_bias, {"reference": "given"}
    # The record's rates are of other audio: what carries over is how far apart they are.
    wanted = blank_rate(reference, vocabulary.blank) + (options.teacher_shift or 0.0)
    value = fit_blank_bias(reference, vocabulary.blank, wanted)
    return value, {"reference": "teacher", "wanted_rate": wanted}


def _rebias(
    path: Path, value: float, audio: Audio, vocabulary: Vocabulary, options: Options
) -> list[FloatArray]:
    """Fold a bias into a graph file; returns what it answers then."""
    if value:
        model = onnx.load(str(path))
        fold_blank_bias(model, vocabulary.blank, value)
        with writing_file(path) as partial:
            onnx.save(model, str(partial))
    return _answers(path, audio, options)


def _rates(
    reference: Sequence[FloatArray], answers: Sequence[FloatArray], vocabulary: Vocabulary
) -> dict[str, float]:
    frames = difference(reference, answers, vocabulary.blank).to_json()
    text = text_difference(reference, answers, vocabulary).to_json()
    keep = ("blank_rate", "kl", "agreement", "disagreement", "deletions", "insertions")
    return {key: value for key, value in (frames | text).items() if key in keep}


def _answers(path: Path, audio: Audio, options: Options) -> list[FloatArray]:
    return posteriors(GraphSession(path, threads=options.threads), audio.feeds)


def _variant(name: str, path: Path, counted: OpCensus, options: Options) -> Variant:
    cost = file_cost(path) if options.measure_files else {}
    return Variant(name, path.name, file_sha256(path), path.stat().st_size, counted.ops, cost)
