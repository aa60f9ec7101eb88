"""From what a user names to what is measured: every model in every runtime, each in a process of its own."""

from collections.abc import Sequence
from importlib import import_module, util
from pathlib import Path

from kdcompress.bench.candidate import ModelSpec
from kdcompress.bench.models import find_models
from kdcompress.bench.process import IsolatedCandidate
from kdcompress.bench.runtimes import RUNTIMES
from kdcompress.errors import ConfigError, MissingExtra
from kdcompress.runtime.session import Provider


def combine(
    paths: Sequence[Path],
    runtimes: Sequence[str] = ("kdcompress",),
    variants: Sequence[str] = (),
    provider: Provider = "cpu",
    threads: int = 1,
) -> list[IsolatedCandidate]:
    """Return a candidate for every model in every runtime; names are unique.

    Args:
        paths: bundles, ONNX directories or files.
        runtimes: without torch; in each of them every model is measured.
        variants: of bundles; none takes all.
        provider: what they run on.
        threads: given to each.

    Raises:
        BundleError: a path is no model, or a bundle has no such variant.
        ConfigError: a runtime cannot run a model.
        MissingExtra: a runtime is not installed.
    """
    modules = {runtime: import_module(RUNTIMES[runtime]) for runtime in runtimes}
    for runtime, module in modules.items():
        library = getattr(module, "LIBRARY", None)
        if library is not None and util.find_spec(library) is None:
            raise MissingExtra(runtime, "runtimes", f"--runtime {runtime}")
    models = [model for path in paths for model in find_models(path, variants)]
    short = [model.label for model in models]
    # Two directories of one name in different folders: only their paths tell them apart.
    labels = short if len(set(short)) == len(short) else [model.long_label for model in models]
    candidates = []
    for model, label in zip(models, labels, strict=True):
        for runtime, module in modules.items():
            if reason := module.refusal(model):
                raise ConfigError(
                    f"{model.long_label} does not run in {runtime}: {reason}; leave it out of --runtime"
                )
            spec = ModelSpec(
                module=module.__name__,
                path=str(model.path),
                name=label if runtime == "kdcompress" else f"{label} ({runtime})",
                variant=model.variant,
                graph=str(model.graph),
                layout=model.layout,
                provider=provider,
                threads=threads,
                precision=model.precision,
            )
            candidates.append(IsolatedCandidate(spec, model.bytes, model.parameters))
    return candidates


def read_runtimes(text: str | None) -> tuple[str, ...]:
    """Read names separated by commas; None or nothing gives none.

    Raises:
        ConfigError: there is no such runtime, or one is named twice.
    """
    names = [part.strip() for part in (text or "").split(",") if part.strip()]
    if not set(names) <= set(RUNTIMES) or len(set(names)) != len(names):
        raise ConfigError(
            f"--runtime {text}: expected names out of {', '.join(RUNTIMES)}, separated by commas, each once"
        )
    return tuple(names)
