"""One finding about the machine or the installation, and what hides the names of people and places in it."""

import getpass
import json
import platform
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

State: TypeAlias = Literal["ok", "warn", "bad"]

_TIMEOUT = 120  # [s] a cold disk reads a gigabyte of libraries
# A path down to its last part: /home/ada/venv/lib/, C:\Users\ada\, ~/venv/.
_FOLDERS = re.compile(r"(?<![\w.])(?:[A-Za-z]:|~)?[\\/](?:[^\s'\"():,;\\/]+[\\/])*")


@dataclass(frozen=True)
class Check:
    """A line of the page.

    Attributes:
        topic: what was looked at, a word or two.
        state: ok; warn: it works, but slower, or not all of it; bad: something is broken.
        found: half a line.
        advice: what to do; empty where there is nothing to be done.
    """

    topic: str
    state: State
    found: str
    advice: str = ""

    def to_json(self) -> dict[str, str]:
        """Return plain data without personal paths, user or host name, for a bug report."""
        return {key: anonymous(value) for key, value in asdict(self).items()}


def anonymous(text: str) -> str:
    """Return the text without folders of paths, and without the names of the user and the host."""
    text = _FOLDERS.sub("…/", text)
    for name in (_user(), platform.node(), platform.node().partition(".")[0]):
        if len(name) > 2:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "…", text)
    return text


def ask_python(code: str) -> dict[str, Any]:
    """Run a program that prints one JSON object, in a process of its own: a broken library may end it.

    Returns:
        The object; or `{"failed": reason}`.
    """
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, errors="replace")
    except (OSError, subprocess.SubprocessError) as error:
        return {"failed": f"it could not be tried: {error}"}
    lines = done.stdout.splitlines()
    with suppress(ValueError, IndexError):
        told = json.loads(lines[-1])
        if done.returncode == 0 and isinstance(told, dict):
            return told
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return {"failed": said[-1] if said else f"the process ended with exit code {done.returncode}"}


def _user() -> str:
    with suppress(Exception):  # no entry for this user id, as in containers: KeyError, later OSError
        return getpass.getuser()
    return Path.home().name
