"""Any CTC model that transformers' `AutoModelForCTC` opens, as a teacher.

Tested families: wav2vec2, HuBERT, WavLM, wav2vec2-conformer, UniSpeech, data2vec-audio (waveform in, 20 ms),
wav2vec2-BERT (mel features in, 20 ms) and Parakeet-CTC (mel features in, 80 ms). Others work when their
model class says how long its output is. Weights must be safetensors.

Whether the attention mask really hides padding is measured when the model is opened (`batch_invariance`).

B batch, S samples, T frames, V vocabulary.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from typing_extensions import Self

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.config.teacher import HuggingFaceTeacher, Precision
from kdcompress.errors import TeacherError
from kdcompress.students.transformers_inputs import (
    TransformersInputs,
    import_transformers,
    output_length_function,
    quiet,
)
from kdcompress.teachers.batch_invariance import batched_posteriors, probe_batch_policy
from kdcompress.teachers.group_norm import GroupNorms
from kdcompress.teachers.huggingface_files import (
    check_vocabulary,
    find_adapter,
    find_folder,
    fingerprint,
    weight_files,
)
from kdcompress.teachers.huggingface_vocabulary import check_language, check_size, find_vocabulary
from kdcompress.teachers.precision import Running, rounded, running
from kdcompress.teachers.teacher import Posteriors

# Trained weights lack this vector, which only masks in training; transformers draws it at random.
_UNUSED_IN_EVAL = "masked_spec_embed"


class TransformersTeacher:
    """A frozen transformers CTC model with its own feature extractor; see `Teacher` for the attributes."""

    def __init__(self, name: str, model: Any, extractor: Any, tokenizer: Any, files: str) -> None:
        self._name = name
        self._model = model.float().eval().requires_grad_(False)
        self._frames = _length_function(name, model)
        self._inputs = TransformersInputs(extractor, model)
        self.sample_rate = _sample_rate(name, extractor)
        self._norms = GroupNorms(*_convolutions(model))
        self._precision: Running = nullcontext
        self._policy, outputs = probe_batch_policy(self._run, self._prepare)
        self.frame_shift = self._measure_frame_shift()
        self.vocabulary = find_vocabulary(name, tokenizer, model.config.pad_token_id, outputs)
        self.fingerprint = hashlib.sha256(f"{files} {self.vocabulary.fingerprint}".encode()).hexdigest()[:12]
        self.parameters = sum(p.numel() for p in model.parameters())
        self.bytes = 4 * self.parameters

    @classmethod
    def open(cls, config: HuggingFaceTeacher, device: torch.device | str = "cpu") -> Self:
        """Load a model, its feature extractor and its vocabulary from a directory or the hub.

        Raises:
            TeacherError: one of them is missing or damaged, the weights are pickled, the checkpoint has no
                trained CTC head, or it takes another sample rate than 16 kHz.
            MissingExtra: transformers is not installed.
        """
        folder = find_folder(config)
        weights = weight_files(config.path, folder)
        model, extractor, tokenizer = load_model(config, folder)
        adapter = find_adapter(config.path, folder, config.language)
        files = fingerprint(folder, weights if adapter is None else [*weights, adapter])
        teacher = cls(config.path, model, extractor, tokenizer, files).to(device)
        return teacher.with_precision(config.precision)

    def posteriors(self, waveforms: Tensor, lengths: Tensor) -> Posteriors:
        """Run the model on a batch; see `Teacher.posteriors`.

        An utterance shorter than the model's receptive field is extended with zeros to one frame; an
        empty one has length 0.
        """
        samples: list[int] = lengths.tolist()
        inputs = self._prepare([waveform[:n] for waveform, n in zip(waveforms, samples, strict=True)])
        empty = [n == 0 for n in samples]
        size = len(self.vocabulary)
        return batched_posteriors(self._name, self._run, inputs, empty, self._policy, size, self.frame_shift)

    def to(self, device: torch.device | str) -> Self:
        """Move the weights; returns itself."""
        self._model.to(device)
        return self

    def with_precision(self, precision: Precision) -> Self:
        """Take the precision of matrix products for the device that the model is on; returns itself."""
        device = self._model.device
        self._precision = running(precision, device, self._model, ("lm_head", "ctc_head"))
        if rounded(precision, device):
            self.fingerprint += "-bf16"
        return self

    def _prepare(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        return self._inputs.of_batch(waveforms, self._model.device)

    def _run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
        """Return logits [b, T, V] and the valid frames of each; without mask where sizes are equal."""
        sizes = torch.tensor([len(x) for x in inputs])
        batch = pad_sequence(list(inputs), batch_first=True)
        # Some versions draw for layerdrop even in eval mode: the run's own seed must not feel that.
        with quiet(), torch.random.fork_rng(devices=[]), self._precision():
            if (sizes == sizes[0]).all():
                logits = self._model(batch).logits
                return logits, [logits.shape[1]] * len(inputs)
            mask = (torch.arange(batch.shape[1]) < sizes[:, None]).long().to(batch.device)
            with self._norms.over(sizes.tolist()):
                logits = self._model(batch, attention_mask=mask).logits
        return logits, [min(int(n), logits.shape[1]) for n in self._frames(sizes)]

    def _measure_frame_shift(self) -> float:
        # Floors cancel exactly over a distance that every stride divides.
        near, distance = SAMPLE_RATE, 512 * 320
        sizes = [len(self._prepare([torch.zeros(samples)])[0]) for samples in (near, near + distance)]
        first, second = self._frames(torch.tensor(sizes)).tolist()
        return distance / (second - first) / self.sample_rate


def load_model(config: HuggingFaceTeacher, folder: Path, *, weights: bool = True) -> tuple[Any, Any, Any]:
    """Load model, feature extractor and tokenizer from a directory.

    Args:
        weights: whether there are any; without, the model's are random and the tokenizer is None.

    Raises:
        TeacherError: one of them is missing or damaged, or the checkpoint has no trained CTC head.
        MissingExtra: transformers is not installed.
    """
    transformers = import_transformers()
    name = config.path
    local = {"local_files_only": True, "trust_remote_code": False}
    # Loading draws random numbers for weights that it then overwrites: keep that out of the run's seed.
    with quiet(), torch.random.fork_rng(devices=[]):
        extractor = _load(name, "feature extractor", transformers.AutoFeatureExtractor, folder, local)
        if not weights:
            shape = _load(name, "configuration", transformers.AutoConfig, folder, local)
            return transformers.AutoModelForCTC.from_config(shape, trust_remote_code=False), extractor, None
        check_vocabulary(name, folder)
        check_language(name, folder, config.language)
        language = {} if config.language is None else {"target_lang": config.language}
        adapted = language if find_adapter(name, folder, config.language) else {}
        tokenizer = _load(name, "vocabulary", transformers.AutoTokenizer, folder, local | language)
        safe = {**local, **adapted, "use_safetensors": True, "output_loading_info": True}
        if adapted:  # brings a head of its own size
            safe["ignore_mismatched_sizes"] = True
        model, info = _load(name, "weights", transformers.AutoModelForCTC, folder, safe)
    missing = sorted(key for key in info["missing_keys"] if not key.endswith(_UNUSED_IN_EVAL))
    if missing:
        others = " and others" * (len(missing) > 1)
        raise TeacherError(
            f"teacher {name}: its weights lack {missing[0]}{others}; expected a model fine-tuned with "
            "CTC, not a pretrained encoder"
        )
    if (spoken := getattr(tokenizer, "target_lang", None)) is not None:
        check_size(name, folder, spoken, model.config.vocab_size)
    return model, extractor, tokenizer


def _load(name: str, what: str, loader: Any, folder: Path, options: dict[str, Any]) -> Any:
    try:
        return loader.from_pretrained(str(folder), **options)
    except Exception as error:  # whatever transformers and its loaders raise, the user needs one line
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise TeacherError(f"cannot open the {what} of teacher {name}: {reason}") from error


def _convolutions(model: Any) -> tuple[Sequence[Any], Sequence[int], Sequence[int]]:
    """Return the layers that a model makes frames of waveforms with, their kernels and strides."""
    extractor = getattr(model.base_model, "feature_extractor", None)
    if extractor is None or not hasattr(extractor, "conv_layers"):
        return (), (), ()
    return extractor.conv_layers, model.config.conv_kernel, model.config.conv_stride


def _length_function(name: str, model: Any) -> Callable[[Tensor], Tensor]:
    function: Callable[[Tensor], Tensor] | None = output_length_function(model)
    if function is None:
        raise TeacherError(
            f"teacher {name}: models of type {model.config.model_type!r} do not say how long their output "
            "is; use a wav2vec2, HuBERT, WavLM, wav2vec2-BERT, wav2vec2-conformer or Parakeet-CTC model"
        )
    return function


def _sample_rate(name: str, extractor: Any) -> int:
    rate = getattr(extractor, "sampling_rate", None)
    if rate != SAMPLE_RATE:
        raise TeacherError(f"teacher {name} takes {rate} Hz; expected {SAMPLE_RATE} Hz: choose another")
    return SAMPLE_RATE
