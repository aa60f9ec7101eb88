"""What the documents say is true: commands parse, files exist, the tree is the tree."""

import ast
import importlib
import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from kdcompress.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("recipes/**/*.md"))
    if path.name != "CHANGELOG.md"  # names commands without their arguments
)
ELSEWHERE = {"../../export/consumers/web", "../../export/consumers/cpp"}  # come with a merge
CLI: Any = typer.main.get_command(app)  # a click group, or typer's own copy of one


def parts(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Split a document into its prose and its fenced blocks (language, content)."""
    prose, *rest = re.split(r"^```(.*)\n", text, flags=re.MULTILINE)
    fences = rest[0::4], rest[1::4]  # opening fence, content, closing fence, prose, ...
    return prose + "".join(rest[3::4]), list(zip(*fences, strict=True))


def blocks(text: str, language: str) -> str:
    return "\n".join(content for name, content in parts(text)[1] if name == language)


def command_lines(text: str) -> list[str]:
    return re.findall(r"^\s*(kdcompress .*)$", text.replace("\\\n", " "), re.MULTILINE)


def all_commands() -> list[str]:
    lines: list[str] = []
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        lines += command_lines(blocks(text, "sh")) + re.findall(r"`(kdcompress [^`]+)`", parts(text)[0])
    for group in (CLI, CLI.commands["recipes"]):
        for command in (group, *group.commands.values()):
            lines += command_lines(inspect.getdoc(command.callback) or "")
    return sorted(set(lines))


@pytest.mark.parametrize("line", all_commands())
def test_command_parses(line: str) -> None:
    words = shlex.split(line.partition(" > ")[0], comments=True)[1:]
    command, name = CLI, "kdcompress"
    while words and words[0] in getattr(command, "commands", {}):
        name, *words = words
        command = command.commands[name]
    if words and "--help" not in words:  # a bare name in prose is a mention
        assert not hasattr(command, "commands"), f"no such command: {words[0]}"
        command.make_context(name, list(words))  # raises for an unknown flag or a missing argument


def test_readme_shows_the_two_commands_and_the_three() -> None:
    shell = blocks(README, "sh")
    targets = re.findall(r"^make (\w+)", shell, re.MULTILINE)
    assert targets == ["demo", "test"]
    rules = re.findall(r"^([\w -]+):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(targets) <= {target for rule in rules for target in rule.split()}
    used = [line.split()[1] for line in command_lines(shell)]
    assert used[:3] == ["distill", "export", "bench"]


def test_python_in_the_readme_uses_what_exists() -> None:
    imports = [n for n in ast.walk(ast.parse(blocks(README, "python"))) if isinstance(n, ast.ImportFrom)]
    assert imports
    for node in imports:
        module = importlib.import_module(str(node.module))
        assert all(hasattr(module, alias.name) for alias in node.names)


def test_the_annotated_tree_is_true() -> None:
    tree = next(content for name, content in parts(README)[1] if content.startswith("recipes/"))
    listed: set[Path] = set()
    parent = ROOT
    for line in tree.splitlines():
        folder = line.split()[0]
        if not line.startswith(" "):
            parent = ROOT / folder
        path = parent if not line.startswith(" ") else parent / folder
        assert path.is_dir(), f"{path.relative_to(ROOT)} is in the README's tree only"
        listed.add(path)
    rooms = {path.parent for path in (ROOT / "kdcompress").glob("*/*.py")}
    assert {path for path in listed if path.parent == ROOT / "kdcompress"} == rooms


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
    inside = [link.partition("#")[0] for link in links if "://" not in link and link not in ELSEWHERE]
    assert not [link for link in inside if not (path.parent / link).exists()]
