"""Laws of streams, on a graph whose output comes out of its caches."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Thread

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from kdcompress.errors import AudioError, BundleError, ConfigError, NumericsError
from kdcompress.frontend.logmel_numpy import log_mel
from kdcompress.runtime.bundle import open_bundle
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.runtime.streaming.chunks import FeatureChunks
from kdcompress.runtime.streaming.stream import PooledStream
from kdcompress.runtime.streaming.utterances import Endpointing, StreamResult

Say = Callable[[str], npt.NDArray[np.float32]]
DELAY = 6 * 0.04  # [s] of the graph


@pytest.fixture(scope="module")
def recognizer(streaming_tone_bundle: Path) -> Recognizer:
    return Recognizer(streaming_tone_bundle, threads=1)


@pytest.fixture(scope="module")
def speech(say: Say) -> npt.NDArray[np.float32]:
    """Three utterances: two ended by silence, one by the end."""
    silence = np.zeros(24_000, np.float32)
    return np.concatenate([say("ab ca"), silence, say("b cc"), silence, say("aa")])


def streamed(
    recognizer: Recognizer, audio: npt.NDArray[np.float32], cuts: list[int], rules: Endpointing | None = None
) -> list[StreamResult]:
    stream = recognizer.stream(rules=rules)
    edges = sorted({0, *(min(cut, len(audio)) for cut in cuts), len(audio)})
    pushed = [stream.push(audio[a:b]) for a, b in pairwise(edges)]
    return [result for results in (*pushed, stream.finish()) for result in results]


def finals(results: list[StreamResult]) -> list[str]:
    return [result.text for result in results if result.final]


def test_text_comes_while_somebody_speaks_and_is_final_after_silence(
    recognizer: Recognizer, speech: npt.NDArray[np.float32], say: Say
) -> None:
    stream = recognizer.stream()
    seen: list[tuple[float, StreamResult]] = []
    for start in range(0, len(speech), 1600):
        seen += [((start + 1600) / 16_000, r) for r in stream.push(speech[start : start + 1600])]
    seen += [(len(speech) / 16_000, r) for r in stream.finish()]
    results = [result for _, result in seen]
    assert finals(results) == ["ab ca", "b cc", "aa"]
    assert [r.text for r in results if r.utterance == 0] == ["a", "ab", "ab c", "ab ca", "ab ca"]
    # The second word is said from 1.4 s on; a text is final 1.2 s behind its end.
    assert next(at for at, r in seen if r.text == "ab") < 1.4
    end = len(say("ab ca")) / 16_000
    assert end - 0.2 + 1.2 <= next(at for at, r in seen if r.final) <= end - 0.2 + 1.2 + DELAY + 0.3
    # Times are those of the whole stream: the tone sounds from 0.2 to 0.4 s of the second utterance.
    token = next(r for r in results if r.final and r.utterance == 1).tokens[0]
    begin = end + 1.5 + 0.2 + DELAY
    assert begin <= token.start < token.end <= begin + 0.2 + 0.04


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(0, 130_000), max_size=30), short=st.booleans())
def test_however_samples_are_cut_the_results_are_the_same(
    recognizer: Recognizer, speech: npt.NDArray[np.float32], cuts: list[int], short: bool
) -> None:
    rules = Endpointing(silence=0.4, longest=1.0) if short else None
    assert streamed(recognizer, speech, cuts, rules) == streamed(recognizer, speech, [], rules)


@settings(max_examples=25)
@given(
    texts=st.lists(st.text("abc ", max_size=5), min_size=1, max_size=5),
    batch=st.integers(1, 3),
    seed=st.integers(0, 1 << 32),
)
def test_streams_of_a_pool_say_what_each_says_alone(
    recognizer: Recognizer, say: Say, texts: list[str], batch: int, seed: int
) -> None:
    rng, audios = np.random.default_rng(seed), [say(text) for text in texts]
    pool = recognizer.pool(batch=batch)
    streams: dict[int, PooledStream] = {}
    said: dict[PooledStream, list[StreamResult]] = {}
    at, begins = [0] * len(texts), rng.integers(0, 4, len(texts))
    for turn in range(100):
        for index, audio in enumerate(audios):
            if begins[index] == turn:
                streams[index] = pool.open()
                said[streams[index]] = []
            if begins[index] > turn or at[index] > len(audio) or rng.random() < 0.2:
                continue
            size = int(rng.integers(1, 9000))
            streams[index].push(audio[at[index] : at[index] + size])
            at[index] += size
            if at[index] > len(audio):
                streams[index].finish()
        for stream, result in pool.advance():
            assert isinstance(result, StreamResult)
            said[stream].append(result)
        if len(streams) == len(texts) and not pool.streams:
            break
    assert [said[streams[index]] for index in range(len(texts))] == [
        streamed(recognizer, audio, []) for audio in audios
    ]


def test_frames_are_those_of_the_offline_front_end() -> None:
    rng = np.random.default_rng(0)
    audio = rng.standard_normal(48_123).astype(np.float32) * np.linspace(0, 0.5, 48_123, dtype=np.float32)
    chunks, frames = FeatureChunks(window=130, shift=120), []
    for piece in np.split(audio, [1, 500, 501, 20_000]):
        chunks.put(piece)
        while chunks.ready:
            frames.append(chunks.take())
    chunks.end(0.5)
    while chunks.ready:
        frames.append(chunks.take())
    assert chunks.exhausted
    assert len(frames) == -(-(48_123 + 8000) // 160 // 120)
    expected = log_mel(np.pad(audio, (0, 48_000)), normalize="none", floored=True)
    for index, chunk in enumerate(frames):
        np.testing.assert_allclose(chunk, expected[120 * index : 120 * index + 130], atol=1e-4)


def test_a_whole_recording_is_transcribed_as_it_is_streamed(
    recognizer: Recognizer, speech: npt.NDArray[np.float32], say: Say
) -> None:
    whole = recognizer.transcribe(speech)
    assert whole.text == "ab cab ccaa"
    assert "".join(finals(streamed(recognizer, speech, []))) == "ab cab ccaa"
    alone = [say("abc"), say("c"), np.zeros(0, np.float32), say("a b cc a")]
    assert [t.text for t in recognizer.transcribe_batch(alone)] == ["abc", "c", "", "a b cc a"]
    long = np.concatenate([speech] * 6)  # longer than a chunk of an offline student
    assert recognizer.transcribe(long).text.replace(" ", "") == "abcabccaa" * 6


def test_long_utterances_are_given_out_by_whole_words(recognizer: Recognizer, say: Say) -> None:
    results = streamed(recognizer, say("abc cba abc"), [], Endpointing(longest=2.4))
    assert finals(results) == ["abc", "cba", "abc"]
    # Without a word boundary, whatever there is.
    assert (
        "".join(finals(streamed(recognizer, say("abcabcabc"), [], Endpointing(longest=1.0)))) == "abcabcabc"
    )
    assert finals(streamed(recognizer, say("a b"), [], Endpointing(silence=0, longest=0, tail=5))) == ["a b"]


def test_between_utterances_the_states_are_those_of_a_beginning(
    recognizer: Recognizer, speech: npt.NDArray[np.float32]
) -> None:
    pool = recognizer.pool()
    stream = pool.open()
    stream.push(speech)
    assert len([r for _, r in pool.advance() if isinstance(r, StreamResult) and r.final]) == 2
    [count] = stream.states.states[2]  # frames since the last reset, which was in the second of two silences
    assert 0 < count * 0.04 < 2.5 < len(speech) / 16_000 / 2


def test_an_hour_takes_no_more_memory_than_a_minute(recognizer: Recognizer, say: Say) -> None:
    stream, utterance = recognizer.stream(), np.pad(say("ab"), (0, 22_400))

    def minutes(count: int) -> int:
        tracemalloc.reset_peak()
        texts = [r.text for _ in range(25 * count) for r in stream.push(utterance) if r.final]
        assert set(texts) <= {"ab"}
        assert len(texts) >= 25 * count - 1
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        first = minutes(1)
        assert minutes(3) <= first * 1.05 + 20_000
    finally:
        tracemalloc.stop()


def test_any_rate_and_integers_are_understood(recognizer: Recognizer, say: Say) -> None:
    high = (soxr.resample(say("ab c"), 16_000, 44_100) * 32_767).astype(np.int16)
    texts = []
    for size in (441, 50_000):
        stream = recognizer.stream(44_100)
        results = [r for a in range(0, len(high), size) for r in stream.push(high[a : a + size])]
        texts += finals(results + stream.finish())
    assert texts == ["ab c", "ab c"]


def test_bad_samples_are_refused_and_the_stream_goes_on(recognizer: Recognizer, say: Say) -> None:
    stream = recognizer.stream()
    stream.push(say("a"))
    with pytest.raises(AudioError, match="not numbers"):
        stream.push(np.full(100, np.nan, np.float32))
    assert finals(stream.push(say("b")) + stream.finish()) == ["ab"]
    with pytest.raises(AudioError, match="belong to a new one"):
        stream.push(say("c"))
    assert stream.finish() == []
    assert recognizer.stream().finish() == []
    with pytest.raises(AudioError, match="sample_rate"):
        recognizer.stream(0)


def test_what_was_final_before_an_error_is_returned_first(
    streaming_tone_bundle: Path, tmp_path: Path, say: Say
) -> None:
    model = onnx.load(streaming_tone_bundle / "model.onnx")
    # A graph whose output is NaN once it has counted to 60 chunks.
    for made in (
        onnx.helper.make_node("Log", ["left"], ["nan"]),
        onnx.helper.make_node("Sub", ["sixty", "cache_last_time"], ["left4"]),
        onnx.helper.make_node("Squeeze", ["left4", "axis"], ["left"]),
    ):
        model.graph.node.insert(0, made)
    add = next(node for node in model.graph.node if node.output[0] == "logits")
    add.output[0] = "good"
    model.graph.node.insert(
        list(model.graph.node).index(add) + 1, onnx.helper.make_node("Add", ["good", "nan"], ["logits"])
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.full(1, 60, np.float32), "sixty"))
    onnx.save(model, tmp_path / "model.onnx")
    broken = Recognizer(replace(open_bundle(streaming_tone_bundle), directory=tmp_path), threads=1)
    rules = Endpointing(reset=False)
    stream = broken.stream(rules=rules)
    long = np.concatenate([np.pad(say("ab"), (0, 24_000))] * 8)
    assert "ab" in finals(stream.push(long))
    with pytest.raises(NumericsError):
        stream.push(long)
    # In a pool the others go on.
    pool = broken.pool(rules)
    one, other = pool.open(), pool.open()
    one.push(long)
    list(pool.advance())
    assert one.closed
    other.push(say("ab"))
    other.finish()
    assert [r.text for _, r in pool.advance() if isinstance(r, StreamResult) and r.final] == ["ab"]


def test_what_cannot_stream_says_so(tone_bundle: Path) -> None:
    with pytest.raises(BundleError, match="--profile streaming"):
        Recognizer(tone_bundle, threads=1).stream()
    with pytest.raises(ConfigError, match="silence of -1 s"):
        Endpointing(silence=-1)


@pytest.mark.parametrize(
    ("key", "value"), [("window_size", "x"), ("chunk_shift", "0"), ("chunk_shift", "99")]
)
def test_metadata_that_cannot_be_are_refused(
    streaming_tone_bundle: Path, tmp_path: Path, key: str, value: str
) -> None:
    model = onnx.load(streaming_tone_bundle / "model.onnx")
    next(entry for entry in model.metadata_props if entry.key == key).value = value
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(BundleError, match="export again"):
        Recognizer(replace(open_bundle(streaming_tone_bundle), directory=tmp_path), threads=1)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["fp32", "int8-dynamic"])
def test_a_trained_student_streams_what_it_transcribes(
    streaming_bundle: Path, say: Say, variant: str
) -> None:
    live = Recognizer(streaming_bundle, variant, threads=1)
    texts = ["ab ca b", "c", "ba bb a cab", "cc a"]
    audios = [say(text) for text in texts]
    assert [t.text for t in live.transcribe_batch(audios)] == texts
    assert [" ".join(finals(streamed(live, audio, [777, 9000]))) for audio in audios] == texts
    pool = live.pool()
    streams = [pool.open() for _ in audios]
    for stream, audio in zip(streams, audios, strict=True):
        stream.push(audio)
        stream.finish()
    said = {stream: r.text for stream, r in pool.advance() if isinstance(r, StreamResult) and r.final}
    assert [said[stream] for stream in streams] == texts


def test_streams_may_be_filled_in_other_threads(recognizer: Recognizer, say: Say) -> None:
    pool, audios = recognizer.pool(batch=3), [say(text) for text in ("ab c", "c", "ba bb", "a a", "cab")]
    streams = [pool.open() for _ in audios]

    def speak(stream: PooledStream, audio: npt.NDArray[np.float32]) -> None:
        for start in range(0, len(audio), 333):
            stream.push(audio[start : start + 333])
        stream.finish()

    threads = [Thread(target=speak, args=pair) for pair in zip(streams, audios, strict=True)]
    for thread in threads:
        thread.start()
    said = {}
    while pool.streams:
        said |= {s: r.text for s, r in pool.advance() if isinstance(r, StreamResult) and r.final}
    for thread in threads:
        thread.join()
    assert [said[stream] for stream in streams] == ["ab c", "c", "ba bb", "a a", "cab"]
