"""The page's modules in Node, without a browser or a model: what they compute is what Python computes."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from kdcompress.audio.decode import read_audio
from kdcompress.frontend.logmel_numpy import log_mel
from kdcompress.resources import consumer_path
from kdcompress.runtime.chunks import Chunking, joined
from kdcompress.runtime.silences import find_pause, leading_silence, levels
from kdcompress.text.decode import collapse, greedy
from kdcompress.text.vocabulary import Vocabulary

NODE = shutil.which("node")
PAGE = consumer_path("web")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(NODE is None, reason="node is not installed")]

Run = Callable[[str, Any], Any]


@pytest.fixture
def node(tmp_path: Path) -> Run:
    """Return what runs the body of a function of `given` with the page's modules; gives what it returns."""

    def run(body: str, given: Any) -> Any:
        names = ("audio", "bundle", "chunks", "ctc", "logmel", "silences")
        imports = [f'import * as {name} from "{(PAGE / name).as_uri()}.js";' for name in names]
        program = tmp_path / "program.mjs"
        reading = (
            'import fs from "node:fs";\n'
            "const floats = (path) => new Float32Array(new Uint8Array(fs.readFileSync(path)).buffer);\n"
            'const given = JSON.parse(fs.readFileSync(0, "utf8"));\n'
        )
        calling = f"console.log(JSON.stringify(await (async () => {{ {body} }})()));\n"
        program.write_text("\n".join(imports) + "\n" + reading + calling, encoding="utf-8")
        done = subprocess.run(
            [str(NODE), str(program)], input=json.dumps(given), text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


SPACES = "".join(map(chr, [*range(9, 14), *range(28, 33), 0x85, 0xA0, 0x2003, 0x200B, 0x3000, 0xFEFF]))
VOCABULARIES = [
    Vocabulary(("|", "a", "<pad>", "b", "c", "</s>"), 2, "|", frozenset({5})),
    Vocabulary(("<blk>", "▁the", "▁", "re", "▁a▁b", "ß", "😀"), 0, "▁"),
    Vocabulary(("$", "a", " ", "$$", "\\b", "<unk>"), 5, "$", frozenset({0, 3})),
    Vocabulary((*SPACES, *(f"x{s}y" for s in SPACES), "-"), 0, None, frozenset({1})),
]


@pytest.mark.parametrize("vocabulary", VOCABULARIES, ids=range(len(VOCABULARIES)))
def test_paths_are_read_as_in_python(node: Run, vocabulary: Vocabulary) -> None:
    generator = np.random.default_rng(0)
    paths = [generator.integers(0, len(vocabulary), n).tolist() for n in (0, 1, 2, 5, 20, 400)] * 3
    found = node(
        "const v = ctc.readVocabulary(given.vocabulary); return given.paths.map((p) => ctc.pathText(p, v));",
        {"vocabulary": vocabulary.to_json(), "paths": paths},
    )
    assert found == [vocabulary.text(collapse(path, vocabulary.blank)) for path in paths]


def test_greedy_decoding_is_pythons(node: Run, tmp_path: Path) -> None:
    vocabulary = VOCABULARIES[0]
    # Halves: many frames have two best tokens, of which the first counts.
    log_probs = np.random.default_rng(1).integers(-6, 0, (300, len(vocabulary))).astype(np.float32) / 2
    log_probs.tofile(tmp_path / "log_probs")
    found = node(
        "const v = ctc.readVocabulary(given.vocabulary); const x = floats(given.file);"
        "const { best, blanks } = ctc.bestTokens(x, 300, v);"
        "return { best: [...best], blanks: [...blanks], text: ctc.pathText(best, v) };",
        {"vocabulary": vocabulary.to_json(), "file": str(tmp_path / "log_probs")},
    )
    assert found["best"] == log_probs.argmax(axis=1).tolist()
    assert found["blanks"] == log_probs[:, vocabulary.blank].tolist()
    assert found["text"] == greedy(log_probs, vocabulary).text(vocabulary)


def test_nan_and_unusable_vocabularies_are_refused(node: Run) -> None:
    good: dict[str, Any] = {"tokens": ["a", "b"], "blank": 0}
    wrong = [{"blank": 2}, {"tokens": ["a", ""]}, {"silent": [-1]}, {"word_boundary": ""}]
    bad = [{}, *(good | changed for changed in wrong)]
    found = node(
        "const caught = (f) => { try { f(); return null; } catch (error) { return error.message; } };"
        "const nan = () => ctc.bestTokens(new Float32Array([0, NaN]), 1, ctc.readVocabulary(given[0]));"
        "return [caught(nan), ...given.map((v) => caught(() => ctc.readVocabulary(v)))];",
        [good, *bad],
    )
    assert "NaN" in found[0]
    assert found[1] is None
    assert all("no usable vocabulary" in message for message in found[2:])


@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_samples_of_wav_files_are_those_of_libsndfile(
    node: Run, tmp_path: Path, container: str, channels: int
) -> None:
    generator = np.random.default_rng(2)
    samples = np.clip(generator.normal(0, 0.4, (999, channels)), -1, 1)  # with both ends of the scale
    subtypes = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
    for subtype in subtypes:
        soundfile.write(tmp_path / subtype, samples, 16_000, subtype=subtype, format=container)
    found = node(
        "return given.map((path) => { const { buffer } = new Uint8Array(fs.readFileSync(path));"
        "const { sampleRate, channels } = audio.parseWave(buffer, path); const mono = audio.mixed(channels);"
        "fs.writeFileSync(path + '.mono', mono); return [sampleRate, mono.length]; });",
        [str(tmp_path / subtype) for subtype in subtypes],
    )
    assert found == [[16_000, 999]] * len(subtypes)
    for subtype in subtypes:
        mono = np.fromfile(tmp_path / f"{subtype}.mono", np.float32)
        np.testing.assert_array_equal(mono, read_audio(tmp_path / subtype), err_msg=subtype)


def test_cut_files_are_refused_and_those_of_pipes_are_not(node: Run, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "whole.wav", np.full(1000, 0.25), 16_000, subtype="PCM_16")
    whole = (tmp_path / "whole.wav").read_bytes()
    sizes = {"pipe": b"\xff\xff\xff\xff", "cut": (2002).to_bytes(4, "little")}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(whole[:40] + size + whole[44:])
    (tmp_path / "odd").write_bytes(whole[:12] + b"LIST\x03\x00\x00\x00abc\x00" + whole[12:])
    (tmp_path / "law").write_bytes(whole[:20] + b"\x07\x00" + whole[22:])  # μ-law is for the browser
    (tmp_path / "text").write_bytes(b"RIFF, as it is called")
    found = node(
        "return given.map((path) => { const { buffer } = new Uint8Array(fs.readFileSync(path)); try {"
        "return audio.parseWave(buffer, 'it')?.channels[0].length ?? null; }"
        "catch (error) { return error.message; } });",
        [str(tmp_path / name) for name in ("pipe", "cut", "odd", "law", "text")],
    )
    cut = "it is cut short: its header promises 2002 bytes of samples, it has 2000"
    assert found == [1000, cut, 1000, None, None]


def test_recordings_of_the_microphone_are_wav_files(node: Run, tmp_path: Path) -> None:
    samples = np.random.default_rng(3).normal(0, 0.1, 777).astype(np.float32)
    samples.tofile(tmp_path / "samples")
    node(
        "fs.writeFileSync(given.to, new Uint8Array(audio.waveFile(floats(given.from), 44100))); return null;",
        {"from": str(tmp_path / "samples"), "to": str(tmp_path / "recording.wav")},
    )
    read, rate = soundfile.read(tmp_path / "recording.wav", dtype="float32")
    assert rate == 44_100
    np.testing.assert_array_equal(read, samples)


def speech_and_pauses(seed: int) -> npt.NDArray[np.float32]:
    """Return bursts of noise of 0.3 to 50 s with pauses of 0 to 3 s between them, 100 s or a little more."""
    generator = np.random.default_rng(seed)
    parts: list[npt.NDArray[np.float32]] = []
    while sum(map(len, parts)) < 1_600_000:
        loud = generator.standard_normal(int(16_000 * 0.3 * 170 ** generator.random()))
        for start in range(0, len(loud), 24_000):
            loud[start : start + 6_000] = 0.0  # too short for a pause, and all its frames are as good a seam
        faint = generator.standard_normal(int(16_000 * 3 * generator.random() ** 2))
        parts += [
            (loud * generator.uniform(0.05, 0.3)).astype(np.float32),
            (faint * generator.uniform(0, 1e-3)).astype(np.float32),
        ]
    return np.concatenate(parts[seed % 2 :])


def stretches(*seconds_and_levels: tuple[float, float]) -> npt.NDArray[np.float32]:
    """Return noise of these lengths [s] and levels [dB of full scale]."""
    generator = np.random.default_rng(0)
    parts = [generator.standard_normal(round(16_000 * s)) * 10 ** (db / 20) for s, db in seconds_and_levels]
    return np.concatenate(parts).astype(np.float32)


LONG = {
    **{f"seed {seed}": speech_and_pauses(seed) for seed in range(4)},
    "a pause at the end of a chunk": stretches((29.7, -20), (2.5, -70), (40, -20), (3, -70), (20, -20)),
    "hardly a bit": stretches((20, -76), (2, -83), (20, -76), (2, -77), (30, -76), (2, -90), (40, -76)),
    "silence first": stretches((70, -75), (20, -15), (15, -75), (30, -15)),
}


VOCABULARY = Vocabulary(("a", "<blk>", "|", "b", "c", "d"), 1, "|")


def toy_posteriors(waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return log posteriors whose best token tells a frame's place in its chunk: seams can be seen."""
    first = waveform[::640]
    blank = -np.abs(first)
    log_probs = np.repeat(blank[:, None] - 1, len(VOCABULARY), axis=1)
    log_probs[:, VOCABULARY.blank] = blank
    frames = np.arange(len(first))
    log_probs[frames, 2 + frames // 7 % 4] = np.where(frames % 3 == 0, blank + 1, blank - 1)
    return log_probs


TOY_HEAR = """(waveform) => {
  const frames = Math.ceil(waveform.length / 640);
  const blanks = Float32Array.from({ length: frames }, (_, t) => -Math.abs(waveform[640 * t]));
  const best = Int32Array.from({ length: frames }, (_, t) => (t % 3 === 0 ? 2 + (Math.floor(t / 7) % 4) : 1));
  return { best, blanks };
}"""


@pytest.mark.parametrize("waveform", LONG.values(), ids=LONG)
def test_long_recordings_are_cut_and_joined_as_in_python(
    node: Run, tmp_path: Path, waveform: npt.NDArray[np.float32]
) -> None:
    waveform.tofile(tmp_path / "waveform")
    found = node(
        "const v = ctc.readVocabulary(given.vocabulary); const x = floats(given.file);"
        f"const hear = {TOY_HEAR};"
        "const path = []; let calls = 0; const heard = (y) => { calls++; return hear(y); };"
        "for await (const { best } of chunks.heardInChunks(x, heard, v, 0.04)) path.push(...best);"
        "const level = silences.levels(x.subarray(0, 480000));"
        "const pause = silences.findPause(level, 16000, true);"
        "return { path, calls, pause, leading: silences.leadingSilence(level) };",
        {"vocabulary": VOCABULARY.to_json(), "file": str(tmp_path / "waveform")},
    )
    calls = 0

    def posteriors(chunk: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        nonlocal calls
        calls += 1
        return toy_posteriors(chunk)

    pieces = list(joined([waveform], posteriors, VOCABULARY, 0.04, Chunking()))
    level = levels(waveform[:480_000])
    pause = find_pause(level, 0.8, 16_000, True)
    assert found["pause"] == (pause and asdict(pause))
    assert found["leading"] == leading_silence(level)
    assert found["path"] == np.concatenate(pieces).argmax(axis=1).tolist()
    assert found["calls"] == calls > 1


def test_what_is_no_longer_than_a_chunk_goes_through_whole(node: Run) -> None:
    found = node(
        "const lengths = []; const hear = ({ length }) => { lengths.push(length); return {}; };"
        "for (const n of [0, 100, 480000])"
        "for await (const _ of chunks.heardInChunks(new Float32Array(n), hear, given, 0.04));"
        "return lengths;",
        VOCABULARY.to_json(),
    )
    assert found == [0, 100, 480_000]


def test_frames_of_a_microphone_are_those_of_python(node: Run, tmp_path: Path) -> None:
    audio = (0.1 * np.random.default_rng(0).standard_normal(4_000)).astype(np.float32)
    audio.tofile(tmp_path / "audio")
    found = node(
        """const samples = floats(given), mel = new logmel.MelFrames(), frames = [];
           for (const [from, to] of [[0, 1], [1, 700], [700, 701], [701, 4000]]) {
             mel.push(samples.subarray(from, to));
             frames.push(...mel.take(mel.ready));
           }
           return frames;""",
        str(tmp_path / "audio"),
    )
    assert len(found) == (4_000 - 200) // 160 + 1
    ours = log_mel(audio, normalize="none", floored=True)
    np.testing.assert_allclose(found, ours[: len(found)], atol=1e-4)
