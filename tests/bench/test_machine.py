import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from kdcompress.bench import machine
from kdcompress.bench.machine import describe_machine


def test_the_machine_is_described_as_plain_data() -> None:
    found = describe_machine(gpu=True)
    assert found.cpu
    assert 1 <= found.usable_cores <= found.cores
    assert {"python", "kdcompress", "numpy"} <= set(found.versions)
    assert found.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert json.loads(json.dumps(asdict(found)))["cpu"] == found.cpu


def test_what_the_system_says_about_the_cpu_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for core, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        topology = tmp_path / f"cpu{core}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{siblings}\n")
    (tmp_path / "cpu0" / "cpufreq").mkdir()
    (tmp_path / "cpu0" / "cpufreq" / "scaling_governor").write_text("powersave\n")
    (tmp_path / "cpu0" / "cpufreq" / "cpuinfo_max_freq").write_text("3500000\n")
    monkeypatch.setattr(machine, "_CPUS", tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    found = describe_machine()
    assert (found.governor, found.max_mhz, found.physical_cores) == ("powersave", 3500.0, 2)


def test_what_the_system_does_not_say_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_CPUS", tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    found = describe_machine()
    assert (found.governor, found.max_mhz, found.physical_cores) == (None, None, None)
