"""A recognition pipeline of torchaudio as a teacher: wav2vec2, HuBERT and VoxPopuli models with a CTC head.

Their frames are 20 ms, the blank `-` has id 0, and `|` separates words.

B batch, S samples, T frames, V vocabulary.
"""

import hashlib
import math
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from typing_extensions import Self

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.config.teacher import Precision, TorchaudioTeacher
from kdcompress.errors import TeacherError
from kdcompress.frontend.torchaudio_import import load_torchaudio
from kdcompress.runtime.external.files import receptive_field
from kdcompress.students.weights import fingerprint
from kdcompress.teachers.batch_invariance import batched_posteriors, probe_batch_policy
from kdcompress.teachers.group_norm import GroupNorms
from kdcompress.teachers.precision import Running, rounded, running
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.vocabulary import Vocabulary


class PipelineTeacher:
    """A frozen torchaudio `Wav2Vec2Model` with a CTC head; see `Teacher` for the attributes."""

    def __init__(self, name: str, model: Any, labels: Sequence[str]) -> None:
        """Take over a model.

        Args:
            name: for messages.
            model: a `Wav2Vec2Model`, or the wrapper that `get_model` puts around those which want waveforms
                of zero mean and unit variance.
            labels: of its outputs, the blank first.

        Raises:
            TeacherError: the outputs are more or fewer than the labels.
        """
        self._name = name
        self._normalizes = bool(getattr(model, "normalize_waveform", False))
        # The wrapper normalises over the whole batch, padding and other utterances included.
        inner = model.model if self._normalizes else model
        self._model = inner.float().eval().requires_grad_(False)
        layers = self._model.feature_extractor.conv_layers
        kernels, strides = [x.kernel_size for x in layers], [x.stride for x in layers]
        self._shortest = receptive_field(kernels, strides)
        self._norms = GroupNorms(layers, kernels, strides)
        self._precision: Running = nullcontext
        self._policy, outputs = probe_batch_policy(self._run, self._prepare)
        if outputs != len(labels):
            raise TeacherError(
                f"teacher {name} has {outputs} outputs and {len(labels)} labels: these are not its weights"
            )
        self.vocabulary = Vocabulary(tuple(labels), 0, "|" if "|" in labels else None)
        self.sample_rate = SAMPLE_RATE
        self.frame_shift = math.prod(strides) / SAMPLE_RATE
        weights = fingerprint(self._model.state_dict(), self.vocabulary)
        text = f"{weights} normalize={self._normalizes}"
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:12]
        self.parameters = sum(p.numel() for p in self._model.parameters())
        self.bytes = 4 * self.parameters

    @classmethod
    def open(cls, config: TorchaudioTeacher, device: torch.device | str = "cpu") -> Self:
        """Build a pipeline's model; its weights are in a file, in torch hub's cache or on the network.

        Raises:
            TeacherError: torchaudio has no such recognition pipeline, or the weights are missing or others.
            MissingExtra: torchaudio is not installed.
        """
        bundle = find_pipeline(config.name)
        if config.state_dict is None:
            folder, file = Path(torch.hub.get_dir()) / "checkpoints", Path(bundle._path).name
        else:
            folder, file = config.state_dict.parent, config.state_dict.name
            bundle = _fitted(bundle, config)
        options = {"model_dir": str(folder), "file_name": file, "map_location": "cpu", "weights_only": True}
        try:
            # Drawing weights that are then overwritten must not be felt by the run's seed. torch hub reports
            # on standard output, which belongs to results.
            with torch.random.fork_rng(devices=[]), redirect_stdout(sys.stderr):
                model = bundle.get_model(dl_kwargs=options)
        except Exception as error:  # whatever torch, its unpickler and urllib raise, the user needs one line
            if not (folder / file).is_file():
                raise TeacherError(
                    f"teacher {config.name}: its weights are not at {folder / file} and cannot be downloaded "
                    f"({_reason(error)}); connect once, put the file {file} there, or name it by "
                    "teacher.state_dict"
                ) from error
            raise _unusable(config, folder / file, error) from error
        return cls(config.name, model, bundle.get_labels()).to(device).with_precision(config.precision)

    def posteriors(self, waveforms: Tensor, lengths: Tensor) -> Posteriors:
        """Run the model on a batch; see `Teacher.posteriors`.

        An utterance shorter than the model's receptive field is extended with zeros to one frame; an
        empty one has length 0.
        """
        samples: list[int] = lengths.tolist()
        inputs = self._prepare([waveform[:n] for waveform, n in zip(waveforms, samples, strict=True)])
        empty, size = [n == 0 for n in samples], len(self.vocabulary)
        return batched_posteriors(self._name, self._run, inputs, empty, self._policy, size, self.frame_shift)

    def to(self, device: torch.device | str) -> Self:
        """Move the weights; returns itself."""
        self._model.to(device)
        return self

    def with_precision(self, precision: Precision) -> Self:
        """Take the precision of matrix products for the device that the model is on; returns itself."""
        device = next(self._model.parameters()).device
        self._precision = running(precision, device, self._model, ("aux",))
        if rounded(precision, device):
            self.fingerprint += "-bf16"
        return self

    def _prepare(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        return [self._prepare_one(waveform) for waveform in waveforms]

    def _prepare_one(self, waveform: Tensor) -> Tensor:
        waveform = waveform.to(next(self._model.parameters()).device, torch.float32)
        if self._normalizes and len(waveform):
            waveform = torch.nn.functional.layer_norm(waveform, waveform.shape)
        return torch.nn.functional.pad(waveform, (0, max(0, self._shortest - len(waveform))))

    def _run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
        sizes = torch.tensor([len(x) for x in inputs])
        batch = pad_sequence(list(inputs), batch_first=True)
        with self._precision():
            if (sizes == sizes[0]).all():
                logits, _ = self._model(batch)
                return logits, [logits.shape[1]] * len(inputs)
            with self._norms.over(sizes.tolist()):
                logits, counts = self._model(batch, sizes.to(batch.device))
        return logits, counts.tolist()


def find_pipeline(name: str) -> Any:
    """Return torchaudio's bundle of that name.

    Raises:
        TeacherError: there is none, or it is no recogniser; lists those that are.
        MissingExtra: torchaudio is not installed.
    """
    pipelines = load_torchaudio().pipelines
    known = {key: getattr(pipelines, key) for key in pipelines.__all__}
    # Not its subclass, whose models are for forced alignment.
    usable = {key: value for key, value in known.items() if type(value) is pipelines.Wav2Vec2ASRBundle}
    if name not in usable:
        found = "is no CTC recogniser" if name in known else "is not a pipeline"
        raise TeacherError(f"{name!r} {found} of torchaudio; those that can teach are {', '.join(usable)}")
    return usable[name]


def _fitted(bundle: Any, config: TorchaudioTeacher) -> Any:
    """Return the bundle, adapted to a file with or without the unused outputs of the published weights."""
    path = config.state_dict
    if path is None or not path.is_file():
        raise TeacherError(f"teacher {config.name}: there is no file {path}, which teacher.state_dict names")
    try:
        rows = len(torch.load(path, map_location="cpu", weights_only=True)["aux.bias"])
    except Exception as error:  # as above
        raise _unusable(config, path, error) from error
    return replace(bundle, _remove_aux_axis=()) if rows == len(bundle.get_labels()) else bundle


def _unusable(config: TorchaudioTeacher, path: Path, error: Exception) -> TeacherError:
    return TeacherError(
        f"teacher {config.name}: {path} is damaged, or no state dict of this model ({_reason(error)}); "
        "remove it to have it downloaded, or save the model's state_dict() there"
    )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
