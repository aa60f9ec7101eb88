"""Whether a bundle is what it says: in our runtime, and in every runtime of its profile that is installed."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile

from kdcompress.aliases import FloatArray, StageProgress
from kdcompress.audio.decode import read_utterance
from kdcompress.audio.manifest import read_utterances
from kdcompress.audio.stress import STRESSES
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.config.profile import Consumer, read_profile
from kdcompress.digests import sealed
from kdcompress.errors import AudioError, ConfigError
from kdcompress.files import write_file
from kdcompress.resources import profile_path
from kdcompress.runtime.bundle import Bundle, Variant, open_bundle
from kdcompress.runtime.bundle_files import FILE_NAME
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.verify.checks import OWN_CHECKS, Check, Verification, check_variant
from kdcompress.verify.consumers import OWN_LIMIT, SAME_LIMIT, character_difference, run_consumer
from kdcompress.verify.sound import synthetic_waveform

_UTTERANCES = 32
_MAX_SECONDS = 30.0


def verify_bundle(
    path: Path,
    audio: Path | None = None,
    pythons: Mapping[str, Path] | None = None,
    on_progress: StageProgress | None = None,
) -> tuple[Bundle, Verification]:
    """Check a bundle and write what was found into its bundle.json.

    Args:
        audio: folder or manifest; the runtimes transcribe 32 utterances of it, whose texts are not read. None
            takes rendered sound, on which the transcripts of a runtime with features of its own are reported
            but not judged.
        pythons: interpreters by runtime, for runtimes whose requirements conflict with ours.
        on_progress: called before each step.

    Raises:
        BundleError: it cannot be opened.
        AudioError: nothing in `audio` can be used.
        ConfigError: `pythons` names a runtime that the profile has not.
    """
    bundle = open_bundle(path, verify=True)
    consumers = _consumers(bundle, pythons or {})
    report = on_progress or (lambda step, done, total: None)
    steps = len(bundle.variants) * (4 + len(consumers))
    checks: list[Check] = []
    with tempfile.TemporaryDirectory(prefix="kdcompress-") as folder:
        sounds, source = recordings(audio)
        manifest = _write_recordings(sounds, Path(folder))
        for variant in bundle.variants.values():
            recognizer = Recognizer(bundle, variant.name, threads=1)
            for name in OWN_CHECKS:
                report(f"{variant.name}: {name}", len(checks), steps)
                checks.append(check_variant(name, recognizer))
            report(f"{variant.name}: transcribing", len(checks), steps)
            ours = [recognizer.transcribe(sound).text for sound in sounds]
            report(f"{variant.name}: silence", len(checks), steps)
            checks.append(_silence(recognizer, sounds, ours))
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
    run = run_consumer(consumer, bundle, variant, manifest, pythons)
    if run.texts is None:
        passed = None if run.version is None else False
        return Check(name, variant.name, passed, run.failure, version=run.version)
    if len(run.texts) != len(ours):
        return Check(name, variant.name, False, f"{len(run.texts)} transcripts of {len(ours)} recordings")
    same = sum(x == y for x, y in zip(ours, run.texts, strict=True))
    difference = character_difference(ours, run.texts)
    limit = SAME_LIMIT if consumer.features == "same" else OWN_LIMIT
    detail = f"{same} of {len(ours)} transcripts as ours, {difference:.2%} of the characters differ"
    passed = difference <= limit or not judged
    return Check(name, variant.name, passed, detail, same / len(ours), difference, run.version)


def _silence(recognizer: Recognizer, sounds: Sequence[FloatArray], ours: Sequence[str]) -> Check:
    """Say what silence around does to the transcripts; a student that it harms is weak there, not broken."""
    change, name = STRESSES["silence"].change, recognizer.variant.name
    rng = np.random.default_rng(0)  # digital silence draws nothing
    changed = [
        recognizer.transcribe(change(sound.astype(np.float64), rng).astype(np.float32)).text
        for sound in sounds
    ]
    same = sum(x == y for x, y in zip(ours, changed, strict=True))
    if same == len(ours):
        return Check("silence", name, True, "a second before and after changes no transcript", 1.0, 0.0)
    difference = character_difference(ours, changed)
    detail = (
        f"a second before and after changes {len(ours) - same} of {len(ours)} transcripts, {difference:.2%} "
        "of the characters: train with data.surround"
    )
    return Check("silence", name, True, detail, same / len(ours), difference)


def recordings(audio: Path | None) -> tuple[list[FloatArray], str]:
    """Return up to 32 utterances spread over a folder or manifest, or rendered sound, and what they are.

    Raises:
        AudioError: nothing in `audio` can be used.
    """
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
            yield read_utterance(replace(utterance, duration=min(utterance.duration, _MAX_SECONDS)))
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
    content = json.dumps(sealed(bundle.to_json()), indent=1, ensure_ascii=False) + "\n"
    write_file(bundle.directory / FILE_NAME, content)
