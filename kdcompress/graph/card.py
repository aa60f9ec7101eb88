"""The model card: what the bundle is, how good, and how to run it in each runtime."""

from collections.abc import Mapping
from typing import Any

from kdcompress.config.profile import ProfileConfig
from kdcompress.runtime.bundle import FP32, Bundle, Variant

_KDCOMPRESS = """\
## kdcompress

```sh
kdcompress transcribe <name> recording.wav
```

```python
from kdcompress.runtime.recognizer import Recognizer

print(Recognizer("<name>").transcribe("recording.wav").text)
```
"""


def model_card(bundle: Bundle, profile: ProfileConfig, name: str) -> str:
    """Return README.md of a bundle whose directory is called `name`."""
    chosen = bundle.variant()
    # onnx-asr puts it between `model` and `.onnx`.
    suffix = chosen.file.removeprefix("model.").removesuffix(".onnx")
    fields = {
        "<name>": name,
        "<file>": chosen.file,
        "<quantization>": "" if chosen.name == FP32 else f', quantization="{suffix}"',
    }
    normalize = bundle.frontend.normalize
    texts = [_KDCOMPRESS, *((x.card if x.serves(normalize) else x.refusal) for x in profile.consumers)]
    runtimes = []
    for text in texts:
        for field, value in fields.items():
            text = text.replace(field, value) if text else None
        if text:
            runtimes.append(text)
    return "\n".join([f"# {name}\n", _about(bundle), _variants(bundle), _training(bundle), *runtimes])


def _about(bundle: Bundle) -> str:
    parameters = bundle.parameters
    size = f"{parameters / 1e6:.2f} M parameters, " if parameters else ""
    return (
        f"A CTC speech recogniser for 16 kHz audio: {size}{len(bundle.vocabulary)} output units, one frame "
        f"per {bundle.frame_shift * 1000:.0f} ms. Written by {bundle.written_by}, profile "
        f"`{bundle.profile}`. `selftest.wav` and `selftest.json` show whether a runtime computes what it "
        "should.\n"
    )


def _variants(bundle: Bundle) -> str:
    rows = [
        "| variant | file | MB | MB gzip'd | loads in | compared with | KL per frame | same best token "
        "| words changed | largest difference |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    notes: list[str] = []
    for variant in bundle.variants.values():
        figures: Mapping[str, Any] = bundle.parity[variant.name]
        words = figures["disagreement"] if figures.get("words") else None
        rows.append(
            f"| {variant.name} | `{variant.file}` | {variant.bytes / 1e6:.2f} | "
            f"{_cost(variant, 'gzip_bytes', 1e-6, '.2f')} | {_cost(variant, 'load_ms', 1, '.0f', ' ms')} | "
            f"{figures['against']}, "
            f"{figures['on']} | {figures['kl']:.2g} | {figures['agreement']:.2%} | "
            f"{f'{words:.2%}' if words is not None else ''} | {figures['max_abs']:.2g} |"
        )
        if domains := figures.get("domains"):
            notes.append(
                f"`{variant.file}` has operators of {', '.join(domains)}, which onnxruntime alone has: it "
                "loads there and in what is built on it (sherpa-onnx, onnx-asr), nowhere else.\n"
            )
        if bias := figures.get("blank_bias"):
            notes.append(
                f"`{variant.file}`: {bias['value']:+.4g} was added to the blank's logit; its blank rate was "
                f"{bias['before']['blank_rate']:.2%} before.\n"
            )
    return "\n".join([*rows, "", *notes])


def _cost(variant: Variant, key: str, factor: float, form: str, unit: str = "") -> str:
    value = variant.cost.get(key)
    return "" if value is None else f"{factor * value:{form}}{unit}"


# Runs of the first releases call the WER against the teacher agreement.
_FIGURES = {
    "kl": "KL from the teacher (nats a frame)",
    "wer_against_teacher": "WER against the teacher (%, lower is better)",
    "ter_against_teacher": "token error rate against the teacher (%, lower is better)",
    "agreement": "WER against the teacher (%, lower is better)",
    "wer": "WER against references (%)",
}


def _training(bundle: Bundle) -> str:
    known = bundle.provenance
    rows = [f"- run `{known['run']}`, checkpoint `{known['checkpoint']}`, student `{known['student']}`"]
    if known.get("teacher"):
        rows.append(f"- distilled from teacher `{known['teacher']}`")
    figures = known.get("figures")
    if isinstance(figures, Mapping):
        rows += [
            f"- validation, {_FIGURES.get(name, name.replace('_', ' '))}: {value:.4g}"
            for name, value in figures.items()
            if isinstance(value, int | float)
        ]
    return "## Where it comes from\n\n" + "\n".join(rows) + "\n"
