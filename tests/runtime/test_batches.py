from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.errors import AudioError
from kdcompress.runtime.batches import batches, transcribe_files
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
        outcomes = list(transcribe_files(recognizer, files, seconds, heard.append))
        assert [file for file, _ in outcomes] == files
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
    alone = [o.to_json() for _, o in transcribe_files(recognizer, files) if isinstance(o, Transcript)]
    together = [o.to_json() for _, o in transcribe_files(recognizer, files, 60) if isinstance(o, Transcript)]
    assert alone == together
    assert len(alone) == 3
