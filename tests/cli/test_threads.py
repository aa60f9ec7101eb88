import os
import subprocess
import sys

import pytest

from kdcompress import cores
from kdcompress.cli.threads import choose_threads
from kdcompress.cores import allowed_cores

HERE = len(allowed_cores())


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Pretend that torch is not imported yet, that nothing is set, and that each core is busy."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "LOCAL_WORLD_SIZE", "RANK"):
        monkeypatch.setenv(name, "")  # restored afterwards, whatever is set meanwhile
        monkeypatch.delenv(name)
    monkeypatch.setattr(cores, "busy_cores", lambda: dict.fromkeys(allowed_cores(), 1.0))
    monkeypatch.setattr(cores, "cpu_quota", lambda: None)
    monkeypatch.setattr(cores, "core_siblings", lambda allowed: {})
    return monkeypatch


@pytest.mark.skipif(HERE < 2, reason="one core only: nobody waits")
def test_beside_neighbours_threads_sleep(
    fresh: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    choose_threads()
    assert (os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"]) == (str(HERE), "PASSIVE")
    assert capsys.readouterr().err == (
        f"{HERE} threads, asleep while they wait (OMP_WAIT_POLICY=PASSIVE): {HERE} cores available, "
        f"others keep {HERE}.0 of {HERE} busy\n"
    )


def test_alone_nothing_is_said_of_waiting(
    fresh: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh.setattr(cores, "busy_cores", dict)
    choose_threads()
    assert os.environ["OMP_NUM_THREADS"] == str(HERE)
    assert "OMP_WAIT_POLICY" not in os.environ
    assert capsys.readouterr().err.endswith("available\n")


def test_what_the_user_set_stays(fresh: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fresh.setenv("OMP_NUM_THREADS", "3")
    choose_threads()
    assert (os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"]) == ("3", "PASSIVE")
    assert "3 threads as OMP_NUM_THREADS says, asleep" in capsys.readouterr().err

    fresh.delenv("OMP_NUM_THREADS")
    fresh.setenv("OMP_WAIT_POLICY", "ACTIVE")
    choose_threads()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    assert "asleep" not in capsys.readouterr().err


@pytest.mark.parametrize("threads", ["1", "1,2"])
def test_one_thread_is_nothing_to_talk_about(
    fresh: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], threads: str
) -> None:
    fresh.setenv("OMP_NUM_THREADS", threads)
    choose_threads()
    assert "OMP_WAIT_POLICY" not in os.environ
    assert capsys.readouterr().err == ""


def test_processes_of_one_job_share_the_cores_and_one_of_them_speaks(
    fresh: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh.setenv("LOCAL_WORLD_SIZE", str(HERE))
    fresh.setenv("RANK", "1")
    choose_threads()
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_torch_takes_what_was_chosen() -> None:
    code = (
        "from kdcompress import cores\ncores.cpu_quota = lambda: 1.9\n"
        "from kdcompress.cli.threads import choose_threads\nchoose_threads()\n"
        "import torch\nprint(torch.get_num_threads())\n"
    )
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "MKL_"))}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert done.stderr.startswith("1 thread: 1 core available")


def test_where_torch_is_loaded_it_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", sys)
    monkeypatch.setattr(cores, "busy_cores", lambda: pytest.fail("nobody asks"))
    choose_threads()
