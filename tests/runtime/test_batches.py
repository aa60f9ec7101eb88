import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.audio.sources import find_sources
from kdcompress.errors import AudioError, KdcompressError
from kdcompress.runtime.batches import batches, transcribe_sources
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.runtime.transcript import Transcript

Say = Callable[[str], npt.NDArray[np.float32]]


@given(st.lists(st.floats(0, 100), max_size=40), st.floats(0, 200))
def test_groups_hold_each_file_once_and_are_bounded(durations: list[float], seconds: float) -> None:
    groups = batches(durations, seconds)
    assert sorted(i for group in groups for i in group) == list(range(len(durations)))
    for group in groups:
        longest = max(durations[i] for i in group)
        assert len(group) == 1 or len(group) * longest <= seconds
    # Sorted: no group's longest is longer than the next one's shortest.
    spans = [[durations[i] for i in group] for group in groups]
    assert all(max(a) <= min(b) for a, b in pairwise(spans))


def test_files_come_back_in_their_order(tone_bundle: Path, say: Say, tmp_path: Path) -> None:
    recognizer = Recognizer(tone_bundle, "fp32", threads=1)
    runs: list[int] = []
    log_probs = recognizer.log_probs
    recognizer.log_probs = lambda f: (runs.append(len(f)), log_probs(f))[1]  # type: ignore[method-assign]
    texts = ["abc", "a b c a b c", "c", "bb", "a b c c b a", "ab"]
    files = []
    for number, text in enumerate(texts):
        files.append(tmp_path / f"{number}.wav")
        soundfile.write(files[-1], say(text), 16_000)
    (tmp_path / "bad.wav").write_text("this is text")
    files[2:2] = [tmp_path / "bad.wav", tmp_path / "none.wav"]
    heard: list[float] = []
    for seconds, expected in ((0.0, [1] * 6), (6.0, [1, 1, 4])):
        runs.clear()
        outcomes = list(
            transcribe_sources(recognizer, find_sources(files), batch_seconds=seconds, progress=heard.append)
        )
        assert [source.stretch.audio for source, _ in outcomes] == files
        said = [o.text if isinstance(o, Transcript) else str(o) for _, o in outcomes]
        assert [said[0], said[1], *said[4:]] == texts
        assert "is not audio" in said[2]
        assert "no such audio file" in said[3]
        assert sorted(runs) == sorted(expected)
        errors = [o for _, o in outcomes if not isinstance(o, Transcript)]
        assert [type(e) for e in errors] == [AudioError, AudioError]
    assert sum(heard) > 0


def test_padding_in_company_changes_nothing(tone_bundle: Path, say: Say, tmp_path: Path) -> None:
    files = []
    for text in ("abc", "c", "ab ca"):
        files.append(tmp_path / f"{text}.wav")
        soundfile.write(files[-1], say(text), 16_000)
    recognizer = Recognizer(tone_bundle, "fp32", threads=1)
    alone, together = (
        [
            outcome.to_json()
            for _, outcome in transcribe_sources(recognizer, find_sources(files), batch_seconds=seconds)
            if isinstance(outcome, Transcript)
        ]
        for seconds in (0, 60)
    )
    assert alone == together
    assert len(alone) == 3


def test_several_at_a_time_come_in_their_order(tone_bundle: Path, say: Say, tmp_path: Path) -> None:
    recognizer = Recognizer(tone_bundle, "fp32", threads=1)
    texts = ["abc cab " * 40, "a", "b", "ab c"]  # the first takes longest
    for number, text in enumerate(texts):
        soundfile.write(tmp_path / f"{number}.wav", say(text), 16_000)
    (tmp_path / "1b.wav").write_text("this is text")
    heard: list[float] = []
    results = list(transcribe_sources(recognizer, find_sources([tmp_path]), jobs=3, progress=heard.append))
    again = partial(Recognizer, recognizer.bundle, "fp32", threads=1)
    apart = list(transcribe_sources(recognizer, find_sources([tmp_path]), jobs=2, again=again))
    for (source, outcome), (its, own) in zip(results, apart, strict=True):
        assert source == its
        if isinstance(outcome, Transcript) and isinstance(own, Transcript):
            assert replace(outcome, timings=own.timings) == own
        else:
            assert (type(outcome), str(outcome)) == (type(own), str(own))
    assert [source.name for source, _ in results] == ["0", "1", "1b", "2", "3"]
    said = [o.text if isinstance(o, Transcript) else type(o) for _, o in results]
    assert said == [texts[0].strip(), "a", AudioError, "b", "ab c"]
    assert sum(heard) == sum(o.duration for _, o in results if isinstance(o, Transcript))


def test_who_stops_listening_is_not_made_to_wait(tone_bundle: Path, say: Say, tmp_path: Path) -> None:
    recognizer = Recognizer(tone_bundle, "fp32", threads=1)
    soundfile.write(tmp_path / "a.wav", say("a"), 16_000)
    named = [tmp_path / "a.wav"] * 500
    read: list[float] = []
    results = transcribe_sources(recognizer, find_sources(named), jobs=2, progress=read.append)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(read) < 500


# A process that begins two for many recordings, tells of them and of the first text, and is killed.
_KILLED = """
import multiprocessing, os, signal, sys
from contextlib import closing
from functools import partial
from pathlib import Path
from kdcompress.audio.sources import find_sources
from kdcompress.runtime.batches import transcribe_sources
from kdcompress.runtime.recognizer import Recognizer

if __name__ == "__main__":
    opened = Recognizer(sys.argv[1], "fp32", threads=1)
    sources = find_sources([Path(sys.argv[2])] * 100_000)
    again = partial(Recognizer, opened.bundle, "fp32", threads=1)
    with closing(transcribe_sources(opened, sources, jobs=2, again=again)) as results:
        _, first = next(results)
        print(first.text, *(process.pid for process in multiprocessing.active_children()), flush=True)
        os.kill(os.getpid(), getattr(signal, sys.argv[3]))
"""


def runs(pid: str) -> bool:
    """Tell whether a process runs; one that nobody has asked for its end does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("signal", ["SIGKILL", "SIGINT"])
def test_processes_end_with_the_one_that_they_work_for(
    signal: str, tone_bundle: Path, say: Say, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", say("ab"), 16_000)
    (tmp_path / "killed.py").write_text(_KILLED)
    command = [sys.executable, str(tmp_path / "killed.py"), str(tone_bundle), str(tmp_path / "a.wav"), signal]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode != 0
    text, *workers = done.stdout.split()
    assert (text, len(workers)) == ("ab", 2)
    deadline = time.monotonic() + 60
    while any(map(runs, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(runs, workers))


def test_a_process_that_ends_is_told(tone_bundle: Path, say: Say, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", say("a"), 16_000)
    recognizer = Recognizer(tone_bundle, "fp32", threads=1)
    results = transcribe_sources(recognizer, find_sources([tmp_path]), jobs=2, again=partial(os._exit, 3))
    with pytest.raises(KdcompressError, match="one of 2 processes that transcribed ended"):
        list(results)
