"""The wheel: what is in it, what it asks for, and that it works away from the checkout and without torch."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from kdcompress import __version__
from kdcompress.resources import recipe_files, recipe_name

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
TORCH_HALF = ("torch", "torchaudio", "transformers", "accelerate", "lhotse", "safetensors", "onnxscript")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return Path(next(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds what pip would put into site-packages."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def metadata(installed: Path) -> Message:
    return Parser().parsestr(next(installed.glob("*.dist-info/METADATA")).read_text(encoding="utf-8"))


def without_torch(installed: Path, code: str, where: Path) -> "subprocess.CompletedProcess[str]":
    """Run code on the installed copy, in another folder, where the torch half cannot be imported."""
    blocked = f"import sys\nsys.modules.update(dict.fromkeys({TORCH_HALF}))\n"
    return subprocess.run(
        [sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", "-c", blocked + code],
        cwd=where,
        env=os.environ | {"PYTHONPATH": str(installed)},
        text=True,
        capture_output=True,
        timeout=120,
    )


def test_version_and_licence_are_those_of_the_source(metadata: Message) -> None:
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"


def test_base_install_asks_for_nothing_of_the_torch_half(metadata: Message) -> None:
    base = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert any(line.startswith("onnxruntime") for line in base)
    assert not [line for line in base if line.startswith(TORCH_HALF)]


def imported(*rooms: str) -> set[str]:
    """Return the packages that modules of these rooms import, anywhere in them, by the name on the index."""
    files = [path for room in rooms for path in (ROOT / "kdcompress").glob(f"{room}/**/*.py")]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    packages = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"kdcompress"}
    known = {"yaml": "pyyaml", "flashlight": "flashlight-text", "pydantic_core": "pydantic"}  # pinned by it
    return {known.get(name, name).replace("_", "-") for name in packages}


def required(metadata: Message, *extras: str) -> set[str]:
    lines = metadata.get_all("Requires-Dist", [])
    chosen = [x for x in lines if "extra ==" not in x or any(f"extra == '{e}'" in x for e in extras)]
    return {re.split(r"[^\w-]", line.lower().replace("_", "-"), maxsplit=1)[0] for line in chosen}


def test_what_is_imported_is_asked_for(metadata: Message) -> None:
    base = required(metadata)
    assert imported(
        "config", "audio", "text", "runtime", "quantize", "bench", "report", "cli"
    ) <= base | required(metadata, "av", "datasets", "lm", "microphone", "runtimes")
    assert imported(".") <= base | required(
        metadata, "av", "datasets", "train", "lm", "microphone", "runtimes"
    )


def test_what_is_asked_for_is_imported(metadata: Message) -> None:
    # lhotse and torch.onnx import these without declaring them; torchaudio_import.py goes through importlib.
    on_behalf_of_others = {"urllib3", "onnxscript", "torchaudio"}
    assert required(metadata, "train") - on_behalf_of_others <= imported(".")


def test_every_requirement_has_both_bounds(metadata: Message) -> None:
    requirements = [line.partition(";")[0] for line in metadata.get_all("Requires-Dist", [])]
    outside = [line for line in requirements if not line.startswith(("kdcompress", "hatchling"))]
    assert not [line for line in outside if not (">=" in line and "<" in line)]


def test_wheel_holds_the_package_the_recipes_and_the_demo_but_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"kdcompress", f"kdcompress-{__version__}.dist-info"}
    assert "kdcompress/py.typed" in names
    shipped = {name.removeprefix("kdcompress/_resources/") for name in names if "/_resources/" in name}
    recipes = {path.relative_to(ROOT).as_posix() for path in recipe_files()}
    assert recipes | {"recipes/README.md", "recipes/demo/test.jsonl"} <= shipped
    lines = (ROOT / "recipes" / "demo" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    assert {f"recipes/demo/{json.loads(line)['audio_filepath']}" for line in lines} <= shipped
    assert {f"export/profiles/{name}.yaml" for name in ("portable", "waveform", "kaldi")} <= shipped
    consumers = ROOT / "export" / "consumers"
    programs = {*consumers.glob("*.py"), *consumers.glob("cpp/*"), *consumers.glob("web/*.*")}
    assert {f"export/consumers/{path.relative_to(consumers)}" for path in programs} <= shipped
    assert {"export/consumers/web/index.html", "export/consumers/cpp/transcribe.cpp"} <= shipped
    # What npm puts beside the page is a hundred times as large as the page.
    assert not [name for name in shipped if "node_modules" in name]


def test_wheel_is_small_enough_to_install_everywhere(wheel: Path) -> None:
    assert wheel.stat().st_size < 20e6


def test_installed_command_finds_its_recipes_from_another_folder(installed: Path, tmp_path: Path) -> None:
    code = "sys.argv = ['kdcompress', 'recipes', 'list']\nfrom kdcompress.cli.start import main\nmain()"
    done = without_torch(installed, code, tmp_path)
    assert done.stderr == ""
    assert [line.split()[0] for line in done.stdout.splitlines()] == [recipe_name(p) for p in recipe_files()]


def test_installed_profiles_are_found_and_read(installed: Path, tmp_path: Path) -> None:
    code = (
        "from kdcompress.config.profile import read_profile\n"
        "from kdcompress.resources import consumer_path, profile_files, profile_path\n"
        "import kdcompress.verify.verify  # a bundle is verified where there is no torch\n"
        "for name in profile_files():\n"
        "    consumers = read_profile(profile_path(name)).consumers\n"
        "    print(name, *(consumer_path(consumer.program).is_file() for consumer in consumers))\n"
    )
    done = without_torch(installed, code, tmp_path)
    assert done.stderr == ""
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "kaldi",
        "portable",
        "streaming",
        "telephone",
        "waveform",
    ]
    assert "False" not in done.stdout


def test_the_torch_free_half_imports_without_torch(installed: Path, tmp_path: Path) -> None:
    code = (
        "import importlib, pkgutil\n"
        "for room in 'config audio text runtime quantize bench report cli'.split():\n"
        "    package = importlib.import_module(f'kdcompress.{room}')\n"
        "    for module in pkgutil.iter_modules(package.__path__):\n"
        "        print(importlib.import_module(f'kdcompress.{room}.{module.name}').__file__)\n"
    )
    done = without_torch(installed, code, tmp_path)
    assert done.returncode == 0, done.stderr
    files = done.stdout.splitlines()
    assert len(files) > 20
    assert all(file.startswith(str(installed)) for file in files)


def test_an_installed_copy_renders_a_report_without_torch(installed: Path, tmp_path: Path) -> None:
    report = {
        "kind": "kdcompress-bench",
        "schema": 2,
        "settings": {"normalizer": "basic", "reference": "model"},
        "results": [{"name": "model", "hypotheses": {"u": "b"}}],
        "utterances": [{"id": "u", "duration": 1, "reference": "a"}],
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    code = (
        "sys.argv = 'kdcompress bench --report report.json --html page.html --markdown page.md'.split()\n"
        "from kdcompress.cli.start import main\nmain()"
    )
    done = without_torch(installed, code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for name in ("style.css", "page.js"):
        assert (installed / "kdcompress" / "report" / "pages" / "html" / name).read_text(
            encoding="utf-8"
        ) in page
    assert "**b** ~~a~~" in (tmp_path / "page.md").read_text(encoding="utf-8")


def test_a_bundle_is_verified_without_torch(installed: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    code = (
        f"sys.argv = ['kdcompress', 'export', {str(bundle)!r}, '--verify']\n"
        "from kdcompress.cli.start import main\nmain()"
    )
    done = without_torch(installed, code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "selftest" in done.stdout


def test_a_command_that_trains_names_the_extra(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    code = (
        "sys.argv = 'kdcompress distill --teacher some/teacher --audio a --out run'.split()\n"
        "from kdcompress.cli.start import main\nmain()"
    )
    done = without_torch(installed, code, tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install 'kdcompress[train]'" in done.stderr
