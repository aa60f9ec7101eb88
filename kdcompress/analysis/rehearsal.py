"""Try each row of a comparison for one step: a bad last row is found before the first one is trained."""

import json
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kdcompress.audio.manifest import read_texts, read_utterances
from kdcompress.audio.utterance import Utterance
from kdcompress.config.recipe import Recipe, make_recipe
from kdcompress.config.teacher import CachedTeacher, TeacherConfig
from kdcompress.config.vocabulary import SentencePiece
from kdcompress.distill.distributed import training_device
from kdcompress.distill.loop import distill
from kdcompress.distill.observer import StageObserver
from kdcompress.distill.posteriors.source import PosteriorSource, open_source
from kdcompress.distill.validate import ValidationFigures
from kdcompress.errors import ConfigError, KdcompressError

_UTTERANCES = 6
_STAGE = "Checking the rows"


class _Silent:
    """An observer of what nobody needs to see."""

    def stage(self, name: str, done: float, total: float) -> None: ...
    def step(self, step: int, total: int, figures: dict[str, Any]) -> None: ...
    def validated(self, step: int, figures: ValidationFigures, best: bool) -> None: ...
    def say(self, text: str) -> None: ...


def rehearse(rows: dict[str, Recipe], observer: StageObserver) -> None:
    """Train one step of each row on a few of its recordings, in a temporary folder.

    Not tried, for a few recordings do not suffice: rows that learn their units, and those that read a cache.

    Raises:
        ConfigError: rows cannot be trained; says why for each of them.
        KdcompressError: the audio cannot be listed.
    """
    faults = []
    sources: dict[tuple[int, TeacherConfig], PosteriorSource] = {}
    with tempfile.TemporaryDirectory(prefix="kdcompress-") as folder:
        samples: dict[Path, Path] = {}
        for number, (row, recipe) in enumerate(rows.items()):
            observer.stage(_STAGE, number, len(rows))
            asked = recipe.teacher if recipe.objective.kd_weight > 0 else None
            audio = recipe.data.audio
            if (
                audio is None
                or isinstance(asked, CachedTeacher)
                or isinstance(recipe.vocabulary, SentencePiece)
            ):
                continue
            if audio not in samples:
                samples[audio] = Path(folder) / f"sample-{number}.jsonl"
                _write_sample(audio, recipe, samples[audio])
            try:
                source = None
                if asked is not None:
                    key = recipe.seed, asked  # the seed makes the clips of noise
                    if key not in sources:
                        sources[key] = open_source(asked, training_device())
                    source = sources[key]
                distill(
                    _shortened(recipe, samples[audio]), Path(folder) / str(number), _Silent(), source=source
                )
            except KdcompressError as error:
                faults.append(f"row {row}: {error}")
        observer.stage(_STAGE, len(rows), len(rows))
    if faults:
        raise ConfigError(f"{len(faults)} of {len(rows)} rows cannot be trained: {'; '.join(faults)}")


def _shortened(recipe: Recipe, sample: Path) -> Recipe:
    path = json.dumps(str(sample))
    sets = [f"data.audio={path}", f"data.validation.audio={path}", "data.validation.references=null"]
    sets += ["training.steps=1", "training.accumulate=1", "training.validate_every=1", "data.workers=0"]
    sets += ["training.peak_lr=1e-6"]  # without the steps of a warm-up the recipe's own may be too high
    return make_recipe(recipe.model_dump(mode="json"), sets, "rehearsal")


def _write_sample(audio: Path, recipe: Recipe, manifest: Path) -> None:
    """Write a manifest of the recordings nearest to the middle length."""
    listed, _ = read_utterances(audio)
    usable = [u for u in listed if recipe.data.min_seconds <= u.duration <= recipe.data.max_seconds]
    ranked = sorted(usable or listed, key=lambda u: u.duration)
    middle = max(0, len(ranked) // 2 - _UTTERANCES // 2)
    texts: dict[str, str] = {}
    if audio.is_file():
        with suppress(KdcompressError):  # it has none, and a row that needs them says so
            texts = read_texts(audio)
    chosen: Sequence[Utterance] = ranked[middle : middle + _UTTERANCES]
    lines = [
        {"id": u.id, "audio_filepath": str(u.audio.resolve()), "offset": u.start, "duration": u.duration}
        | ({} if u.channel is None else {"channel": u.channel})
        | ({"text": texts[u.id]} if u.id in texts else {})
        for u in chosen
    ]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
