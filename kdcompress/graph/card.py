"""The model card: what the bundle is, how good, and how to run it in each runtime."""

from collections.abc import Mapping
from typing import Any

from kdcompress.graph.contracts import serves_onnx_asr
from kdcompress.runtime.bundle import FP32, Bundle

_KDCOMPRESS = """\
## kdcompress

```sh
kdcompress transcribe {name} recording.wav
```

```python
from kdcompress.runtime.recognizer import Recognizer

print(Recognizer("{name}").transcribe("recording.wav").text)
```
"""

_SHERPA = """\
## sherpa-onnx (2.0 or later)

```python
import numpy, sherpa_onnx, soundfile

recognizer = sherpa_onnx.OfflineRecognizer.from_nemo_ctc(
    model="{name}/{file}", tokens="{name}/tokens.txt"
)
stream = recognizer.create_stream()
samples, rate = soundfile.read("recording.wav", dtype="float32")  # mono
# 5 ms of silence: sherpa-onnx centres its frames half a step later than this model learned them.
stream.accept_waveform(rate, numpy.concatenate([numpy.zeros(rate // 200, numpy.float32), samples]))
recognizer.decode_stream(stream)
print(stream.result.text)
```
"""

_ONNX_ASR = """\
## onnx-asr

```python
import onnx_asr

model = onnx_asr.load_model("nemo-conformer-ctc", "{name}"{quantization})
print(model.recognize("recording.wav"))
```
"""

_NO_ONNX_ASR = """\
## onnx-asr

Cannot run this student: it was trained with `normalize: none`, and onnx-asr always normalises features.
"""


def model_card(bundle: Bundle, name: str) -> str:
    """Return README.md of a bundle whose directory is called `name`."""
    chosen = bundle.variant()
    # onnx-asr puts it between `model` and `.onnx`.
    suffix = chosen.file.removeprefix("model.").removesuffix(".onnx")
    fields = {
        "name": name,
        "file": chosen.file,
        "quantization": "" if chosen.name == FP32 else f', quantization="{suffix}"',
    }
    onnx_asr = _ONNX_ASR if serves_onnx_asr(bundle.frontend.normalize) else _NO_ONNX_ASR
    runtimes = [part.format(**fields) for part in (_KDCOMPRESS, _SHERPA, onnx_asr)]
    return "\n".join([f"# {name}\n", _about(bundle), _variants(bundle), _training(bundle), *runtimes])


def _about(bundle: Bundle) -> str:
    parameters = bundle.parameters
    size = f"{parameters / 1e6:.2f} M parameters, " if parameters else ""
    return (
        f"A CTC speech recogniser for 16 kHz audio: {size}{len(bundle.vocabulary)} output units, one frame "
        f"per {bundle.frame_shift * 1000:.0f} ms. Written by {bundle.written_by}, profile "
        f"`{bundle.profile}`. `selftest.wav` and `selftest.json` tell whether a runtime computes what it "
        "should.\n"
    )


def _variants(bundle: Bundle) -> str:
    rows = [
        "| variant | file | MB | compared with | KL per frame | same best token | words changed "
        "| largest difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    notes: list[str] = []
    for variant in bundle.variants.values():
        figures: Mapping[str, Any] = bundle.parity[variant.name]
        words = figures["disagreement"] if figures.get("words") else None
        rows.append(
            f"| {variant.name} | `{variant.file}` | {variant.bytes / 1e6:.2f} | {figures['against']}, "
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


def _training(bundle: Bundle) -> str:
    known = bundle.provenance
    rows = [f"- run `{known['run']}`, checkpoint `{known['checkpoint']}`, student `{known['student']}`"]
    if known.get("teacher"):
        rows.append(f"- distilled from teacher `{known['teacher']}`")
    figures = known.get("figures")
    if isinstance(figures, Mapping):
        rows += [
            f"- validation {name.replace('_', ' ')}: {value:.4g}"
            for name, value in figures.items()
            if isinstance(value, int | float)
        ]
    return "## Where it comes from\n\n" + "\n".join(rows) + "\n"
