import json
import sys
from dataclasses import asdict

from kdcompress.bench.machine import describe_machine


def test_the_machine_is_described_as_plain_data() -> None:
    machine = describe_machine(gpu=True)
    assert machine.cpu
    assert 1 <= machine.usable_cores <= machine.cores
    assert {"python", "kdcompress", "numpy"} <= set(machine.versions)
    assert machine.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert json.loads(json.dumps(asdict(machine)))["cpu"] == machine.cpu
