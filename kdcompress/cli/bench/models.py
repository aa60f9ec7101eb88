"""From the arguments of `kdcompress bench` to candidates: bundles, ONNX models, and what runs in torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

if TYPE_CHECKING:
    from kdcompress.bench.process import IsolatedCandidate


def candidates(
    paths: Sequence[Path],
    teacher: str | None,
    *,
    runtimes: str | None,
    variants: Sequence[str],
    provider: Literal["cpu", "cuda"],
    threads: int,
    torch_precision: str,
) -> "list[IsolatedCandidate]":
    """Return what is to be measured, the teacher first, then each path in each runtime.

    Raises:
        KdcompressError: nothing was named, or something that no runtime that was asked for can run.
    """
    from kdcompress.bench.combinations import combine, read_runtimes
    from kdcompress.errors import ConfigError

    asked = read_runtimes(runtimes)
    others = tuple(name for name in asked if name != "torch") or (() if asked else ("kdcompress",))
    for_torch = [path for path in paths if _is_for_torch(path)]
    if asked and "torch" not in asked and for_torch:
        raise ConfigError(f"{for_torch[0]} runs in torch: add it to --runtime {runtimes}")
    if "torch" in asked and not for_torch and teacher is None:
        raise ConfigError("--runtime torch runs training runs and teachers: name one beside the bundles")
    found = [] if teacher is None else [_in_torch(teacher, "teacher", provider, threads, torch_precision)]
    for path in paths:
        if path in for_torch:
            name = f"{path.resolve().name} (torch)"
            found.append(_in_torch(str(path), name, provider, threads, torch_precision))
        elif not others:
            raise ConfigError(f"{path} does not run in torch: name the run that it was exported from")
    onnx = [path for path in paths if path not in for_torch]
    found += combine(onnx, others, variants, provider, threads) if onnx else []
    if not found:
        raise ConfigError("nothing to measure: name at least one bundle, or a --teacher")
    return found


def numbers(text: str, option: str) -> tuple[int, ...]:
    """Read whole numbers above 0, separated by commas, each once.

    Raises:
        BadParameter: they are not.
    """
    parts = [part.strip() for part in text.split(",")]
    found = tuple(int(part) for part in parts if part.isdecimal())
    if len(found) != len(parts) or min(found) < 1 or len(set(found)) != len(found):
        raise typer.BadParameter(f"expected numbers above 0 such as 1,2; found {text}", param_hint=option)
    return found


def _in_torch(
    text: str, name: str, provider: Literal["cpu", "cuda"], threads: int, precision: str
) -> "IsolatedCandidate":
    from kdcompress.bench.candidate import ModelSpec
    from kdcompress.bench.process import IsolatedCandidate
    from kdcompress.bench.runtimes import RUNTIMES
    from kdcompress.teachers.open import resolve_teacher

    resolve_teacher(text)  # a wrong name is known before anything is started
    spec = ModelSpec(RUNTIMES["torch"], text, name, provider=provider, threads=threads, precision=precision)
    return IsolatedCandidate(spec)


def _is_for_torch(path: Path) -> bool:
    from kdcompress.runtime.identify import Kind, graphs_in, identify

    kind = identify(path)
    return kind in {Kind.RUN, Kind.CHECKPOINT} or (kind is Kind.HUGGING_FACE and not graphs_in(path))
