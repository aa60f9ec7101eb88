"""What the figures were measured on."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import kdcompress
from kdcompress.cores import available_cores, cpu_quota
from kdcompress.report.measured import Machine

# What decides the speed of int8 and fp32 matrix products; the names of Linux.
_TELLING_FLAGS = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_int8",
    "amx_bf16",
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
_CPUS = Path("/sys/devices/system/cpu")


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
        physical_cores=_physical_cores(),
        max_mhz=_max_mhz(),
        # Linux on x86 says so among the flags; elsewhere their absence means nothing.
        virtual="hypervisor" in info["flags"].split() if "sse2" in info["flags"].split() else None,
        quota=cpu_quota(),
    )


def _cpu_info() -> dict[str, str]:
    found = {"name": platform.processor() or platform.machine(), "flags": ""}
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        if sys.platform == "darwin":
            found["name"] = _output("sysctl", "-n", "machdep.cpu.brand_string") or found["name"]
        return found
    # Arm's list of cores has no name; boards have one.
    found["name"] = _read(Path("/proc/device-tree/model")) or found["name"]
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
    return _read(_CPUS / "cpu0" / "cpufreq" / "scaling_governor") or None


def _max_mhz() -> float | None:
    kilohertz = _read(_CPUS / "cpu0" / "cpufreq" / "cpuinfo_max_freq")
    return int(kilohertz) / 1000 if kilohertz.isdecimal() else None


def _physical_cores() -> int | None:
    if sys.platform == "darwin":
        found = _output("sysctl", "-n", "hw.physicalcpu")
        return int(found) if found.isdecimal() else None
    siblings = {_read(path) for path in _CPUS.glob("cpu[0-9]*/topology/thread_siblings_list")}
    return len(siblings - {""}) or None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""


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
