"""What a transformers CTC model is given of an utterance: samples, or features by its own extractor.

S samples, F values per input frame.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.errors import MissingExtra
from kdcompress.frontend.torchaudio_import import load_torchaudio
from kdcompress.runtime.external.files import receptive_field

# Two frames of Kaldi's filterbank (400 + 160 samples): one input of wav2vec2-BERT, and enough for the
# variance that Parakeet's features are divided by.
_SHORTEST_FEATURES = 560  # [samples]


class TransformersInputs:
    """From the samples of one utterance to a model's input.

    Attributes:
        extractor: the model's feature extractor.
        takes_waveforms: whether the model takes samples; else features.
        shortest: the fewest samples that give one frame; what is shorter is extended with zeros.
    """

    def __init__(self, extractor: Any, model: Any) -> None:
        self.extractor = extractor
        self.takes_waveforms = model.main_input_name == "input_values"
        self.shortest = _shortest(model.config) if self.takes_waveforms else _SHORTEST_FEATURES

    def __call__(self, waveform: Tensor, device: torch.device) -> Tensor:
        """Turn one utterance [S], without padding, into the model's input: [S] or features [frames, F]."""
        if not self.takes_waveforms:
            return self._features([waveform], device)[0]
        missing = max(0, self.shortest - len(waveform))
        waveform = waveform.to(device, torch.float32)
        if getattr(self.extractor, "do_normalize", False) and len(waveform):
            # As Wav2Vec2FeatureExtractor does, on the device; zeros that are added later stay zeros.
            waveform = (waveform - waveform.mean()) / (waveform.var(correction=0) + 1e-7).sqrt()
        return torch.nn.functional.pad(waveform, (0, missing))

    def of_batch(self, waveforms: Sequence[Tensor], device: torch.device) -> list[Tensor]:
        """Turn utterances into inputs, features of all together where that does not change them."""
        if self.takes_waveforms or not self._together:
            return [self(waveform, device) for waveform in waveforms]
        return self._features(waveforms, device) if waveforms else []

    @cached_property
    def _together(self) -> bool:
        """Whether the features of an utterance are the same beside another, found out by trial."""
        noise = 0.1 * torch.randn(SAMPLE_RATE, generator=torch.Generator().manual_seed(0))
        waveforms, device = [noise[: SAMPLE_RATE * 6 // 10], noise], torch.device("cpu")
        pairs = zip(self._features(waveforms, device), (self(one, device) for one in waveforms), strict=True)
        return all(x.shape == y.shape and torch.allclose(x, y, atol=1e-4, rtol=1e-4) for x, y in pairs)

    def _features(self, waveforms: Sequence[Tensor], device: torch.device) -> list[Tensor]:
        padded = [
            torch.nn.functional.pad(one.float(), (0, max(0, self.shortest - len(one)))).cpu().numpy()
            for one in waveforms
        ]
        rate = self.extractor.sampling_rate
        found = self.extractor(padded, sampling_rate=rate, return_tensors="pt", padding=True)
        features, mask = found["input_features"].to(device, torch.float32), found.get("attention_mask")
        counts = [features.shape[1]] * len(features) if mask is None else mask.sum(dim=1).tolist()
        return [row[: int(count)] for row, count in zip(features, counts, strict=True)]

    def sizes(self, samples: Tensor) -> Tensor:
        """Return the lengths [B] of the inputs that waveforms of so many samples [B] become."""
        samples = samples.clamp(min=self.shortest)
        if self.takes_waveforms:
            return samples
        if (stride := getattr(self.extractor, "stride", None)) is not None:  # Kaldi's frames, `stride` in one
            return ((samples - 400) // 160 + 1) // int(stride)
        return samples // int(self.extractor.hop_length)


def _shortest(config: Any) -> int:
    # SEW averages `squeeze_factor` frames into one.
    return receptive_field(config.conv_kernel, config.conv_stride, getattr(config, "squeeze_factor", 1))


def output_length_function(model: Any) -> Any:
    """Return what tells the output frames of so many input frames; None where the model does not say."""
    for method in ("_get_feat_extract_output_lengths", "_get_subsampling_output_length"):
        if hasattr(model, method):
            return getattr(model, method)
    return None


def import_transformers() -> Any:
    """Import transformers.

    Raises:
        MissingExtra: it is not installed.
    """
    # It imports torchaudio where it is installed, and fails where that fails.
    with suppress(MissingExtra):
        load_torchaudio()
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("transformers", "train", "a Hugging Face model") from error
    return transformers


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' reports, bars and warnings: standard output belongs to results."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
