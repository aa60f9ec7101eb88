"""Cues lose no word, do not overlap and fit the screen."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.runtime.subtitles import Cue, CueLayout, cues, to_srt, to_vtt
from kdcompress.runtime.transcript import Timings, Transcript
from kdcompress.text.decode import Span


def transcript_of(words: list[Span], tokens: list[Span] | None = None, duration: float = 1e4) -> Transcript:
    text = " ".join(word.text for word in words)
    return Transcript(text, tuple(tokens or words), tuple(words), duration, Timings(0, 0, 0, 0))


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    words, now = [], 0.0
    for _ in range(draw(st.integers(0, 60))):
        now += draw(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 3.0]))
        length = draw(st.sampled_from([0.04, 0.2, 0.6]))
        words.append(Span(draw(st.text("abcdefg&<>é", min_size=1, max_size=12)), now, now + length))
        now += length
    return transcript_of(words, duration=now + draw(st.sampled_from([0.0, 5.0])))


@given(transcripts(), st.integers(12, 50), st.integers(1, 3))
def test_cues_say_everything_once_and_fit(transcript: Transcript, characters: int, lines: int) -> None:
    layout = CueLayout(characters=characters, lines=lines)
    found = cues(transcript, layout)
    assert " ".join(line for cue in found for line in cue.lines) == transcript.text
    words = iter(transcript.words)
    for cue, following in zip(found, [*found[1:], None], strict=False):
        assert len(cue.lines) <= lines
        assert max(map(len, cue.lines)) <= characters
        inside = [next(words) for line in cue.lines for _ in line.split(" ")]
        assert cue.start == inside[0].start
        assert inside[-1].end <= cue.end <= max(inside[-1].end + 0.3, cue.start + 1.0)
        assert inside[-1].end - cue.start <= layout.seconds
        assert all(b.start - a.end < layout.pause for a, b in pairwise(inside))
        assert cue.end <= (transcript.duration if following is None else following.start)
    assert next(words, None) is None


def test_a_phrase_is_parted_at_its_longest_gap_and_lines_are_balanced() -> None:
    texts = ["one", "two", "three", "four", "five", "six"]
    words = [Span(text, n * 0.5, n * 0.5 + 0.3) for n, text in enumerate(texts)]
    words[3:] = [Span(w.text, w.start + 0.4, w.end + 0.4) for w in words[3:]]
    assert [cue.lines for cue in cues(transcript_of(words), CueLayout(10, 2))] == [
        ("one two", "three"),
        ("four", "five six"),
    ]
    # "one two three" would fill its line, and leave "four" alone.
    [cue] = cues(transcript_of(words[:4]), CueLayout(14, 2))
    assert cue == Cue(0.0, 2.5, ("one two", "three four"))


def test_without_word_boundaries_cues_break_between_tokens() -> None:
    tokens = [
        Span(c, n * 0.25, n * 0.25 + 0.04) for n, c in enumerate("知識蒸留は大きな模型から小さな模型を作る")
    ]
    word = Span("".join(t.text for t in tokens), tokens[0].start, tokens[-1].end)
    found = cues(transcript_of([word], tokens), CueLayout(characters=8, lines=1))
    assert "".join("".join(cue.lines) for cue in found) == word.text
    assert max(len(cue.lines[0]) for cue in found) <= 8
    assert len(found) == 4


EXAMPLE = transcript_of([Span("tom", 0.5, 0.9), Span("&", 1.0, 1.1), Span("<jerry>", 3723.0, 3723.5)])


def test_srt() -> None:
    assert to_srt(EXAMPLE) == (
        "1\n00:00:00,500 --> 00:00:01,500\ntom &\n\n2\n01:02:03,000 --> 01:02:04,000\n<jerry>\n\n"
    )
    assert to_srt(transcript_of([])) == ""


def test_vtt() -> None:
    assert to_vtt(EXAMPLE) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\ntom &amp;\n\n01:02:03.000 --> 01:02:04.000\n&lt;jerry&gt;\n"
    )
    assert to_vtt(transcript_of([])) == "WEBVTT\n"


@given(transcripts())
def test_times_are_written_in_order(transcript: Transcript) -> None:
    clock = r"(\d\d):(\d\d):(\d\d),(\d{3})"
    times = [
        ((int(h) * 60 + int(m)) * 60 + int(s)) * 1000 + int(ms)
        for h, m, s, ms in re.findall(clock, to_srt(transcript))
    ]
    assert times == sorted(times)
    assert times[::2] == pytest.approx([1000 * cue.start for cue in cues(transcript)], abs=0.6)
