"""The house rules that a machine can hold: imports, torch, the size of modules and folders, shared types."""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "kdcompress").rglob("*.py"))
}

# A room imports rooms to its left only, and itself. Features come before what computes them at run time.
LEVELS = [
    {"errors", "aliases", "signals", "__version__"},
    {"files", "plain_yaml"},
    {"config", "text", "audio", "resources", "cores", "locks"},
    {"frontend", "digests"},
    {"runtime"},
    {"report", "verify"},
    {"students", "quantize", "bench"},
    {"teachers", "diagnosis"},
    {"distill", "graph"},
    {"analysis"},
    {"cli"},
    {"__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
TORCH_FREE = {"__version__", "errors", "resources", "config", "audio", "text", "runtime", "quantize", "bench"}
TORCH_FREE |= {
    "aliases",
    "cores",
    "digests",
    "diagnosis",
    "files",
    "locks",
    "plain_yaml",
    "report",
    "signals",
    "verify",
}
TORCH_HALF = {"torch", "torchaudio", "transformers", "accelerate", "lhotse", "onnxscript", "safetensors"}


class Import(NamedTuple):
    importer: str
    target: str  # with the imported name, if any: kdcompress.text.vocabulary.Vocabulary
    nested: bool  # inside a function or `if TYPE_CHECKING`: not paid for on import


def imports_of(name: str, tree: ast.AST) -> Iterator[Import]:
    later = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    ]
    inside = {id(inner) for node in later for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}, line {node.lineno}: imports are absolute"
            targets = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (Import(name, target, id(node) in inside) for target in targets)


IMPORTS = [i for name, path in FILES.items() for i in imports_of(name, ast.parse(path.read_text()))]


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else "__version__"


def package(name: str) -> str:
    return name.partition(".")[0]


def torch_free(name: str) -> bool:
    return room(name) in TORCH_FREE or (room(name) == "frontend" and name.partition("_numpy")[1] != "")


def test_the_walk_sees_top_level_and_nested_imports() -> None:
    assert Import("kdcompress.cli.app", "kdcompress.cli.recipes.recipes", nested=False) in IMPORTS
    assert Import("kdcompress.cli.recipes", "kdcompress.resources.recipe_path", nested=True) in IMPORTS
    assert any(i.target == "torch" for i in IMPORTS)


def test_every_room_has_a_place_in_the_table() -> None:
    assert {room(name) for name in FILES} <= set(LEVEL)


# Walls that are still being built; an entry goes with its last import.
PENDING = {("report", "bench")}


def test_imports_go_one_way() -> None:
    inner = [i for i in IMPORTS if package(i.target) == "kdcompress"]
    wrong = [i for i in inner if room(i.importer) != room(i.target)]
    wrong = [i for i in wrong if (room(i.importer), room(i.target)) not in PENDING]
    assert not [i for i in wrong if LEVEL[room(i.importer)] <= LEVEL.get(room(i.target), len(LEVELS))]


def test_what_runs_a_student_never_imports_torch() -> None:
    walled = [i for i in IMPORTS if torch_free(i.importer) or i.importer == "kdcompress.frontend"]
    assert not [i for i in walled if package(i.target) in TORCH_HALF]


def test_what_runs_a_student_stands_on_torch_free_modules_only() -> None:
    inner = [i for i in IMPORTS if torch_free(i.importer) and package(i.target) == "kdcompress"]
    assert not [i for i in inner if not torch_free(i.target)]


def test_the_command_line_starts_without_heavy_imports() -> None:
    # Of the configuration only the names of profiles and presets: building pydantic's classes takes time.
    light = ("kdcompress.__version__", "kdcompress.errors.", "kdcompress.cli.", "kdcompress.config.deploy.")
    allowed = sys.stdlib_module_names | {"typer", "rich", "typing_extensions"}
    eager = [i for i in IMPORTS if room(i.importer) == "cli" and not i.nested]
    assert not [i for i in eager if package(i.target) not in allowed and not i.target.startswith(light)]


def test_one_module_owns_the_torchaudio_import() -> None:
    users = {i.importer for i in IMPORTS if package(i.target) == "torchaudio"}
    assert {user.rpartition(".")[2] for user in users} <= {"torchaudio_import"}


def test_export_names_the_command_only() -> None:
    assert {name for name in FILES if name.endswith(".export")} <= {"kdcompress.cli.export"}


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    drawers = {"utils", "util", "common", "helpers", "helper", "misc"}
    assert not [name for name in FILES if drawers & set(name.split("."))]


def test_modules_are_small_rooms() -> None:
    lines = {name: len(path.read_text().splitlines()) for name, path in FILES.items()}
    assert not {name: count for name, count in lines.items() if count > 300}


def test_pickles_are_never_loaded() -> None:
    assert not [
        i for i in IMPORTS if package(i.target) in {"pickle", "cloudpickle", "joblib", "dill", "shelve"}
    ]


def test_folders_are_small_halls() -> None:
    modules = [path for path in FILES.values() if path.name != "__init__.py"]
    counts = Counter(path.parent.relative_to(ROOT).as_posix() for path in modules)
    assert not {folder: count for folder, count in counts.items() if count > 16}


def test_no_files_import_each_other_in_a_circle() -> None:
    def module(target: str) -> str:
        return target if target in FILES else target.rpartition(".")[0]

    eager = [i for i in IMPORTS if not i.nested and package(i.target) == "kdcompress"]
    needs = {name: {module(i.target) for i in eager if i.importer == name} - {name} for name in FILES}
    assert needs["kdcompress.cli.app"]
    assert list(TopologicalSorter(needs).static_order())  # names the circle that it finds


@pytest.mark.parametrize("name", ["FloatArray", "Progress", "StageProgress"])
def test_a_type_that_many_need_is_defined_once(name: str) -> None:
    definition = re.compile(rf"^{name}\b.*=(?!=)", re.MULTILINE)
    assert [module for module, path in FILES.items() if definition.search(path.read_text())] == [
        "kdcompress.aliases"
    ]
