"""Whoever silences a linter says why, beside it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("kdcompress", "tests", "recipes", "export", ".ci", "docker")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def without_reason(text: str) -> list[str]:
    """Return the lines with a noqa that neither they nor the noqa of the line above explain."""
    found, explained = [], False
    for line in text.splitlines():
        ignore = re.search(r"# (?:ruff: )?noqa\b[^#]*?((?:#| -) .+)?$", line)
        explained = bool(ignore and (ignore[1] or explained))
        if ignore and not explained:
            found.append(line.strip())
    return found


def test_the_search_finds_what_it_should() -> None:
    silenced = "x  # no" + "qa: E731"
    assert without_reason(silenced) == [silenced]
    assert without_reason(f"{silenced}  # nobody listens\n{silenced}") == []
    assert without_reason(f"{silenced}  # nobody listens\n\n{silenced}") == [silenced]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_silenced_line_says_why(folder: str) -> None:
    for path in FILES:
        if path.is_relative_to(ROOT / folder):
            assert not without_reason(path.read_text(encoding="utf-8")), path.relative_to(ROOT)


def test_every_rule_that_is_off_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    blocks = re.findall(
        r"^ignore = \[\n(.*?)^\]|^\[tool\.ruff\.lint\.per-file-ignores\]\n(.*?)^$", text, re.M | re.S
    )
    lines = [line for block in blocks for part in block for line in part.splitlines() if line.strip()]
    assert len(lines) >= 3
    assert all("# " in line for line in lines)
