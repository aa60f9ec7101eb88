from collections.abc import Iterator
from typing import Any

import pytest

from kdcompress.bench.machine import describe_machine
from kdcompress.cores import advise_threads
from kdcompress.diagnosis import hardware
from kdcompress.diagnosis.check import Check
from kdcompress.diagnosis.hardware import check_hardware


def found(**machine: Any) -> dict[str, Check]:
    return {check.topic: check for check in check_hardware(describe_machine().model_copy(update=machine))}


def test_this_machine_is_looked_at() -> None:
    checks = found(cpu="Abacus 3000", cores=7, physical_cores=None, gpu=("H1, 5 GB", "H2"))
    assert {"system", "cpu", "granted", "threads", "int8", "memory", "gpu"} == set(checks)
    assert checks["cpu"].found == "Abacus 3000, 7 cores"
    assert checks["gpu"].found == "H1, 5 GB; H2"
    assert not [check for check in checks.values() if check.state == "bad"]


def test_a_cpu_without_products_of_bytes_is_told_what_to_quantize_for() -> None:
    check = found(flags=("avx2",), int8_instructions=False)["int8"]
    assert (check.state, "cpu-avx2" in check.advice) == ("warn", True)
    check = found(flags=("avx2", "avx512f", "avx512_vnni"), int8_instructions=True)["int8"]
    assert (check.state, check.found) == ("ok", "avx512f; products of bytes by avx512_vnni")
    assert found(flags=(), int8_instructions=None)["int8"].state == "ok"


def cores(allowed: int, quota: float | None, others: float) -> Iterator[Check]:
    return hardware._cores(8, allowed, quota, advise_threads(allowed, quota, allowed, others))


def test_a_quota_below_one_core_and_neighbours_are_warned_of() -> None:
    granted, threads = cores(8, 0.5, 0.0)
    assert (granted.state, granted.found) == ("warn", "8 of 8 cores, a CPU quota of 0.5")
    assert threads.state == "ok"
    granted, threads = cores(4, None, 3.0)
    assert (granted.state, granted.found) == ("ok", "4 of 8 cores")
    assert (threads.state, "PASSIVE" in threads.found) == ("warn", True)
    assert "others keep 3.0 of 4 busy" in threads.found


def test_little_memory_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_LITTLE_MEMORY", 1e6)
    check = found()["memory"]
    assert (check.state, "cache" in check.advice) == ("warn", True)
