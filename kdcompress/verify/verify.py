"""Whether a bundle is what it says: in our runtime, and in every runtime of its profile that is installed.

B batch, S samples, T feature frames, T' output frames, V vocabulary.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from kdcompress.aliases import FloatArray, StageProgress
from kdcompress.audio.decode import read_audio
from kdcompress.audio.manifest import read_utterances
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.config.profile import Consumer, read_profile
from kdcompress.errors import AudioError, ConfigError, KdcompressError
from kdcompress.files import write_file
from kdcompress.resources import profile_path
from kdcompress.runtime.bundle import FILE_NAME, FP32, Bundle, Variant, open_bundle
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.verify.consumers import OWN_LIMIT, SAME_LIMIT, character_difference, listen
from kdcompress.verify.selftest import AUDIO, RECORD
from kdcompress.verify.sound import synthetic_waveform

SECONDS = (0.1, 0.45, 3.33, 10.21)
"""Heard alone and together; in hops of 10 ms none but the first is a multiple of 2, 4 or 8."""
LONGEST_SECONDS = 60.01
_UTTERANCES = 32
_MAX_SECONDS = 30.0

# As against torch, see `parity`: alone and in a batch, products are summed in another order.
_ABSOLUTE, _RELATIVE = {"features": 1e-3, "waveform": 5e-3}, 1e-4


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        what: `lengths`, `padding`, `selftest`, or the name of a runtime.
        passed: None where it could not be looked at; `detail` says why.
        same: of a runtime, the share of recordings with our transcript.
        difference: of a runtime, the edits per character of ours.
        version: of a runtime.
    """

    what: str
    variant: str
    passed: bool | None
    detail: str
    same: float | None = None
    difference: float | None = None
    version: str | None = None


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        audio: what the runtimes heard, in words.
    """

    audio: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed; what could not be looked at does not count."""
        return all(check.passed is not False for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for bundle.json."""
        return {"passed": self.passed, "audio": self.audio, "checks": [asdict(c) for c in self.checks]}


def verify_bundle(
    path: Path,
    audio: Path | None = None,
    pythons: Mapping[str, Path] | None = None,
    on_progress: StageProgress | None = None,
) -> tuple[Bundle, Verification]:
    """Check a bundle and write what was found into its bundle.json.

    Args:
        audio: folder or manifest; the runtimes transcribe 32 utterances of it, whose texts are not read. None
            takes rendered sound, on which the transcripts of a runtime with features of its own are told but
            not judged.
        pythons: interpreters by runtime, for runtimes whose requirements conflict with ours.
        on_progress: told of each step, before it.

    Raises:
        BundleError: it cannot be opened.
        AudioError: nothing in `audio` can be used.
        ConfigError: `pythons` names a runtime that the profile has not.
    """
    bundle = open_bundle(path, verify=True)
    consumers = _consumers(bundle, pythons or {})
    report = on_progress or (lambda step, done, total: None)
    steps = len(bundle.variants) * (3 + len(consumers))
    checks: list[Check] = []
    with tempfile.TemporaryDirectory(prefix="kdcompress-") as folder:
        sounds, source = _recordings(audio)
        manifest = _write_recordings(sounds, Path(folder))
        for variant in bundle.variants.values():
            recognizer = Recognizer(bundle, variant.name, threads=1)
            for check in (_lengths, _padding, _selftest):
                name = check.__name__.strip("_")
                report(f"{variant.name}: {name}", len(checks), steps)
                checks.append(_guarded(check, name, recognizer))
            report(f"{variant.name}: transcribing", len(checks), steps)
            ours = [recognizer.transcribe(sound).text for sound in sounds]
            for consumer in consumers:
                report(f"{variant.name}: {consumer.runtime}", len(checks), steps)
                judged = consumer.features == "same" or audio is not None
                checks.append(_runtime(consumer, bundle, variant, manifest, ours, pythons or {}, judged))
    report("done", steps, steps)
    found = Verification(source, tuple(checks))
    bundle = replace(bundle, verification=found.to_json())
    _rewrite(bundle)
    return bundle, found


def _consumers(bundle: Bundle, pythons: Mapping[str, Path]) -> tuple[Consumer, ...]:
    try:
        consumers = read_profile(profile_path(bundle.profile)).consumers
    except ConfigError:  # a profile of someone else's: our own runtime can be asked all the same
        consumers = ()
    known = [consumer.runtime for consumer in consumers]
    if unknown := [name for name in pythons if name not in known]:
        raise ConfigError(
            f"profile {bundle.profile} has no runtime {unknown[0]!r}; it has {', '.join(known)}"
        )
    return consumers


def _guarded(check: Callable[[Recognizer], str], name: str, recognizer: Recognizer) -> Check:
    """Make a check; whatever goes wrong in it is its result."""
    try:
        return Check(name, recognizer.variant.name, True, check(recognizer))
    except Exception as error:  # onnxruntime's own exceptions share no base class but Exception
        return Check(name, recognizer.variant.name, False, " ".join(str(error).split())[:300])


class _Failure(KdcompressError):
    """A check that did not pass."""


def _lengths(recognizer: Recognizer) -> str:
    size = len(recognizer.bundle.vocabulary)
    for seconds in (*SECONDS, LONGEST_SECONDS):
        features = recognizer.features(synthetic_waveform(seconds))
        log_probs = recognizer.log_probs([features])[0]
        expected = (-(-len(features) // recognizer.bundle.subsampling_factor), size)
        if log_probs.shape != expected:
            raise _Failure(f"{seconds} s gave {log_probs.shape} log-probabilities, expected {expected}")
        if not np.isfinite(log_probs).all():
            raise _Failure(f"{seconds} s gave NaN or infinity")
        if (worst := float(np.abs(np.exp(log_probs).sum(axis=1) - 1).max())) > 1e-2:
            raise _Failure(f"{seconds} s gave probabilities whose sum is off by {worst:.2g}")
    return f"{SECONDS[0]} to {LONGEST_SECONDS:.0f} s"


def _padding(recognizer: Recognizer) -> str:
    features = [recognizer.features(synthetic_waveform(seconds)) for seconds in SECONDS]
    together = recognizer.log_probs(features)
    worst, same, frames = 0.0, 0, 0
    for array, batched in zip(features, together, strict=True):
        alone = recognizer.log_probs([array])[0]
        worst = max(worst, float(np.abs(alone - batched).max()))
        same += int((alone.argmax(axis=1) == batched.argmax(axis=1)).sum())
        frames += len(alone)
        close = np.allclose(alone, batched, rtol=_RELATIVE, atol=_ABSOLUTE[recognizer.bundle.input])
        # Integer graphs take the range of the activations from the whole batch.
        if recognizer.variant.name == FP32 and not close:
            raise _Failure(f"{len(array)} frames differ by {worst:.2g} in a padded batch")
    return f"largest difference {worst:.2g}, same best token {same / frames:.2%}"


def _selftest(recognizer: Recognizer) -> str:
    folder = recognizer.bundle.directory
    expected = json.loads((folder / RECORD).read_text(encoding="utf-8"))["variants"][recognizer.variant.name]
    log_probs = recognizer.log_probs([recognizer.features(read_audio(folder / AUDIO))])[0]
    off = abs(float(log_probs.max(axis=1).mean()) - float(expected["mean_log_prob"]))
    if off > float(expected["tolerance"]):
        raise _Failure(f"the mean log-probability is off by {off:.2g}, allowed are {expected['tolerance']}")
    if recognizer.variant.name == FP32 and log_probs.argmax(axis=1).tolist() != expected["best_tokens"]:
        raise _Failure("the best tokens are not those of selftest.json")
    return f"mean log-probability off by {off:.2g}"


def _runtime(
    consumer: Consumer,
    bundle: Bundle,
    variant: Variant,
    manifest: Path,
    ours: Sequence[str],
    pythons: Mapping[str, Path],
    judged: bool,
) -> Check:
    name = consumer.runtime
    if not consumer.serves(bundle.frontend.normalize):
        return Check(name, variant.name, None, "cannot serve students with `normalize: none`")
    heard = listen(consumer, bundle, variant, manifest, pythons)
    if heard.texts is None:
        passed = None if heard.version is None else False
        return Check(name, variant.name, passed, heard.failure, version=heard.version)
    if len(heard.texts) != len(ours):
        return Check(name, variant.name, False, f"{len(heard.texts)} transcripts of {len(ours)} recordings")
    same = sum(x == y for x, y in zip(ours, heard.texts, strict=True))
    difference = character_difference(ours, heard.texts)
    limit = SAME_LIMIT if consumer.features == "same" else OWN_LIMIT
    detail = f"{same} of {len(ours)} transcripts as ours, {difference:.2%} of the characters differ"
    passed = difference <= limit or not judged
    return Check(name, variant.name, passed, detail, same / len(ours), difference, heard.version)


def _recordings(audio: Path | None) -> tuple[list[FloatArray], str]:
    if audio is None:
        return [
            synthetic_waveform(seconds, seed) for seed, seconds in enumerate((1.5, 3.3))
        ], "rendered sound"
    sounds = list(islice(_readable(audio), _UTTERANCES))
    if not sounds:
        raise AudioError(f"{audio} holds no audio that can be decoded")
    return sounds, f"{len(sounds)} utterances of {audio.name}"


def _readable(audio: Path) -> Iterator[FloatArray]:
    utterances = read_utterances(audio)[0]
    every = max(1, len(utterances) // _UTTERANCES)  # folders are sorted by speaker: take some of each
    for utterance in utterances[::every]:
        try:
            yield read_audio(utterance.audio, utterance.start, min(utterance.duration, _MAX_SECONDS))
        except AudioError:
            continue  # the others do


def _write_recordings(sounds: Sequence[FloatArray], folder: Path) -> Path:
    lines = []
    for index, sound in enumerate(sounds):
        soundfile.write(folder / f"{index}.wav", sound, SAMPLE_RATE, subtype="FLOAT")
        lines.append(json.dumps({"audio_filepath": f"{index}.wav"}) + "\n")
    (folder / "recordings.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder / "recordings.jsonl"


def _rewrite(bundle: Bundle) -> None:
    content = json.dumps(bundle.to_json(), indent=1, ensure_ascii=False) + "\n"
    write_file(bundle.directory / FILE_NAME, content)
