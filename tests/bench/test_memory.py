import subprocess
import sys

import numpy as np
import pytest

from kdcompress.bench.memory import _used, peak_rss_bytes, rss_bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def test_memory_that_is_taken_is_seen_and_the_peak_stays() -> None:
    before = rss_bytes()
    assert before is not None
    taken = np.ones(8_000_000)
    during, peak = rss_bytes(), peak_rss_bytes()
    assert during is not None
    assert peak is not None
    assert during - before > 0.8 * taken.nbytes
    slack = 4 << 20
    del taken
    after, still = rss_bytes(), peak_rss_bytes()
    assert after is not None
    assert after < during
    assert still is not None
    # The kernel adds up its counters of pages now and then only.
    assert still >= peak - slack >= during - 2 * slack


def test_a_process_does_not_inherit_the_peak_of_the_one_that_started_it() -> None:
    ballast = np.ones(20_000_000)
    code = "from kdcompress.bench.memory import peak_rss_bytes; print(peak_rss_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 0.75 * ballast.nbytes


def test_the_drivers_list_is_read_by_process() -> None:
    listing = "12, 300\n13, 1024\n12, 24\nnonsense\n"
    assert _used(listing, 12) == 324 << 20
    assert _used(listing, 14) is None
    assert _used("12, [N/A]\n", 12) is None
