"""The command as a process: what it imports, how it fails, what its exit code says."""

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdcompress import __version__, cli

HEAVY = (
    "torch torchaudio transformers lhotse accelerate onnxruntime onnx matplotlib jiwer soundfile soxr scipy"
)


def kdcompress(*arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "kdcompress", *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(command, text=True, timeout=120, **streams)  # type: ignore[call-overload,no-any-return]


def python(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], text=True, timeout=120, capture_output=True)


def failing_command(body: str) -> "subprocess.CompletedProcess[str]":
    """Run the real `main` with one more command, whose body fails in a way of its own."""
    return python(
        "import sys\nfrom kdcompress.cli import app, start\n"
        f"@app.app.command()\ndef fail() -> None:\n    {body}\n"
        "sys.argv = ['kdcompress', 'fail']\nstart.main()\n"
    )


def test_version() -> None:
    assert kdcompress("--version").stdout == f"kdcompress {__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    done = python(
        "import sys\nfrom kdcompress.cli.start import main\nsys.argv = ['kdcompress', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n"
        f"    sys.stderr.write(str(set('{HEAVY}'.split()) & set(sys.modules)))"
    )
    assert done.stdout.startswith("Usage:")
    assert done.stderr == "set()"


@pytest.mark.slow
def test_help_costs_little_more_than_the_libraries_it_stands_on() -> None:
    def seconds(*command: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        return time.perf_counter() - start

    # Interleaved, and the fastest of each: other work on the machine must not decide.
    pairs = [
        (seconds("-m", "kdcompress", "--help"), seconds("-c", "import typer, rich, pydantic, yaml"))
        for _ in range(5)
    ]
    ours, bare = (min(column) for column in zip(*pairs, strict=True))
    assert ours < 2 * bare


def test_help_lists_every_command_that_has_a_module() -> None:
    folder = Path(cli.__path__[0])
    modules = {path.stem: path.stem for path in folder.glob("[!_]*.py") if path.stem != "app"}
    modules |= {path.parent.name: f"{path.parent.name}.command" for path in folder.glob("*/command.py")}
    commands = {
        name
        for name, module in modules.items()
        if hasattr(importlib.import_module(f"kdcompress.cli.{module}"), name)
    }
    listed = kdcompress("--help").stdout.partition("Commands:")[2].splitlines()
    assert {line.split()[0] for line in listed if line} == commands


def test_an_expected_failure_is_one_line() -> None:
    done = kdcompress("recipes", "show", "no[bold]such\nrecipe")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: no recipe named 'no[bold]such")
    assert done.stderr.count("\n") == 1


def test_wrong_usage_is_exit_code_2() -> None:
    assert kdcompress().returncode == 2
    assert kdcompress("recipes", "show", "demo", "--nix").returncode == 2
    done = kdcompress("recipe")
    assert done.returncode == 2
    assert "Did you mean 'recipes'" in done.stderr


def test_an_interrupt_is_exit_code_130_without_a_traceback() -> None:
    done = failing_command("raise KeyboardInterrupt")
    assert (done.returncode, done.stderr) == (130, "")


def test_a_missing_extra_says_how_to_install_it() -> None:
    done = failing_command("sys.modules['torch'] = None; import torch.nn")
    assert done.returncode == 1
    assert done.stderr.startswith("error: this command needs torch")
    assert "pip install 'kdcompress[train]'; kdcompress doctor" in done.stderr


def test_a_bug_is_a_traceback() -> None:
    done = failing_command("import surely_no_such_module")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert "ModuleNotFoundError" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("open('/nix/model.onnx', 'w')", "error: no such file or directory: /nix/model.onnx\n"),
        (
            "raise OSError(28, 'No space left on device', 'out/model.onnx')",
            "no space left on device: out/model.onnx; make room there, or write elsewhere\n",
        ),
        ("raise PermissionError(13, 'Permission denied', 'a', None, 'b')", "permission denied: a -> b\n"),
        ("raise OSError('the device went away')", "error: the device went away\n"),
    ],
)
def test_what_the_system_refuses_is_one_line(body: str, line: str) -> None:
    done = failing_command(body)
    assert done.returncode == 1
    assert done.stderr.endswith(line)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_a_full_disk_under_standard_output_is_one_line(option: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as full:
        done = kdcompress(option, stdout=full)
    line = "error: no space left on device: standard output; make room there, or write elsewhere\n"
    assert (done.returncode, done.stderr) == (1, line)


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_a_closed_pipe_is_quiet(option: str) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = kdcompress(option, stdout=write_end)
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (1, "")
