"""What a report was measured on and how, as named facts: Markdown and HTML write the same ones."""

from collections.abc import Iterable
from typing import TypeAlias

from kdcompress.report.measured import Machine
from kdcompress.report.pages.figures import count, duration, plural, short, significant
from kdcompress.report.record import SCHEMA, Report

Fact: TypeAlias = tuple[str, str]

_INT8 = {True: "yes", False: "no: int8 gains little here", None: "unknown"}
_VIRTUAL = {True: "yes: neighbours may slow it down", False: "no", None: ""}


def machine_facts(report: Report) -> list[Fact]:
    """Return what is known about the computer."""
    machine = report.machine
    if machine is None:
        return []
    facts = [
        ("CPU", machine.cpu),
        ("cores", _cores(machine)),
        ("clock", f"up to {significant(machine.max_mhz / 1000)} GHz" if machine.max_mhz else ""),
        ("int8 in hardware (VNNI, AMX, dot product)", _INT8[machine.int8_instructions]),
        ("instruction sets", _joined(machine.flags) or "unknown"),
        ("frequency governor", machine.governor or "not to be seen from here"),
        ("virtual machine", _VIRTUAL[machine.virtual]),
        ("memory", f"{short(machine.memory_gb)} GB" if machine.memory_gb else ""),
        ("GPU", "; ".join(machine.gpu) or "none took part"),
        ("system", machine.system),
        ("load before the start", "" if machine.load_average is None else
         f"{short(machine.load_average)} processes wanted a core"),
    ]  # fmt: skip
    return [(name, text) for name, text in facts if text]


def version_facts(report: Report) -> list[Fact]:
    """Return the versions of everything, and the variables that set threads."""
    machine = report.machine
    return [*machine.versions.items(), *machine.environment.items()] if machine else []


def setting_facts(report: Report) -> list[Fact]:
    """Return how it was measured."""
    settings, reading = report.settings, report.audio_decoding_rtf
    row = plural(settings.block, "utterance") if settings.block else ""
    facts = [
        ("test set", settings.source),
        ("utterances", count(settings.utterances) if settings.utterances else ""),
        ("audio", duration(settings.audio_seconds) if settings.audio_seconds else ""),
        ("timed passes", f"{settings.repeats}, after one untimed, interleaved" if settings.repeats else ""),
        ("in a row", f"{row}, then the next model's turn" if row else ""),
        ("threads", _joined(settings.threads) if settings.repeats else ""),
        ("batches", _joined(settings.batches) if settings.repeats else ""),
        ("pinned to cores", _joined(settings.affinity or ())),
        ("normaliser", f"{settings.normalizer} v{settings.normalizer_version}"),
        ("compared with", settings.reference),
        ("reading the audio, RTF", significant(reading) if reading is not None else ""),
        ("seed of the bootstrap", str(settings.seed)),
        ("measured", report.created.replace("T", " ").replace("+00:00", " UTC")),
        ("schema of the report", str(SCHEMA)),
    ]
    return [(name, text) for name, text in facts if text]


def _cores(machine: Machine) -> str:
    if not machine.cores:
        return ""
    parts = [f"{machine.usable_cores} of {machine.cores} usable"]
    if machine.physical_cores:
        parts.append(f"{machine.physical_cores} physical")
    if machine.quota:
        parts.append(f"time of {short(machine.quota)} allowed to this container")
    return ", ".join(parts)


def _joined(found: Iterable[object]) -> str:
    return ", ".join(map(str, found))
