"""Run a program on each utterance and take what it prints for the transcript.

No shell: the command is split into arguments once, and {audio} in them becomes the path of a WAV.
"""

import hashlib
import json
import shlex
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from kdcompress.aliases import Progress
from kdcompress.audio.decode import read_utterance
from kdcompress.audio.utterance import SAMPLE_RATE, Utterance
from kdcompress.config.teacher import CommandTeacher
from kdcompress.errors import AudioError, TeacherError

_AUDIO = "{audio}"
_MOST_BYTES = 1_000_000  # printed for one utterance


def run_command(
    teacher: CommandTeacher, utterances: Sequence[Utterance], journal: Path, on_progress: Progress
) -> dict[str, dict[str, Any]]:
    """Return {"text", "second", "failed"} by id; what the same command printed before is not asked again.

    Args:
        journal: one JSON line for each utterance, appended as they come; failures are tried again.

    Raises:
        TeacherError: the command is no command, or cannot be started.
    """
    arguments = _split(teacher.command)
    key = hashlib.sha256(f"{arguments}/{teacher.second_speed}".encode()).hexdigest()[:12]
    wanted = {one.id for one in utterances}
    found = {id_: line for id_, line in _read(journal, key).items() if id_ in wanted}
    todo = [one for one in utterances if one.id not in found]
    done, lock = len(found), threading.Lock()
    with (
        tempfile.TemporaryDirectory(prefix="kdcompress-") as name,
        journal.open("a", encoding="utf-8", errors="backslashreplace") as file,
    ):
        pool = ThreadPoolExecutor(teacher.jobs)
        try:
            tasks = {pool.submit(_transcribe, one, arguments, teacher, Path(name)): one for one in todo}
            for task in as_completed(tasks):
                one, line = tasks[task], task.result()
                with lock:
                    file.write(json.dumps({"id": one.id, "by": key, **line}, ensure_ascii=False) + "\n")
                    file.flush()
                found[one.id] = line
                done += 1
                on_progress(done, len(utterances))
        finally:
            pool.shutdown(cancel_futures=True)
    return found


def _split(command: str) -> list[str]:
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise TeacherError(f"teacher.command {command!r} cannot be split into arguments: {error}") from error
    if not any(_AUDIO in argument for argument in arguments[1:]):
        raise TeacherError(
            f"teacher.command {command!r} has no argument with {_AUDIO}, the file to transcribe"
        )
    return arguments


def _read(journal: Path, key: str) -> dict[str, dict[str, Any]]:
    found = {}
    if journal.is_file():
        for text in journal.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
                id_, by = str(line.pop("id")), line.pop("by")
            # A kill in the middle of a line, or of a character.
            except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
                continue
            as_written = set(line) == {"text", "second", "failed"} and isinstance(line["text"], str)
            if by == key and as_written and line["failed"] is None:
                found[id_] = line
    return found


def _transcribe(
    utterance: Utterance, arguments: Sequence[str], teacher: CommandTeacher, folder: Path
) -> dict[str, Any]:
    path = folder / f"{hashlib.sha256(utterance.id.encode()).hexdigest()[:16]}.wav"
    line: dict[str, Any] = {"text": "", "second": None, "failed": None}
    try:
        samples = read_utterance(utterance)
        line["text"] = _ask(samples, path, arguments, teacher.timeout)
        if teacher.second_speed is not None:
            faster = samples
            if teacher.second_speed != 1:
                faster = soxr.resample(samples, SAMPLE_RATE * teacher.second_speed, SAMPLE_RATE)
            line["second"] = _ask(faster, path, arguments, teacher.timeout)
    except (AudioError, _Failed) as error:
        line["failed"] = str(error)
    finally:
        path.unlink(missing_ok=True)
    return line


class _Failed(Exception):
    """One utterance has no transcript; the others may have theirs."""


def _ask(samples: np.ndarray, path: Path, arguments: Sequence[str], timeout: float) -> str:
    soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(  # the user's own command, without a shell
                [argument.replace(_AUDIO, str(path)) for argument in arguments],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=errors,
            )
        except OSError as error:
            raise TeacherError(
                f"teacher.command cannot be started: {arguments[0]}: {error.strerror}"
            ) from error
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise _Failed(f"the command took more than {timeout:g} s: see teacher.timeout") from error
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        errors.seek(0)
        last = errors.read(_MOST_BYTES).decode(errors="replace").strip().splitlines()[-1:]
        if code:
            raise _Failed(f"the command ended with exit code {code}: {''.join(last)[:200]}")
        if printed.tell() > _MOST_BYTES:
            raise _Failed(f"the command printed more than {_MOST_BYTES} bytes")
        printed.seek(0)
        return " ".join(printed.read().decode(errors="replace").split())
