import json
import os
import subprocess
import sys

import numpy as np
import pytest

from kdcompress.bench.machine import describe_gpus, describe_machine, peak_rss_bytes, rss_bytes, used_bytes


def test_the_machine_is_described_as_plain_data() -> None:
    found = describe_machine()
    assert found.cpu
    assert found.cores is not None
    assert 1 <= found.usable_cores <= found.cores
    assert found.physical_cores is None or 1 <= found.physical_cores <= found.cores
    assert found.memory_gb is not None
    assert {"python", "kdcompress", "numpy"} <= set(found.versions)
    assert found.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert json.loads(found.model_dump_json())["cpu"] == found.cpu


def test_thread_variables_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert describe_machine().environment["OMP_NUM_THREADS"] == "3"


def test_without_a_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PATH", "")
    assert describe_gpus() == ()


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


@LINUX
def test_memory_that_is_taken_is_seen_and_the_peak_stays() -> None:
    before = rss_bytes()
    taken = np.ones(8_000_000)
    during, peak = rss_bytes(), peak_rss_bytes()
    assert during - before > 0.8 * taken.nbytes
    slack = 4 << 20
    del taken
    after, still = rss_bytes(), peak_rss_bytes()
    assert after < during
    # The kernel adds up its counters of pages now and then only.
    assert still >= peak - slack >= during - 2 * slack


@LINUX
def test_a_process_does_not_inherit_the_peak_of_the_one_that_started_it() -> None:
    ballast = np.ones(20_000_000)
    code = "from kdcompress.bench.machine import peak_rss_bytes; print(peak_rss_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 0.75 * ballast.nbytes


def test_the_drivers_list_is_read_by_process() -> None:
    listing = "12, 300\n13, 1024\n12, 24\nnonsense\n"
    assert used_bytes(listing, 12) == 324 << 20
    assert used_bytes(listing, 14) is None
    assert used_bytes("12, [N/A]\n", 12) is None
