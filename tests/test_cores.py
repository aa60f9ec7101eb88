import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdcompress import cores
from kdcompress.cores import (
    advise_here,
    advise_threads,
    allowed_cores,
    available_cores,
    busy_cores,
    core_siblings,
    cpu_quota,
)
from kdcompress.errors import KdcompressError


def v1(root: Path, group: str, quota: int, period: int = 100_000) -> None:
    folder = root / "sys/fs/cgroup" / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu.cfs_period_us").write_text(f"{period}\n")


def v2(root: Path, group: str, text: str) -> None:
    folder = root / "sys/fs/cgroup" / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(text + "\n")


def groups(root: Path, *lines: str) -> Path:
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in lines))
    return root


def test_a_container_of_version_2_sees_its_own_group_at_the_top(tmp_path: Path) -> None:
    v2(groups(tmp_path, "0::/"), ".", "150000 100000")
    assert cpu_quota(tmp_path) == 1.5
    assert available_cores(tmp_path) == 1


def test_the_path_may_be_the_hosts_while_the_group_is_mounted_at_the_top(tmp_path: Path) -> None:
    v1(groups(tmp_path, "3:cpu,cpuacct:/docker/abc", "2:memory:/docker/abc"), "cpu,cpuacct", 100_000)
    assert cpu_quota(tmp_path) == 1.0


def test_the_tightest_of_nested_groups_decides(tmp_path: Path) -> None:
    groups(tmp_path, "0::/kubepods.slice/pod1/box")
    v2(tmp_path, "kubepods.slice", "800000 100000")
    v2(tmp_path, "kubepods.slice/pod1", "50000 100000")
    v2(tmp_path, "kubepods.slice/pod1/box", "max 100000")
    v2(tmp_path, "kubepods.slice/other", "1000 100000")
    assert cpu_quota(tmp_path) == 0.5
    assert available_cores(tmp_path) == 1  # never none


def test_version_1_has_trees_by_controller(tmp_path: Path) -> None:
    groups(tmp_path, "11:cpuset:/a", "4:cpu:/a/b", "0::/")
    v1(tmp_path, "cpu/a", 250_000)
    v1(tmp_path, "cpu/a/b", -1)
    v1(tmp_path, "cpuset/a", 1_000)
    assert cpu_quota(tmp_path) == 2.5


def test_both_versions_may_be_mounted_side_by_side(tmp_path: Path) -> None:
    groups(tmp_path, "1:cpu:/", "0::/a")
    v1(tmp_path, "cpu", -1)
    v2(tmp_path, "unified/a", "300000 100000")
    assert cpu_quota(tmp_path) == 3.0


@pytest.mark.parametrize("text", ["max 100000", "", "nonsense", "100000", "100000 0", "-1 100000"])
def test_what_is_no_limit_is_none(tmp_path: Path, text: str) -> None:
    v2(groups(tmp_path, "0::/", "no line of a group"), ".", text)
    assert cpu_quota(tmp_path) is None
    assert available_cores(tmp_path) == len(allowed_cores())


def test_a_path_out_of_the_namespace_is_not_followed(tmp_path: Path) -> None:
    groups(tmp_path / "root", "0::/../../outside")
    v2(tmp_path / "root", ".", "200000 100000")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/cpu.max").write_text("1000 100000")
    assert cpu_quota(tmp_path / "root") == 2.0


def test_a_system_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None


def test_pinning_counts(tmp_path: Path) -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system pins nothing")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert available_cores(tmp_path) == 1
        v2(groups(tmp_path, "0::/"), ".", "900000 100000")
        assert available_cores(tmp_path) == 1  # a wide quota gives no more cores than there are
    finally:
        os.sched_setaffinity(0, before)


def test_siblings_share_a_physical_core(tmp_path: Path) -> None:
    for core, siblings in enumerate(("0,2", "1-1", "0,2")):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{core}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{siblings}\n")
    assert core_siblings(range(4), tmp_path) == {0: 0, 1: 1, 2: 0}


def test_a_busy_core_is_seen() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system pins nothing")
    core = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{core}}}); print('on', flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as neighbour:
        try:
            assert neighbour.stdout is not None
            neighbour.stdout.readline()
            assert busy_cores(0.5)[core] > 0.5
        finally:
            neighbour.kill()


def test_an_idle_machine_spins_on_all_physical_cores() -> None:
    advice = advise_threads(8, None, 4, 0.2)
    assert (advice.threads, advice.passive) == (4, False)
    assert advice.reason == "8 cores available, 4 of them physical"


def test_beside_busy_neighbours_threads_sleep_but_stay_as_many() -> None:
    # As many: the digits of a resumed run may not depend on who was busy that day.
    advice = advise_threads(2, None, 2, 1.3)
    assert (advice.threads, advice.passive) == (2, True)
    assert advice.reason == "2 cores available, others keep 1.3 of 2 busy"


def test_neighbours_on_other_cores_do_not_matter() -> None:
    advice = advise_threads(64, 2.5, 32, 40.0)
    assert (advice.threads, advice.passive) == (2, False)
    assert advice.reason == "2 cores available by a CPU quota of 2.5"
    assert advise_threads(64, 2.5, 32, 63.0).passive


def test_a_quota_beyond_the_cores_is_no_limit() -> None:
    assert advise_threads(2, 4.0, 2, 0.0).reason == "2 cores available"


def test_one_thread_has_nobody_to_wait_for() -> None:
    assert not advise_threads(1, 1.0, 1, 1.0).passive


def test_processes_share_the_cores() -> None:
    advice = advise_threads(8, None, 8, 0.0, processes=3)
    assert advice.threads == 2
    assert "3 processes" in advice.reason
    assert advise_threads(2, None, 2, 0.0, processes=3).threads == 1
    with pytest.raises(KdcompressError, match="positive"):
        advise_threads(2, None, 2, 0.0, processes=0)


def test_this_machine_is_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "busy_cores", lambda: dict.fromkeys(allowed_cores(), 1.0))
    advice = advise_here()
    assert 1 <= advice.threads <= available_cores()
    allowed = len(allowed_cores())
    assert f"others keep {allowed}.0 of {allowed} busy" in advice.reason
