"""What opening a packed corpus costs does not grow with its utterances, and no audio file is opened."""

import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from packed_index import write_packed

from kdcompress.audio.corpus.index import DESCRIPTION
from kdcompress.audio.corpus.open import open_corpus, read_lines


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_packed(tmp_path_factory.mktemp("small"), [[10.0] * 500] * 2)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_packed(tmp_path_factory.mktemp("large"), [[10.0] * 500] * 20)


_opened: list[str] = []
_watching = False


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if _watching and event == "open" and isinstance(arguments[0], str):
        _opened.append(arguments[0])


@contextmanager
def watching() -> Iterator[list[str]]:
    """Give the names of the files that are opened inside the block."""
    global _watching
    if not hasattr(sys, "_kdcompress_watched"):
        sys.addaudithook(_note)
        sys._kdcompress_watched = True  # type: ignore[attr-defined]
    _opened.clear()
    _watching = True
    try:
        yield _opened
    finally:
        _watching = False


def first_line(corpus: Path) -> None:
    next(open_corpus(corpus)[0].lines(False))


def all_lines(corpus: Path) -> int:
    return sum(line.known for shard in open_corpus(corpus) for line in shard.lines(False))


def peak(work: Callable[[Path], object], corpus: Path) -> int:
    """Return the least peak of three runs [bytes]: threads that other tests left may allocate meanwhile."""
    work(corpus)  # what is made once is made before
    peaks = []
    for _ in range(3):
        tracemalloc.start()
        try:
            work(corpus)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return min(peaks)


def seconds(work: Callable[[Path], object], corpus: Path) -> float:
    """Return the least processor time of three runs [s]."""
    times = []
    for _ in range(3):
        begin = time.process_time()
        work(corpus)
        times.append(time.process_time() - begin)
    return min(times)


def test_to_the_first_utterance_two_files_are_opened(large: Path) -> None:
    with watching() as opened:
        first_line(large)
    inside = {name for name in opened if name.startswith(str(large))}
    assert inside == {str(large / DESCRIPTION), str(large / "index" / "000000.jsonl")}


def test_a_pass_opens_the_index_of_each_shard_and_no_audio(small: Path) -> None:
    with watching() as opened:
        assert all_lines(small) == 1_000
    assert {Path(name).parent.name for name in opened if name.endswith(".jsonl")} == {"index"}
    assert not [name for name in opened if name.endswith((".tar", ".gz"))]


def test_a_pass_holds_no_list(large: Path) -> None:
    assert peak(all_lines, large) < peak(lambda corpus: list(read_lines(corpus, with_text=False)), large) / 2


def test_time_of_a_pass_grows_no_faster_than_the_utterances(small: Path, large: Path) -> None:
    assert seconds(all_lines, large) < 15 * seconds(all_lines, small)
