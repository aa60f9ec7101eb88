"""Long recordings come out of chunks as they would come out whole."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from kdcompress.errors import AudioError, ConfigError
from kdcompress.frontend.logmel_numpy import log_mel
from kdcompress.runtime.chunks import Chunking, joined
from kdcompress.runtime.layout import frame_counts
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.text.decode import greedy, greedy_pieces
from kdcompress.text.vocabulary import Vocabulary

Waveform = npt.NDArray[np.float32]
Say = Callable[[str], Waveform]

WORDS = "ab c cab a bca bb ac c ba cc abc a"


@pytest.fixture(scope="module")
def whole(tone_bundle: Path) -> Recognizer:
    return Recognizer(tone_bundle, "fp32", threads=1, chunking=Chunking(seconds=600, overlap=0))


def cut(recognizer: Recognizer, chunking: Chunking) -> Recognizer:
    return Recognizer(recognizer.bundle, "fp32", threads=1, chunking=chunking)


def pieces_of(waveform: Waveform, sizes: list[int]) -> Iterator[Waveform]:
    at = 0
    while at < len(waveform):
        for size in sizes:
            yield waveform[at : at + size]
            at += size


def silence(seconds: float) -> Waveform:
    return np.random.default_rng(0).normal(0, 1e-5, round(seconds * 16_000)).astype(np.float32)


@settings(max_examples=15)
@given(
    seconds=st.floats(1.5, 6.0),
    overlap=st.floats(0.3, 0.7),
    sizes=st.lists(st.integers(1, 50_000), min_size=1, max_size=3),
    extra=st.integers(0, 1300),
)
def test_the_frames_of_chunks_are_those_of_the_whole(
    whole: Recognizer, say: Say, seconds: float, overlap: float, sizes: list[int], extra: int
) -> None:
    sound = np.concatenate([say(WORDS), silence(extra / 16_000)])

    def posteriors(waveform: Waveform) -> Waveform:
        assert len(waveform) <= seconds * 16_000
        return whole.log_probs([log_mel(waveform, normalize="none")])[0]

    chunking = Chunking(seconds, overlap, pause=0)
    vocabulary, shift = whole.bundle.vocabulary, whole.bundle.frame_shift
    found = np.concatenate(
        list(joined(pieces_of(sound, [*sizes, 4000]), posteriors, vocabulary, shift, chunking))
    )
    expected = whole.log_probs([log_mel(sound, normalize="none")])[0]
    assert found.shape == expected.shape
    # The very first samples of a chunk have none before them for the window of a frame to look at.
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_token_at_the_joint_is_neither_lost_nor_doubled() -> None:
    """Each chunk sees its edges badly; the joint must lie where both are sure."""
    vocabulary = Vocabulary(("<blk>", "a", "b"), 0)
    spikes = np.zeros(400, int)
    spikes[5::11] = 1
    spikes[9::17] = 2

    def posteriors(waveform: Waveform) -> Waveform:
        frames = waveform[::640].astype(int)  # the sound is its own frame number
        log_probs = np.full((len(frames), 3), -9.0, np.float32)
        log_probs[np.arange(len(frames)), spikes[frames]] = -0.01
        for edge in (slice(0, 3), slice(-3, None)):
            log_probs[edge] = np.log([0.05, 0.9, 0.05])
        return log_probs

    sound = np.repeat(np.arange(400), 640).astype(np.float32)
    for seconds, overlap in ((2.0, 0.8), (3.0, 1.0), (5.0, 2.0)):
        chunking = Chunking(seconds, overlap, pause=0)
        found = np.concatenate(list(joined([sound], posteriors, vocabulary, 0.04, chunking)))
        assert len(found) == 400
        assert found.argmax(1)[3:-3].tolist() == spikes[3:-3].tolist()


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("pause", [0.0, 0.8])
def test_a_long_file_says_what_its_parts_say(
    whole: Recognizer, say: Say, tmp_path: Path, rate: int, pause: float
) -> None:
    import soxr

    texts = [WORDS, "c", "aab ca", WORDS, "bb", "abc " * 6]
    sound = np.concatenate([x for text in texts for x in (say(f"{text.strip()} "), silence(1.5))])
    # Silence at the beginning, and an end that fills no frame.
    sound = np.concatenate([silence(3.0), sound, silence(0.033)])
    soundfile.write(tmp_path / "long.flac", soxr.resample(sound, 16_000, rate), rate)
    one = whole.transcribe(tmp_path / "long.flac")
    long = cut(whole, Chunking(4.0, 1.0, pause))
    heard: list[float] = []
    several = long.transcribe(tmp_path / "long.flac", progress=heard.append)
    assert several.text == one.text == " ".join(" ".join(texts).split())
    assert several.duration == pytest.approx(one.duration, abs=1e-4)
    assert sum(heard) == pytest.approx(one.duration, abs=1e-4)
    for found, expected in zip(several.words, one.words, strict=True):
        assert (found.start, found.end) == pytest.approx((expected.start, expected.end), abs=0.081)
    # Samples in memory, alone or in company, are cut alike.
    batch = long.transcribe_batch([say("ab"), sound, say("c")])
    assert [t.text for t in batch] == ["ab", several.text, "c"]
    timings = several.timings
    assert min(timings.audio, timings.features, timings.model, timings.decoding) > 0


def test_the_text_of_a_recording_is_that_of_its_parts_frame_by_frame(whole: Recognizer, say: Say) -> None:
    """Also where each chunk is normalised over itself: parts are cut as the whole is."""
    rng = np.random.default_rng(1)
    texts = ["abc", "c", "aab ca", WORDS, "bb", "abc " * 6, "b", "cab"]
    parts = []
    for loudness, text in zip(rng.uniform(0.1, 1.0, len(texts)), texts, strict=True):
        part = np.concatenate(
            [silence(rng.uniform(0.5, 3)), loudness * say(text), silence(rng.uniform(0.5, 3))]
        )
        parts.append(part[: len(part) // 640 * 640])  # the next one begins on the grid of frames
    asked: list[Waveform] = []

    def posteriors(waveform: Waveform) -> Waveform:
        asked.append(waveform)
        return whole.log_probs([log_mel(waveform, normalize="none")])[0]

    vocabulary = whole.bundle.vocabulary
    for sound in parts:
        list(joined([sound], posteriors, vocabulary, 0.04, Chunking(6.0, 1.0)))
    apart, asked = asked, []
    list(joined([np.concatenate(parts)], posteriors, vocabulary, 0.04, Chunking(6.0, 1.0)))
    assert len(apart) == len(asked) >= len(texts)
    for one, other in zip(apart, asked, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_recording_may_begin_with_speech(whole: Recognizer, say: Say) -> None:
    spoken = say(f"{WORDS} ")
    # At once, in the first samples.
    sound = np.concatenate([spoken[np.flatnonzero(np.abs(spoken) > 0.01)[0] :], silence(2), say("bb")])
    expected = whole.transcribe(sound)
    several = cut(whole, Chunking(4.0, 1.0)).transcribe(sound)
    assert several.text == expected.text == f"{WORDS} bb"


def test_a_pause_parts_words_and_is_not_asked_about(whole: Recognizer, say: Say) -> None:
    asked: list[int] = []

    def posteriors(waveform: Waveform) -> Waveform:
        asked.append(len(waveform))
        return whole.log_probs([log_mel(waveform, normalize="none")])[0]

    sound = np.concatenate([silence(9), say("abc"), silence(10), say("abc"), silence(7.99)])
    vocabulary = whole.bundle.vocabulary
    pieces = list(joined([sound], posteriors, vocabulary, 0.04, Chunking(5.0, 1.0)))
    # Together 2.4 s of tones and what is kept around them.
    assert sum(asked) / 16_000 < 6
    assert max(map(len, pieces)) <= 125
    assert sum(map(len, pieces)) == -(-len(sound) // 640)
    hypothesis = greedy_pieces(pieces, vocabulary)
    assert hypothesis.text(vocabulary) == "abc abc"
    assert [w.start for w in hypothesis.words(vocabulary, 0.04)] == pytest.approx([9.22, 20.62], abs=0.05)


def test_pieces_are_decoded_as_the_whole() -> None:
    vocabulary = Vocabulary(("<blk>", "a", "b"), 0)
    log_probs = np.log(np.random.default_rng(0).dirichlet([1, 1, 1], 50)).astype(np.float32)
    expected = greedy(log_probs, vocabulary)
    found = greedy_pieces(np.split(log_probs, [0, 3, 4, 20, 50]), vocabulary)
    assert (found.ids, found.starts, found.ends) == (expected.ids, expected.starts, expected.ends)
    assert found.log_prob == pytest.approx(expected.log_prob)
    assert greedy_pieces([], vocabulary).ids == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seconds": 0.5}, "chunks of 0.5 s are not possible; choose 1 to 600"),
        ({"seconds": 601}, "chunks of 601 s are not possible"),
        ({"seconds": float("nan")}, "chunks of nan s are not possible"),
        ({"overlap": 15}, "an overlap of 15 s does not suit chunks of 30 s"),
        ({"overlap": -1}, "an overlap of -1 s does not suit"),
        ({"pause": 0.1}, "a pause of 0.1 s may be within a word"),
    ],
)
def test_what_cannot_be_cut_is_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Chunking(**values)


def test_defects_of_a_long_file_are_found_when_reached(whole: Recognizer, say: Say, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.flac", say(WORDS), 16_000)
    data = (tmp_path / "x.flac").read_bytes()
    (tmp_path / "x.flac").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(AudioError, match="cut short"):
        cut(whole, Chunking(3.0, 0.5)).transcribe(tmp_path / "x.flac")


PEAK = """
import resource, sys
from kdcompress.runtime.layout import frame_counts
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.runtime.chunks import Chunking
transcript = Recognizer(sys.argv[1], "fp32", threads=1, chunking=Chunking(10, 2)).transcribe(sys.argv[2])
print(len(transcript.words), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_six_times_as_long_needs_hardly_more_memory(tone_bundle: Path, say: Say, tmp_path: Path) -> None:
    sound = np.concatenate([say("abc ab "), silence(1.0), say("cab cab cab " * 2)])
    peaks = []
    for minutes in (1, 6):
        path = tmp_path / f"{minutes}.wav"
        repeats = round(minutes * 60 * 16_000 / len(sound))
        with soundfile.SoundFile(path, "w", 16_000, 1, "PCM_16") as file:
            for _ in range(repeats):
                file.write(sound)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PEAK, str(tone_bundle), str(path)],
            capture_output=True,
            text=True,
            check=True,
        )
        words, peak = map(int, done.stdout.split())
        assert words == 8 * repeats
        peaks.append(peak)
    # Six minutes are 23 MB as a waveform, and their features another 11.
    assert peaks[1] < peaks[0] + 6_000


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=3), st.integers(0, 25_000))
def test_chunks_of_windows_keep_the_frame_grid(pauses: list[int], extra: int) -> None:
    """With a frame for each window of 400 samples there is one less than a chunk has hops of 320."""
    rng = np.random.default_rng(0)
    loud = rng.normal(0, 0.1, 40_000).astype(np.float32)
    sound = np.concatenate([x for pause in pauses for x in (loud, silence(pause))] + [loud[:extra]])
    vocabulary = Vocabulary(("<blk>", "a"), 0)

    def posteriors(waveform: Waveform) -> Waveform:
        counted = frame_counts(np.array(-(-len(waveform) // 160)), 2, 400)
        return np.log(np.full((int(counted), 2), 0.5, np.float32))

    pieces = list(joined(pieces_of(sound, [7000]), posteriors, vocabulary, 0.02, Chunking(2.0, 0.4, 0.8)))
    assert 0 <= -(-len(sound) // 320) - sum(map(len, pieces)) <= 1
    # Loud samples end up where they were: frames that the graph gave are no sure blanks.
    asked = np.concatenate(pieces)[:, 1] > -1
    assert asked[: 40_000 // 320 - 1].mean() > 0.95
