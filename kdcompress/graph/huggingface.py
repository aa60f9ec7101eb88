"""Write a student of transformers' families as a directory that transformers opens.

B batch, S samples, T frames, V vocabulary.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdcompress.aliases import FloatArray
from kdcompress.config.deploy import HUGGINGFACE
from kdcompress.errors import ConfigError, ExportError
from kdcompress.files import writing_folder
from kdcompress.graph.runtime_files import BOUNDARY, token_lines, tokenizer_settings
from kdcompress.locks import locked
from kdcompress.runtime.compare import Difference, difference
from kdcompress.students.pretrained import PretrainedStudent
from kdcompress.students.transformers_inputs import import_transformers, quiet
from kdcompress.students.weights import LoadedStudent, load_student
from kdcompress.text.decode import greedy
from kdcompress.text.vocabulary import Vocabulary
from kdcompress.verify.consumers import SAME_LIMIT, character_difference
from kdcompress.verify.sound import synthetic_waveform
from kdcompress.verify.verify import recordings

_CARD, _MARK = "README.md", "Written by kdcompress"
_SECONDS = (0.45, 3.33)
# Sums in another order, and a front end of transformers' own.
_TOLERANCE = 5e-3


def export_huggingface(
    run: Path, out: Path, *, audio: Path | None = None, overwrite: bool = False
) -> tuple[Difference, str]:
    """Write weights, configuration, tokenizer and feature extractor, and see what transformers makes of them.

    Parts that were cut unevenly, which transformers' configuration cannot say, are filled up with zeros: the
    file grows, the answers stay.

    Args:
        run: a run directory or checkpoint.
        out: the directory; it appears when it is complete.
        audio: folder or manifest whose transcripts are compared; None takes rendered sound.
        overwrite: replace what was written before.

    Returns:
        How close transformers' log-probabilities come, and a line on the transcripts.

    Raises:
        ConfigError: transformers has no model for such a student.
        ExportError: `out` is taken, or what transformers reads is another model.
        InUse: another process writes to `out`.
    """
    loaded = load_student(run)
    student = loaded.model
    if not isinstance(student, PretrainedStudent):
        raise ConfigError(
            f"profile {HUGGINGFACE} is for students of kind pretrained, models of transformers; this one "
            f"is of kind {student.config.kind}: give --profile waveform"
        )
    _check_target(out, overwrite)
    free = partial(_check_target, out, overwrite)
    with locked(out, beside=True), quiet(), writing_folder(out, check=free) as folder:
        _whole(student).save_pretrained(folder)
        student.inputs.extractor.save_pretrained(folder)
        write_tokenizer(folder, loaded.vocabulary)
        sounds, source = recordings(audio)
        found = _compare(folder, loaded)
        said = _compare_texts(folder, loaded, sounds)
        (folder / _CARD).write_text(_card(loaded, out.name, found), encoding="utf-8", newline="\n")
    return found, f"{said} of {source}"


def _check_target(out: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    card = out / _CARD
    if not card.is_file() or _MARK not in card.read_text(encoding="utf-8", errors="replace"):
        raise ExportError(f"{out} holds something that is not from here; choose another --out")
    if not overwrite:
        raise ExportError(f"{out} already holds a model; choose another --out or give --overwrite")


def _whole(student: PretrainedStudent) -> Any:
    """Return transformers' own model with a student's weights, those of cut units zero."""
    shape, sizes = dict(student.config.model or {}), student.config.sizes
    front = [
        sizes[f"front.{index}"]
        for index in range(len(shape.get("conv_dim", ())))
        if f"front.{index}" in sizes
    ]
    if front:
        shape["conv_dim"] = front
    uncut = student.config.model_copy(update={"model": shape, "sizes": {}})
    full = PretrainedStudent(uncut, student.vocabulary_size).eval()
    state, cut = full.model.state_dict(), student.model.state_dict()
    fills = _fills(full, student)
    for name, value in cut.items():
        state[name] = fills[name](value) if name in fills else value
    transformers = import_transformers()
    config = transformers.AutoConfig.for_model(shape.pop("model_type"), **shape)
    model = transformers.AutoModelForCTC.from_config(config, trust_remote_code=False)
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    return model


def _fills(full: PretrainedStudent, student: PretrainedStudent) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return what widens the tensors of parts that were cut, by their names in the model."""
    names = {id(module): name for name, module in full.model.named_modules()}
    fills: dict[str, Callable[[Tensor], Tensor]] = {}
    for (owner, whole), (_, part) in zip(full.anatomy(), student.anatomy(), strict=True):
        if whole.units == part.units:
            continue
        place = names[id(owner)]
        left = torch.arange(part.units)
        for path, *_ in part.axes:
            if path.endswith(".heads"):  # WavLM's, which are used by their number
                left = student.model.get_buffer(f"{place}.{path}")
        for path, axis, copies, values in whole.axes:
            inside = torch.arange(values)
            one = (left[:, None] * values + inside).flatten()
            index = torch.cat([one + copy * whole.units * values for copy in range(copies)])
            name = f"{place}.{path}"
            size = copies * whole.units * values
            before = fills.get(name)
            fills[name] = _widened(axis, index, size, before)
    return fills


