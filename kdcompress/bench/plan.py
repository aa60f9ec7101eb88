"""From what a user names to what is measured: every model in every runtime, each in a process of its own."""

from collections.abc import Sequence
from pathlib import Path

from kdcompress.bench.models import Model, find_models
from kdcompress.bench.process import ProcessCandidate
from kdcompress.bench.runtimes import check_installed
from kdcompress.bench.spec import ModelSpec, RuntimeName
from kdcompress.config.profile import read_profile
from kdcompress.errors import ConfigError
from kdcompress.resources import profile_path
from kdcompress.runtime.session import Provider


def plan(
    paths: Sequence[Path],
    runtimes: Sequence[RuntimeName],
    variants: Sequence[str] = (),
    provider: Provider = "cpu",
    threads: int = 1,
) -> list[ProcessCandidate]:
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
    check_installed(runtimes)
    models = [model for path in paths for model in find_models(path, variants)]
    short = [model.label for model in models]
    # Two directories of one name in different folders: only their paths tell them apart.
    labels = short if len(set(short)) == len(short) else [model.long_label for model in models]
    candidates = []
    for model, label in zip(models, labels, strict=True):
        for runtime in runtimes:
            check_served(model, runtime)
            spec = ModelSpec(
                runtime=runtime,
                path=str(model.path),
                name=label if runtime == "kdcompress" else f"{label} ({runtime})",
                variant=model.variant,
                graph=str(model.graph),
                layout=model.layout,
                provider=provider,
                threads=threads,
                precision=model.precision,
            )
            candidates.append(ProcessCandidate(spec, size=model.bytes, parameters=model.parameters))
    return candidates


def check_served(model: Model, runtime: RuntimeName) -> None:
    """Find out whether a runtime can run a model.

    Raises:
        ConfigError: it cannot; says why.
    """
    if reason := _refusal(model, runtime):
        raise ConfigError(
            f"{model.long_label} does not run in {runtime}: {reason}; leave it out of --runtime"
        )


def _refusal(model: Model, runtime: RuntimeName) -> str | None:
    if runtime == "kdcompress":
        return None
    consumers = {
        consumer.runtime: consumer for consumer in read_profile(profile_path(model.layout)).consumers
    }
    if runtime not in consumers:
        return f"its layout is {model.layout}, which {runtime} does not load"
    if not consumers[runtime].serves(model.normalize):
        return f"{runtime} normalises what it feeds, and this model wants it as it is"
    tokens = {"sherpa-onnx": "tokens.txt", "onnx-asr": "vocab.txt"}.get(runtime)
    if tokens and not (model.graph.parent / tokens).is_file():
        return f"it has no {tokens}"
    if runtime == "onnx-asr" and not model.graph.name.startswith("model."):
        return f"its graph is called {model.graph.name}, and onnx-asr looks for model.onnx"
    return None
