import os

import pytest

from kdcompress.bench.affinity import choose, read_cores
from kdcompress.errors import ConfigError

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins nothing")


def test_idle_cores_come_first_and_physical_ones_before_halves() -> None:
    halves = {0: 0, 4: 0, 1: 1, 5: 1}
    busy = {0: 0.9, 1: 0.1, 4: 0.2, 5: 0.3}
    assert choose(1, [0, 1, 4, 5], busy, halves) == (1,)
    assert choose(2, [0, 1, 4, 5], busy, halves) == (1, 4)
    assert choose(3, [0, 1, 4, 5], busy, halves) == (1, 4, 5)
    assert choose(2, [0, 1, 4, 5], {}, {}) == (0, 1)


def test_what_may_be_said() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    assert read_cores("none", 1) is None
    assert read_cores(str(allowed[0]), 1) == (allowed[0],)
    assert read_cores("auto", len(allowed)) == tuple(allowed)
    chosen = read_cores("auto", 1)
    assert chosen is not None
    assert set(chosen) < {*allowed, -1}
    assert len(chosen) == 1
    for text in ("some", "1,", "-1", ""):
        with pytest.raises(ConfigError, match="--pin takes auto, none or cores"):
            read_cores(text, 1)
    with pytest.raises(ConfigError, match="this process may use the cores"):
        read_cores("100000", 1)
