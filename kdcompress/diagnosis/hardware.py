"""Cores, who else uses them, instructions, memory, GPU."""

from collections.abc import Iterator

import psutil

from kdcompress.cores import ThreadAdvice, advise_here, allowed_cores, available_cores, cpu_quota
from kdcompress.diagnosis.check import Check
from kdcompress.report.measured import Machine

_LITTLE_MEMORY = 2.0  # [GB] a teacher of 300 M parameters takes 1.3, and its activations as much
_WIDE = ("avx512f", "avx2", "sve", "asimddp")
_BYTES = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")


def check_hardware(machine: Machine) -> Iterator[Check]:
    """Look at the machine; takes as long as watching its cores does."""
    yield Check("system", "ok", machine.system + (", virtual" if machine.virtual else ""))
    physical = f" ({machine.physical_cores} physical)" if machine.physical_cores else ""
    yield Check("cpu", "ok", f"{machine.cpu}, {machine.cores} cores{physical}")
    yield from _cores(machine.cores, len(allowed_cores()), cpu_quota(), advise_here())
    yield _instructions(machine)
    yield _memory()
    yield Check("gpu", "ok", "; ".join(machine.gpu) or "none that nvidia-smi knows")


def _cores(there: int, allowed: int, quota: float | None, advice: ThreadAdvice) -> Iterator[Check]:
    granted = [f"{allowed} of {there} cores"]
    if quota is not None:
        granted.append(f"a CPU quota of {quota:g}")
    if quota is not None and quota < 1:
        yield Check(
            "granted",
            "warn",
            ", ".join(granted),
            "less than one core: start the container with --cpus 1 or more",
        )
    else:
        yield Check("granted", "ok", ", ".join(granted))
    waits = "OMP_WAIT_POLICY=PASSIVE" if advice.passive else "the default wait policy"
    use = f"training {advice.threads} with {waits}, transcription {available_cores()}"
    if advice.crowded:
        yield Check(
            "threads",
            "warn",
            f"{use}: {advice.reason}",
            "wait with bench until nobody else computes, or its times will be theirs too",
        )
    else:
        yield Check("threads", "ok", f"{use}: {advice.reason}")


def _instructions(machine: Machine) -> Check:
    if machine.int8_instructions is None:
        return Check("int8", "ok", "this system does not say what its CPU can", "ask kdcompress bench")
    wide = next((flag for flag in _WIDE if flag in machine.flags), "no wide vectors")
    narrow = [flag for flag in _BYTES if flag in machine.flags]
    if not machine.int8_instructions:
        return Check(
            "int8",
            "warn",
            f"{wide}, no products of bytes in hardware (VNNI, AMX, dotprod)",
            "int8 gains little speed: kdcompress export --quantize cpu-avx2",
        )
    return Check("int8", "ok", f"{wide}; products of bytes by {', '.join(narrow)}")


def _memory() -> Check:
    memory = psutil.virtual_memory()
    found = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free"
    if memory.available < _LITTLE_MEMORY * 1e9:
        return Check(
            "memory", "warn", found, "kdcompress cache, then distill --cache: no teacher beside the student"
        )
    return Check("memory", "ok", found)
