"""What a run was begun with (data/inputs.json), so that it does not go on with something else in silence."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kdcompress.aliases import Progress
from kdcompress.digests import sealed, unsealed
from kdcompress.distill.data.fingerprint import AudioList, audio_list
from kdcompress.distill.data.training_data import TrainingData
from kdcompress.distill.posteriors.source import PosteriorSource
from kdcompress.distill.run import Run
from kdcompress.errors import RunError
from kdcompress.files import write_file
from kdcompress.text.tokenizer import SentencePieceTokenizer, Tokenizer

SCHEMA = 1
RECORD = Path("data", "inputs.json")


@dataclass(frozen=True)
class Inputs:
    """All that a run reads and that may change while it is stopped; where it lies does not count.

    Attributes:
        posteriors: identity of the teacher, or of the cache; None without.
        training: the audio to train on, by id.
        held_out: the same of what it is validated on.
        texts: digest of the transcript by id, of those that are read.
        units: digest of tokenizer.model, where the run learned its units; None without, and in early records.
    """

    posteriors: str | None
    training: AudioList
    held_out: AudioList
    texts: dict[str, str]
    units: str | None = None

    @classmethod
    def of(
        cls,
        data: TrainingData,
        source: PosteriorSource | None,
        seed: int,
        tokenizer: Tokenizer,
        on_progress: Progress | None = None,
    ) -> "Inputs":
        """Describe what a run reads: of each file the size, and a sample of the bytes."""
        texts = {id_: _digest(labels) for id_, labels in (data.labels or {}).items() if labels}
        texts |= {u.id: _digest(data.references[u.id]) for u in data.held_out if data.references is not None}
        return cls(
            None if source is None else source.identity,
            data.described(seed, on_progress),
            audio_list(data.held_out, 0, seed),
            texts,
            _digest(tokenizer.model) if isinstance(tokenizer, SentencePieceTokenizer) else None,
        )

    def write(self, run: Path) -> None:
        """Keep it in a run directory."""
        (run / RECORD).parent.mkdir(exist_ok=True)
        write_file(run / RECORD, json.dumps(sealed({"schema": SCHEMA, **asdict(self)})) + "\n")

    @classmethod
    def read(cls, run: Path) -> "Inputs | None":
        """Return what a run directory keeps; None in those of earlier versions.

        Raises:
            RunError: it is damaged, or of another schema.
        """
        path = run / RECORD
        if not path.is_file():
            return None
        try:
            found = unsealed(json.loads(path.read_text(encoding="utf-8")))
            if found["schema"] != SCHEMA:
                raise RunError(f"{path} has schema {found['schema']}, this kdcompress reads {SCHEMA}")
            training, held_out = (
                {id_: (float(start), float(duration), str(digest)) for id_, (start, duration, digest) in of}
                for of in (found["training"].items(), found["held_out"].items())
            )
            return cls(found["posteriors"], training, held_out, dict(found["texts"]), found.get("units"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RunError(
                f"{path} is damaged ({type(error).__name__}): delete it to go on, if audio and teacher are "
                "as they were"
            ) from error

    def changes(self, now: "Inputs") -> list[str]:
        """Say what is no longer as it was, with the first of each kind."""
        found = []
        if self.posteriors != now.posteriors:
            found.append(f"the teacher or cache is another ({self.posteriors} before, {now.posteriors} now)")
        if self.units is not None and self.units != now.units:
            found.append("the units (tokenizer.model) are others")
        for name, before, after in (
            ("training", self.training, now.training),
            ("held-out", self.held_out, now.held_out),
        ):
            found += (f"{name} audio: {text}" for text in _differences(before, after))
        found += (f"transcripts: {text}" for text in _differences(self.texts, now.texts))
        return found


def check_inputs(run: Run, now: Inputs, say: Callable[[str], None], accept: bool) -> None:
    """Compare what a run reads with what it was begun with.

    Args:
        say: is told what has changed where that is accepted, and what cannot be compared.

    Raises:
        RunError: something changed, or what it was begun with is not known any more, and `accept` is False.
    """
    out = run.folder
    before = Inputs.read(out)
    if before is None and run.keeps_inputs and not accept:
        raise RunError(
            f"{out / RECORD} is missing, so that nothing tells whether audio and teacher are as they were; "
            f"restore it, or go on without: kdcompress distill --out {out} --resume --accept-changes"
        )
    if before is None:
        say(f"{out} has no record of what audio and teacher it was begun with: not compared")
    elif changes := before.changes(now):
        listed = "; ".join(changes)
        if not accept:
            raise RunError(
                f"{out} would not go on as it began: {listed}; restore it, or go on with what is there now: "
                f"kdcompress distill --out {out} --resume --accept-changes"
            )
        say(f"going on with other inputs: {listed}")


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for what, ids in (
        ("new", [id_ for id_ in after if id_ not in before]),
        ("gone", [id_ for id_ in before if id_ not in after]),
        ("changed", [id_ for id_, value in before.items() if id_ in after and after[id_] != value]),
    ):
        if ids:
            yield f"{len(ids)} {what} (first {ids[0]})"


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode("utf-8", "backslashreplace")).hexdigest()[:12]
