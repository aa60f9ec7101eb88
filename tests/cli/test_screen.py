"""Orders to the terminal that a stranger hides in tokens, names and reasons are shown, not obeyed."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from kdcompress.cli.render import show_error, show_note
from kdcompress.cli.screen import Console, harmless

EVIL = "a\x1b]0;owned\x07b\x9b2Jc\u202ed\x7f\r"
SEEN = "a␛]0;ownedb\ufffd2Jc\ufffdd␡"


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left_and_the_rest_is_as_it_was(text: str) -> None:
    shown = harmless(text)
    assert len(shown) == len(text)
    assert not set(shown) & ({chr(code) for code in (*range(32), *range(0x7F, 0xA0))} - {"\n", "\t"})
    assert all(a == b for a, b in zip(text, shown, strict=True) if a.isprintable())


def test_tables_and_texts_keep_their_own_colours_only() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, color_system="standard")
    table = Table(EVIL)
    table.add_row(EVIL)
    for shown in (table, Text(EVIL, "bold red"), EVIL):
        console.print(shown, highlight=False)
    out = file.getvalue()
    assert "\x1b[1m" in out
    assert not [bad for bad in ("\x1b]", "\x07", "\x9b", "\u202e", "\x7f") if bad in out]
    assert out.count("␛]0;owned") == 4


def test_errors_and_notes_are_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(EVIL)
    show_note(EVIL)
    assert capsys.readouterr().err.splitlines() == [f"error: {SEEN}", f"note: {SEEN}"]


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals there")
def test_a_transcript_on_a_terminal_is_harmless(
    tone_bundle: Path, say: Callable[[str], npt.NDArray[np.float32]], tmp_path: Path
) -> None:
    clips = [tmp_path / "a\x1b[2J.wav", tmp_path / "b.wav"]
    for clip in clips:
        soundfile.write(clip, say("ab c"), 16_000)
    command = [sys.executable, "-m", "kdcompress", "transcribe", str(tone_bundle), *map(str, clips)]
    ours, theirs = os.openpty()
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, timeout=120, check=False)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in shown
    assert "a␛[2J.wav\tab c" in shown.replace("\r\n", "\n")
    # A pipe gets the name as it is: other programs look for the file.
    piped = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert f"{clips[0]}\tab c\n" in piped.stdout.decode()
