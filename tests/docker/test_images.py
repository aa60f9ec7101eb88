"""The Dockerfile, the workflow and the scripts of .ci: what can be held without building an image."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kdcompress import __version__
from kdcompress.digests import file_sha256, sealed
from kdcompress.runtime.bundle_files import FILE_NAME

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
CHECK = (ROOT / ".ci" / "check").read_text(encoding="utf-8")


def python(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def stages() -> dict[str, str]:
    """Return the instructions of each stage of the Dockerfile by its name."""
    parts = re.split(r"^FROM \S+ AS (\S+)\n", DOCKERFILE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_dockerfile_keeps_to_what_every_builder_knows() -> None:
    assert "<<" not in DOCKERFILE
    assert "--link" not in DOCKERFILE
    assert re.search(r"^ARG BASE_IMAGE=python:3\.11-slim-bookworm$", DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize("file", ["Dockerfile", ".dockerignore", ".github/workflows/ci.yml", "Makefile"])
def test_no_index_is_named(file: str) -> None:
    assert "://" not in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("stage", ["runtime", "train"])
def test_an_image_for_people_has_what_they_expect(stage: str) -> None:
    text = stages()[stage]
    assert 'ENTRYPOINT ["kdcompress"]' in text
    assert "HEALTHCHECK" in text
    assert "sbom.cdx.json" in text
    assert 'org.opencontainers.image.version="${VERSION}"' in text
    assert text.index("USER 10001") < text.index("ENTRYPOINT")


def test_code_is_copied_after_everything_that_is_installed() -> None:
    for name, text in stages().items():
        if name.endswith("-dependencies"):
            copied = re.findall(r"^COPY (.*)$", text, re.MULTILINE)
            assert copied
            assert all(line.startswith("--from=requirements ") for line in copied), name


def test_what_is_copied_is_in_the_build_context() -> None:
    let_in = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert all((ROOT / name).exists() for name in let_in)
    for line in re.findall(r"^COPY ((?!--from).*)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert source == "." or source.partition("/")[0] in let_in, line


def test_the_version_has_one_place() -> None:
    done = subprocess.run([ROOT / ".ci" / "version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{__version__}\n"
    assert __version__ not in DOCKERFILE


def test_every_requirement_reaches_an_image(tmp_path: Path) -> None:
    assert python(ROOT / ".ci" / "requirements.py", ROOT / "pyproject.toml", tmp_path).returncode == 0
    lines = {path.stem: path.read_text().splitlines() for path in tmp_path.iterdir()}
    assert any(line.startswith("onnxruntime>") for line in lines["base"])
    assert [line.split(">")[0] for line in lines["torch"]] == ["torch", "torchaudio"]
    assert not any(line.startswith(("torch", "kdcompress")) for line in lines["train"] + lines["dev"])
    assert set(lines["test"]) < set(lines["dev"])
    written = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f'"{line}"' in written for group in lines.values() for line in group)
    installed = set(re.findall(r"-r /requirements/(\w+)\.txt", DOCKERFILE))
    assert installed == {"build", "base", "torch", "train", "dev"}


def test_workflow_and_ci_run_call_the_same_scripts() -> None:
    workflow = WORKFLOW.read_text(encoding="utf-8")
    asked = re.findall(r"^make ([\w-]+)$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    assert asked == ["install", "lint", "types", "test-all"]
    for name in asked[1:] if shutil.which("make") else ():  # make runs what an image runs
        quiet = ["make", "--no-print-directory", "-n", "-o", ".venv/.dev", name]  # a make may have begun this
        plan = subprocess.run(quiet, cwd=ROOT, capture_output=True, text=True)
        assert plan.stdout == f"BIN=.venv/bin .ci/check {name}\n", plan.stderr
    assert 'ENTRYPOINT [".ci/check"]' in stages()["test"]
    assert "kdcompress:test all" in workflow
    called = set(re.findall(r"\.ci/[\w-]+(?:\.py)?", workflow + CHECK + DOCKERFILE))
    assert all((ROOT / name).is_file() for name in called)
    jobs = yaml.safe_load(workflow)["jobs"]
    assert jobs["torch-free"]["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12", "3.13"]


@pytest.mark.slow
def test_the_bill_of_materials_lists_what_is_installed(tmp_path: Path) -> None:
    done = python(ROOT / "docker" / "sbom.py", tmp_path / "sbom.json")
    assert done.returncode == 0, done.stderr
    bill = json.loads((tmp_path / "sbom.json").read_text(encoding="utf-8"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["metadata"]["component"]["version"] == __version__
    listed = {part["bom-ref"]: part for part in bill["components"]}
    assert len(listed) == len(bill["components"])
    assert [ref for ref in listed if ref.startswith("pkg:pypi/onnxruntime@")]
    again = python(ROOT / "docker" / "sbom.py", tmp_path / "again.json")
    assert again.returncode == 0
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "sbom.json").read_bytes()


@pytest.mark.slow
def test_the_health_check_needs_no_bundle() -> None:
    done = python(ROOT / "docker" / "healthcheck.py", KDCOMPRESS_BUNDLE="")
    assert done.returncode == 0, done.stderr
    assert "frames of features" in done.stdout


@pytest.mark.slow
def test_the_health_check_hears_a_bundle_and_notices_a_wrong_one(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    assert python(ROOT / "docker" / "healthcheck.py", KDCOMPRESS_BUNDLE=str(bundle)).returncode == 0
    record = json.loads((bundle / "selftest.json").read_text(encoding="utf-8"))
    for expected in record["variants"].values():
        expected["mean_log_prob"] -= 1
    (bundle / "selftest.json").write_text(json.dumps(record), encoding="utf-8")
    listed = json.loads((bundle / FILE_NAME).read_text(encoding="utf-8"))
    listed["files"]["selftest.json"] = file_sha256(bundle / "selftest.json")
    del listed["digest"]
    (bundle / FILE_NAME).write_text(json.dumps(sealed(listed)), encoding="utf-8")
    wrong = python(ROOT / "docker" / "healthcheck.py", KDCOMPRESS_BUNDLE=str(bundle))
    assert wrong.returncode == 1
    assert "self-test" in wrong.stderr
    (bundle / FILE_NAME).unlink()
    assert python(ROOT / "docker" / "healthcheck.py", KDCOMPRESS_BUNDLE=str(bundle)).returncode == 1


@pytest.mark.slow
def test_the_images_are_built_and_used() -> None:
    if "KDCOMPRESS_PROVE_IMAGES" not in os.environ:
        pytest.skip("takes half an hour and ten gigabytes: set KDCOMPRESS_PROVE_IMAGES to a folder for them")
    folder = os.environ["KDCOMPRESS_PROVE_IMAGES"]
    done = subprocess.run([ROOT / "tests" / "docker" / "prove", folder], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
