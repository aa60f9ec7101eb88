"""What a report was measured on and how, as named facts: Markdown and HTML write the same ones."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from kdcompress.report.pages.figures import count, duration, plural, short, significant
from kdcompress.report.pages.view import ReportView, lookup, mapping, number, text

Fact: TypeAlias = tuple[str, str]

_INT8 = {True: "yes", False: "no: int8 gains little here", None: "unknown"}

_VIRTUAL = {True: "yes: neighbours may slow it down", False: "no", None: ""}


def machine_facts(report: ReportView) -> list[Fact]:
    """Return what is known about the computer."""
    machine = mapping(report.data, "machine")
    if not machine:
        return []
    flags = lookup(machine, "flags")
    memory = number(machine, "memory_gb")
    facts = [
        ("CPU", text(machine, "cpu")),
        ("cores", _cores(machine)),
        ("clock", _clock(machine)),
        ("int8 in hardware (VNNI, AMX, dot product)", _INT8[_yes_or_no(machine, "int8_instructions")]),
        ("instruction sets", _joined(flags) or "unknown"),
        ("frequency governor", text(machine, "governor") or "not to be seen from here"),
        ("virtual machine", _VIRTUAL[_yes_or_no(machine, "virtual")]),
        ("memory", f"{short(memory)} GB" if memory else ""),
        ("GPU", _joined(lookup(machine, "gpu"), "; ") or "none took part"),
        ("system", text(machine, "system")),
        ("load before the start", _load(machine)),
    ]  # fmt: skip
    return [(name, said) for name, said in facts if said]


def version_facts(report: ReportView) -> list[Fact]:
    """Return the versions of everything, and the variables that set threads."""
    versions = mapping(report.data, "machine", "versions")
    environment = mapping(report.data, "machine", "environment")
    return [(str(name), str(value)) for name, value in [*versions.items(), *environment.items()]]


def setting_facts(report: ReportView) -> list[Fact]:
    """Return how it was measured."""
    settings = mapping(report.data, "settings")
    utterances, seconds = number(settings, "utterances"), number(settings, "audio_seconds")
    repeats, block = number(settings, "repeats"), number(settings, "block")
    normalizer, version = text(settings, "normalizer"), text(settings, "normalizer_version")
    reading = number(report.data, "audio_decoding_rtf")
    facts = [
        ("test set", report.source),
        ("utterances", count(utterances) if utterances else ""),
        ("audio", duration(seconds) if seconds else ""),
        ("timed passes", f"{repeats:.0f}, after one untimed, interleaved" if repeats else ""),
        ("in a row", f"{plural(int(block), 'utterance')}, then the next model's turn" if block else ""),
        ("threads", _joined(lookup(settings, "threads"))),
        ("batches", _joined(lookup(settings, "batches"))),
        ("pinned to cores", _joined(lookup(settings, "affinity"))),
        ("normaliser", f"{normalizer} v{version}" if normalizer else ""),
        ("compared with", report.reference),
        ("reading the audio, RTF", significant(reading) if reading is not None else ""),
        ("seed of the bootstrap", text(settings, "seed")),
        ("measured", _when(text(report.data, "created"))),
        ("schema of the report", text(report.data, "schema")),
    ]
    return [(name, said) for name, said in facts if said]


def _when(created: str) -> str:
    return created.replace("T", " ").replace("+00:00", " UTC")


def _yes_or_no(machine: Mapping[str, Any], key: str) -> bool | None:
    found = lookup(machine, key)
    return found if isinstance(found, bool) else None


def _cores(machine: Mapping[str, Any]) -> str:
    usable, logical = number(machine, "usable_cores"), number(machine, "cores")
    if usable is None or logical is None:
        return ""
    physical = number(machine, "physical_cores")
    parts = [f"{usable:.0f} of {logical:.0f} usable"]
    if physical:
        parts.append(f"{physical:.0f} physical")
    if quota := number(machine, "quota"):
        parts.append(f"time of {short(quota)} allowed to this container")
    return ", ".join(parts)


def _clock(machine: Mapping[str, Any]) -> str:
    highest = number(machine, "max_mhz")
    return f"up to {significant(highest / 1000)} GHz" if highest else ""


def _load(machine: Mapping[str, Any]) -> str:
    load = number(machine, "load_average")
    return "" if load is None else f"{short(load)} processes wanted a core"


def _joined(found: object, between: str = ", ") -> str:
    return between.join(map(str, found)) if isinstance(found, list | tuple) else ""
