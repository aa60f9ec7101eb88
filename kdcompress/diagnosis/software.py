"""Python, the packages, onnxruntime and torch: each is imported in a process of its own."""

import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

import kdcompress
from kdcompress.diagnosis.check import Check, ask_python
from kdcompress.errors import KdcompressError
from kdcompress.resources import recipe_files

# What each extra is for, and what is said of it where it is not installed.
_PURPOSES = {
    "train": "distill, cache, inspect, compare and export",
    "lm": "beam search with a language model or hotwords",
    "av": "m4a, mp4, webm and other containers",
    "microphone": "transcribe --live --microphone",
    "datasets": "data sets of Hugging Face (Parquet, Arrow)",
    "runtimes": "bench --runtime and export --verify",
}
_RUNTIME = """
import json, onnx, onnxruntime
from onnx import TensorProto, helper
x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 2]) for n in "xy")
graph = helper.make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], "g", [x], [y])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
there = onnxruntime.get_available_providers()
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
found = {"version": onnxruntime.__version__, "providers": there, "used": {}}
for provider in ("CPUExecutionProvider", "CUDAExecutionProvider"):
    if provider in there:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[provider])
        session.run(None, {"x": [[1.0, 2.0], [3.0, 4.0]]})
        found["used"][provider] = session.get_providers()[0]
print(json.dumps(found))
"""
_TORCH = """
import json, torch
cuda = torch.cuda.is_available()
torch.ones(8, 8) @ torch.ones(8, 8)
print(json.dumps({
    "version": torch.__version__, "cuda": torch.version.cuda, "available": cuda,
    "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
    "bf16": cuda and torch.cuda.is_bf16_supported(),
}))
"""


def check_software(gpu: bool) -> Iterator[Check]:
    """Look at the installation; imports torch and onnxruntime, which takes seconds.

    Args:
        gpu: whether the machine has one.
    """
    yield Check("python", "ok", f"{platform.python_version()} ({platform.python_implementation()})")
    yield _kdcompress()
    yield _encoding()
    yield from _extras()
    yield _onnxruntime(gpu)
    yield _torch(gpu)


def _kdcompress() -> Check:
    found = kdcompress.__version__
    again = "pip install --force-reinstall kdcompress"
    try:
        count = len(recipe_files())
    except KdcompressError as error:
        return Check("kdcompress", "bad", f"{found}: {error}", again)
    try:
        wrong = [line for line in map(_unmet, _requirements(None)) if line]
    except metadata.PackageNotFoundError:
        return Check(
            "kdcompress", "warn", f"{found}, not installed but found on the path", "pip install -e . there"
        )
    if wrong:
        return Check("kdcompress", "bad", f"{found}: {', '.join(wrong)}", again)
    return Check("kdcompress", "ok", f"{found}, {count} recipes, all that it needs is installed")


def _encoding() -> Check:
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    if encoding == "utf8":
        return Check("text", "ok", "UTF-8")
    return Check("text", "warn", f"standard output is {encoding or 'unknown'}", "set PYTHONUTF8=1")


def _extras() -> Iterator[Check]:
    try:
        there = metadata.metadata("kdcompress").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return
    for extra in (name for name in _PURPOSES if name in there):
        needed = _requirements(extra)
        wrong = [line for line in map(_unmet, needed) if line]
        topic, purpose, install = f"extra {extra}", _PURPOSES[extra], f"pip install 'kdcompress[{extra}]'"
        if not wrong:
            yield Check(topic, "ok", f"installed: {purpose}")
        elif len(wrong) == len(needed):
            yield Check(topic, "ok", f"not installed: {purpose}", install)
        else:
            yield Check(topic, "warn", f"incomplete: {', '.join(wrong)}", install)


def _requirements(extra: str | None) -> list[Requirement]:
    """Return what the package, or one of its extras, needs on this platform."""
    found = []
    for line in metadata.requires("kdcompress") or []:
        requirement = Requirement(line)
        marker = requirement.marker
        without = marker is None or marker.evaluate({"extra": ""})
        if (
            without
            if extra is None
            else not without and marker is not None and marker.evaluate({"extra": extra})
        ):
            found.append(requirement)
    return found


def _unmet(requirement: Requirement) -> str:
    """Return what is wrong with a requirement here; empty if nothing."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    # Builds as +cpu and pre-releases are what somebody chose.
    if requirement.specifier.contains(version, prereleases=True):
        return ""
    return f"{requirement.name} {version} is not {requirement.specifier}"


def _onnxruntime(gpu: bool) -> Check:
    owners = sorted(set(metadata.packages_distributions().get("onnxruntime", [])))
    if len(owners) > 1:
        wanted = next((name for name in owners if name != "onnxruntime"), "onnxruntime")
        return Check(
            "onnxruntime",
            "bad",
            f"{' and '.join(owners)} are both installed and overwrite each other's files",
            f"pip uninstall -y {' '.join(owners)} && pip install {wanted}",
        )
    told = ask_python(_RUNTIME)
    if "failed" in told:
        return Check(
            "onnxruntime", "bad", f"cannot run: {told['failed']}", "pip install --force-reinstall onnxruntime"
        )
    names = [name.removesuffix("ExecutionProvider") for name in told["providers"]]
    found = f"{told['version']}, providers {', '.join(names)}"
    cuda = told["used"].get("CUDAExecutionProvider")
    if cuda not in (None, "CUDAExecutionProvider"):
        return Check(
            "onnxruntime",
            "warn",
            f"{found}, but CUDA cannot be loaded",
            "install the CUDA and cuDNN libraries of its release, or use --provider cpu",
        )
    if gpu and cuda is None:
        return Check(
            "onnxruntime",
            "warn",
            f"{found}: bundles run on the CPU only",
            "pip uninstall onnxruntime && pip install onnxruntime-gpu",
        )
    return Check("onnxruntime", "ok", found)


def _torch(gpu: bool) -> Check:
    try:
        metadata.version("torch")
    except metadata.PackageNotFoundError:
        return Check(
            "torch",
            "ok",
            "not installed: transcribe and bench do without",
            "pip install 'kdcompress[train]' to train and export",
        )
    told = ask_python(_TORCH)
    if "failed" in told:
        return Check("torch", "bad", f"cannot run: {told['failed']}", "pip install --force-reinstall torch")
    build = f"{told['version']}, {'CUDA ' + told['cuda'] if told['cuda'] else 'CPU build'}"
    if told["available"]:
        precision = "bf16" if told["bf16"] else "fp32: no bf16 here"
        return Check("torch", "ok", f"{build}, {len(told['devices'])} × {told['devices'][0]}, {precision}")
    if gpu:
        advice = "update the driver" if told["cuda"] else "install the CUDA build: see pytorch.org"
        return Check("torch", "warn", f"{build}: sees no GPU, though there is one", advice)
    return Check("torch", "ok", build)