def _widened(
    axis: int, index: Tensor, size: int, before: Callable[[Tensor], Tensor] | None
) -> Callable[[Tensor], Tensor]:
    def widen(value: Tensor) -> Tensor:
        value = value if before is None else before(value)
        shape = list(value.shape)
        shape[axis] = size
        return value.new_zeros(shape).index_copy_(axis, index, value)

    return widen


def write_tokenizer(folder: Path, vocabulary: Vocabulary) -> None:
    """Write the tokenizer of wav2vec2, or where tokens are pieces of words, that of Parakeet."""
    transformers = import_transformers()
    blank = vocabulary.tokens[vocabulary.blank]
    tokens = [line.rsplit(" ", 1)[0] for line in token_lines(vocabulary)]
    if not any(token.startswith(BOUNDARY) and token != BOUNDARY for token in tokens):
        names = {"pad_token": blank, "unk_token": blank}
        names["word_delimiter_token"] = vocabulary.word_boundary or BOUNDARY
        ids = {token: index for index, token in enumerate(vocabulary.tokens)}
        for name, content in (
            ("vocab.json", ids),
            ("tokenizer_config.json", tokenizer_settings() | names),
        ):
            text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
        return
    from tokenizers import Tokenizer, decoders, models

    tokens[vocabulary.blank] = blank
    ids = {token: index for index, token in enumerate(tokens)}
    pieces = Tokenizer(models.WordLevel(ids, unk_token=blank))
    pieces.decoder = decoders.Metaspace()
    # transformers 4 has it under the second name.
    maker = getattr(transformers, "ParakeetTokenizer", None) or transformers.ParakeetTokenizerFast
    maker(tokenizer_object=pieces, unk_token=blank, pad_token=blank).save_pretrained(folder)


def _compare(folder: Path, loaded: LoadedStudent) -> Difference:
    """Open what was written as a stranger would, and compare."""
    transformers = import_transformers()
    model = transformers.AutoModelForCTC.from_pretrained(folder, local_files_only=True).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
    expected, given = [], []
    with torch.no_grad():
        for seconds in _SECONDS:
            sound = synthetic_waveform(seconds)
            own, frames = loaded.model(torch.from_numpy(sound)[None], torch.tensor([len(sound)]))
            inputs = extractor(sound, sampling_rate=extractor.sampling_rate, return_tensors="pt")
            logits = model(**inputs).logits[0, : int(frames)]  # wav2vec2-BERT's extractor adds half a frame
            given.append(logits.log_softmax(dim=-1).numpy())
            expected.append(own[0, : int(frames)].numpy())
    found = difference(expected, given, loaded.vocabulary.blank)
    if found.max_abs > _TOLERANCE:
        raise ExportError(
            f"transformers cannot compute what this student does (they differ by {found.max_abs:.2g}): "
            "it was cut where a norm lies over what is left; give --profile waveform or portable"
        )
    return found


def _compare_texts(folder: Path, loaded: LoadedStudent, sounds: Sequence[FloatArray]) -> str:
    pipeline = import_transformers().pipeline("automatic-speech-recognition", model=str(folder))
    ours, theirs = [], []
    for sound in sounds:
        with torch.no_grad():
            log_probs, _ = loaded.model(torch.from_numpy(sound)[None], torch.tensor([len(sound)]))
        ours.append(greedy(log_probs[0].numpy(), loaded.vocabulary).text(loaded.vocabulary))
        theirs.append(" ".join(pipeline(sound)["text"].split()))
    differ = character_difference(ours, theirs)
    same = sum(x == y for x, y in zip(ours, theirs, strict=True))
    said = f"transformers' pipeline gives {same} of {len(ours)} transcripts as the student does"
    # Tokens that print nothing here are names there: rendered sound may make a student say them.
    if differ > SAME_LIMIT and not loaded.vocabulary.silent:
        raise ExportError(f"{said}, and {differ:.2%} of the characters differ; report it")
    return said


def _card(loaded: LoadedStudent, name: str, found: Difference) -> str:
    teacher = loaded.record.get("teacher")
    return f"""---
library_name: transformers
pipeline_tag: automatic-speech-recognition
---

# {name}

A CTC speech recogniser for 16 kHz audio: {loaded.model.parameter_count() / 1e6:.2f} M parameters,
{len(loaded.vocabulary)} output units, one frame per {loaded.model.frame_shift * 1000:.0f} ms. {_MARK}
{f"from a student of the teacher `{teacher}` " if teacher else ""}(student `{loaded.fingerprint}`).
Log-probabilities are those of the student to {found.max_abs:.2g}.

```python
from transformers import pipeline

print(pipeline("automatic-speech-recognition", model="{name}")("recording.wav")["text"])
```
"""
