import sys

import pytest

from kdcompress.cli.render import console, progress_bars, show_error


def test_lines_for_files_are_wide_enough_for_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("x" * 160)
    assert capsys.readouterr().out == "x" * 160 + "\n"


def test_an_error_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    show_error("[bold] stays\nand " + "x" * 300)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "error: [bold] stays and " + "x" * 300 + "\n")


def test_bars_leave_results_alone_and_say_nothing_to_files(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as bars:
        task = bars.add_task("working", total=2)
        sys.stdout.write("result\n")
        bars.advance(task)
    assert capsys.readouterr() == ("result\n", "")
