import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from kdcompress.diagnosis import software
from kdcompress.diagnosis.check import Check
from kdcompress.diagnosis.software import check_software


def told(monkeypatch: pytest.MonkeyPatch, **answer: object) -> None:
    monkeypatch.setattr(software, "ask_python", lambda code: answer)


def install(folder: Path, name: str, version: str, top_level: str) -> None:
    """Lay out what pip leaves behind of a package."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "top_level.txt").write_text(f"{top_level}\n")


@pytest.mark.slow
def test_this_installation_is_whole() -> None:
    checks = {check.topic: check for check in check_software(gpu=False)}
    assert not [check for check in checks.values() if check.state == "bad"]
    assert {"python", "kdcompress", "text", "onnxruntime", "torch"} <= set(checks)
    assert "CPU" in checks["onnxruntime"].found
    assert metadata.version("torch").partition("+")[0] in checks["torch"].found


def test_two_packages_of_onnxruntime_clash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "onnxruntime-gpu", "1.22.0", "onnxruntime")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    check = software._onnxruntime(gpu=True)
    assert check.state == "bad"
    assert check.found.startswith("onnxruntime and onnxruntime-gpu are both installed")
    assert check.advice == "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"


@pytest.mark.parametrize(
    ("providers", "used", "gpu", "state", "words"),
    [
        (["CPU"], {"CPU": "CPU"}, False, "ok", "providers CPU"),
        (["CPU"], {"CPU": "CPU"}, True, "warn", "on the CPU only"),
        (["CUDA", "CPU"], {"CPU": "CPU", "CUDA": "CPU"}, True, "warn", "CUDA cannot be loaded"),
        (["CUDA", "CPU"], {"CPU": "CPU", "CUDA": "CUDA"}, True, "ok", "providers CUDA, CPU"),
    ],
)
def test_providers_are_judged_by_what_was_really_used(
    monkeypatch: pytest.MonkeyPatch,
    providers: list[str],
    used: dict[str, str],
    gpu: bool,
    state: str,
    words: str,
) -> None:
    name = "{}ExecutionProvider".format
    told(
        monkeypatch,
        version="1.20",
        providers=[name(p) for p in providers],
        used={name(key): name(value) for key, value in used.items()},
    )
    check = software._onnxruntime(gpu)
    assert check.state == state
    assert words in check.found


def test_a_library_that_cannot_run_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, failed="ImportError: libcudart.so.12: cannot open shared object file")
    assert software._onnxruntime(gpu=False).state == software._torch(gpu=False).state == "bad"
    assert "libcudart" in software._torch(gpu=False).found


def test_a_gpu_that_torch_does_not_see_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, version="2.13.0+cpu", cuda=None, available=False, devices=[], bf16=False)
    assert software._torch(gpu=False).state == "ok"
    check = software._torch(gpu=True)
    assert (check.state, "install the CUDA build" in check.advice) == ("warn", True)
    told(monkeypatch, version="2.13.0", cuda="12.8", available=False, devices=[], bf16=False)
    assert software._torch(gpu=True).advice == "update the driver"
    told(monkeypatch, version="2.13.0", cuda="12.8", available=True, devices=["H1", "H1"], bf16=True)
    assert software._torch(gpu=True) == Check("torch", "ok", "2.13.0, CUDA 12.8, 2 × H1, bf16")


def test_no_torch_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    check = software._torch(gpu=False)
    assert (check.state, "pip install 'kdcompress[train]'" in check.advice) == ("ok", True)


def test_what_is_required_is_compared_with_what_is_there() -> None:
    assert software._unmet(Requirement("numpy>=1.0")) == ""
    assert software._unmet(Requirement("numpy<1.0")) == f"numpy {metadata.version('numpy')} is not <1.0"
    assert software._unmet(Requirement("surely-no-such-package>=1")) == "surely-no-such-package is missing"


def test_extras_are_those_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = [
        "numpy>=1",
        "numpy>=1 ; extra == 'lm'",
        "gone-one ; extra == 'train'",
        "numpy>=1 ; extra == 'train'",
        "gone-two ; extra == 'runtimes'",
        "gone-three ; python_version < '3' and extra == 'lm'",
    ]
    monkeypatch.setattr(metadata, "requires", lambda name: needs)
    checks = {check.topic: check for check in software._extras()}
    assert (checks["extra lm"].state, checks["extra lm"].found[:9]) == ("ok", "installed")
    assert checks["extra train"] == Check(
        "extra train", "warn", "incomplete: gone-one is missing", "pip install 'kdcompress[train]'"
    )
    assert (checks["extra runtimes"].state, checks["extra runtimes"].found[:13]) == ("ok", "not installed")
    assert [str(r) for r in software._requirements(None)] == ["numpy>=1"]


def test_the_extras_of_the_project_have_a_purpose() -> None:
    there = metadata.metadata("kdcompress").get_all("Provides-Extra") or []
    assert {*there} - {"dev"} <= set(software._PURPOSES)


@pytest.mark.slow
def test_the_programs_print_what_is_read() -> None:
    for code in (software._RUNTIME, software._TORCH):
        assert software.ask_python(code).get("version"), code
