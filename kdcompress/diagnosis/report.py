"""All checks, in the order of the page."""

from collections.abc import Iterator

from kdcompress.bench.machine import describe_machine
from kdcompress.diagnosis.check import Check
from kdcompress.diagnosis.hardware import check_hardware
from kdcompress.diagnosis.software import check_software
from kdcompress.diagnosis.storage import check_storage


def examine() -> Iterator[Check]:
    """Look at hardware, software and disks, in this order; each check is yielded when it is made."""
    machine = describe_machine(gpu=True)
    yield from check_hardware(machine)
    yield from check_software(bool(machine.gpu))
    yield from check_storage()
