"""What the figures were measured on."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import kdcompress
from kdcompress.runtime.session import available_cores

# What decides the speed of int8 and fp32 matrix products; the names of Linux.
_TELLING_FLAGS = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "amx_int8",
    "avx512_fp16",
    "asimddp",
    "i8mm",
    "sve",
)
_VNNI = {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp"}
_PACKAGES = (
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnx-asr",
    "sherpa-onnx",
    "soundfile",
    "soxr",
    "jiwer",
    "torch",
    "transformers",
)
# Each may put numpy's matrix products on more threads than the models were given.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Machine:
    """Facts about computer and software.

    Attributes:
        cpu: model name.
        cores: logical cores of the machine.
        usable_cores: those that this process may use.
        memory_gb: main memory [GB], None where unknown.
        flags: the CPU's instruction sets that matter here; empty where unknown.
        int8_instructions: whether dot products of bytes run in hardware (VNNI, AMX, dotprod); None where
            unknown. Without them int8 gains little.
        governor: the frequency governor, None where unknown.
        gpu: name and driver, one per device; asked for only when a GPU takes part.
        load_average: processes that wanted a core over the last minute, before anything was timed.
        versions: of Python, kdcompress and the packages that are installed.
        environment: variables that set thread numbers, where set.
    """

    cpu: str
    cores: int
    usable_cores: int
    memory_gb: float | None
    flags: tuple[str, ...]
    int8_instructions: bool | None
    system: str
    governor: str | None
    gpu: tuple[str, ...]
    load_average: float | None
    versions: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def describe_machine(gpu: bool = False) -> Machine:
    """Look at this machine; what cannot be found out is None or empty, never an error.

    Args:
        gpu: ask the driver for the GPUs too.
    """
    info = _cpu_info()
    flags = tuple(flag for flag in _TELLING_FLAGS if flag in info["flags"].split())
    return Machine(
        cpu=info["name"],
        cores=os.cpu_count() or 1,
        usable_cores=available_cores(),
        memory_gb=_memory_gb(),
        flags=flags,
        int8_instructions=bool(_VNNI & set(flags)) if info["flags"] else None,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        governor=_governor(),
        gpu=_gpus() if gpu else (),
        load_average=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        versions=_versions(),
        environment={name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ},
    )


def _cpu_info() -> dict[str, str]:
    found = {"name": platform.processor() or platform.machine(), "flags": ""}
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        if sys.platform == "darwin":
            found["name"] = _output("sysctl", "-n", "machdep.cpu.brand_string") or found["name"]
        return found
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            found["name"] = value.strip()
        elif key.strip() in {"flags", "Features"}:
            found["flags"] = value.strip()
    return found


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _governor() -> str | None:
    try:
        return Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        return None


def _gpus() -> tuple[str, ...]:
    text = _output("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "kdcompress": kdcompress.__version__}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
