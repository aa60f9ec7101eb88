"""What the figures were measured on, and how much memory this process takes there."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import psutil

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
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        flags=flags,
        int8_instructions=bool(_VNNI & set(flags)) if info["flags"] else None,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        governor=_read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")) or None,
        gpu=describe_gpus() if gpu else (),
        load_average=round(psutil.getloadavg()[0], 2),
        versions=_versions(),
        environment={name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ},
        physical_cores=psutil.cpu_count(logical=False),
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


def _max_mhz() -> float | None:
    try:
        found = psutil.cpu_freq()
    except (OSError, NotImplementedError, RuntimeError):
        return None
    return float(found.max) or None if found else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""


def describe_gpus() -> tuple[str, ...]:
    """Ask the driver for the GPUs: name, driver and memory of each."""
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


def rss_bytes() -> int:
    """Return the main memory that this process holds now."""
    return int(psutil.Process().memory_info().rss)


def peak_rss_bytes() -> int:
    """Return the most that this process has held since it was started."""
    # Where it is known, better than getrusage, whose maximum a process inherits from whoever started it.
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return int(psutil.Process().memory_info().peak_wset)  # type: ignore[attr-defined]  # Windows only
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def gpu_bytes() -> int | None:
    """Ask the driver how much memory of all GPUs this process holds."""
    command = ("nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return used_bytes(done.stdout, os.getpid())


def used_bytes(listing: str, process: int) -> int | None:
    """Add up the MiB of a process in lines of `pid, used`."""
    rows = [line.split(",") for line in listing.splitlines()]
    used = [row[1].strip() for row in rows if len(row) == 2 and row[0].strip() == str(process)]
    # In a container the driver may see other numbers of processes, or no sizes.
    known = [int(value) for value in used if value.isdecimal()]
    return sum(known) << 20 if known else None
