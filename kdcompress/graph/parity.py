"""How far a graph is from what it was made of: in numbers, on the same features.

House letters: T feature frames, F mel bands, T' output frames, V vocabulary.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from kdcompress.errors import ExportError
from kdcompress.graph.sound import synthetic_waveform
from kdcompress.graph.trace import TRACED_FRAMES
from kdcompress.runtime.compare import Difference, difference
from kdcompress.runtime.session import Session
from kdcompress.students.student import CtcStudent

FloatArray: TypeAlias = npt.NDArray[np.float32]

# Feature frames: one, less than a second, the traced length, longer. None is a multiple of 2, 4 or 8.
LENGTHS = (1, 45, TRACED_FRAMES, 1021)
# What sherpa-onnx fills a batch up with, after normalisation: a graph must not hear it.
PADDING = -23.025850929940457

# Float sums in another order differ by some 1e-6 of what is summed; log-probabilities reach −40.
ABSOLUTE_TOLERANCE = 1e-3
RELATIVE_TOLERANCE = 1e-4


def check_parity(student: CtcStudent, session: Session, blank: int) -> Difference:
    """Run the student in torch and its graph in onnxruntime, alone and in a padded batch.

    Features are those of rendered sound, cut to LENGTHS; the batch is padded as sherpa-onnx pads.

    Raises:
        ExportError: log-probabilities differ by more than the tolerance, or lengths differ.
        NumericsError: one of them gives NaN or infinity.
    """
    features = _features(student, max(LENGTHS))
    reference = [_in_torch(student, features[:length]) for length in LENGTHS]
    alone = [_in_graph(session, features[None, :length], (length,))[0] for length in LENGTHS]
    batch = np.full((len(LENGTHS), *features.shape), PADDING, np.float32)
    for row, length in zip(batch, LENGTHS, strict=True):
        row[:length] = features[:length]
    together = _in_graph(session, batch, LENGTHS)
    found = difference(reference * 2, alone + together, blank)
    for expected, single, batched, length in zip(reference, alone, together, LENGTHS, strict=True):
        for what, values in (("alone", single), ("in a padded batch", batched)):
            if not np.allclose(values, expected, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE):
                worst = float(np.abs(values - expected).max())
                raise ExportError(
                    f"{length} feature frames {what}: log-probabilities of the graph differ from torch's by "
                    f"up to {worst:.2g}, expected {ABSOLUTE_TOLERANCE:g}; the export is wrong, report it"
                )
    return found


def compare(reference: Session, candidate: Session, features: Sequence[FloatArray], blank: int) -> Difference:
    """Run two graphs on the same features [T, F], one utterance at a time.

    Raises:
        NumericsError: one of them gives NaN or infinity.
    """
    old, new = (
        [_in_graph(session, array[None], (len(array),))[0] for array in features]
        for session in (reference, candidate)
    )
    return difference(old, new, blank)


def _features(student: CtcStudent, frames: int) -> FloatArray:
    samples = torch.from_numpy(synthetic_waveform(frames / 100 + 0.01))
    features, lengths = student.frontend(samples[None], torch.tensor([len(samples)]))
    if int(lengths[0]) < frames:
        raise ExportError(f"the front end gave {int(lengths[0])} frames for {len(samples)} samples")
    array: FloatArray = features[0, :frames].numpy()
    return array


@torch.no_grad()
def _in_torch(student: CtcStudent, features: FloatArray) -> FloatArray:
    log_probs, lengths = student.encode(torch.from_numpy(features)[None], torch.tensor([len(features)]))
    array: FloatArray = log_probs[0, : int(lengths[0])].numpy()
    return array


def _in_graph(session: Session, features: FloatArray, lengths: Sequence[int]) -> list[FloatArray]:
    log_probs, encoded = session.run(features, np.array(lengths, np.int64))
    return [row[:length] for row, length in zip(log_probs, encoded, strict=True)]
