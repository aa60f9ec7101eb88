"""How far a graph is from what it was made of: in numbers, on the same features.

House letters: T feature frames, F mel bands, T' output frames, V vocabulary.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kdcompress.aliases import FloatArray
from kdcompress.errors import ExportError
from kdcompress.frontend.logmel_numpy import HOP
from kdcompress.runtime.compare import Difference, difference
from kdcompress.runtime.layout import hops
from kdcompress.runtime.session import Session
from kdcompress.runtime.streaming.graph import runner
from kdcompress.students.student import Student
from kdcompress.students.view import ExportView
from kdcompress.verify.sound import synthetic_waveform

# Input frames of 10 ms: one, less than a second, some seconds, longer. None is a multiple of 2, 4 or 8.
LENGTHS = (1, 45, 203, 1021)
THOROUGH = (10, 6001)  # 0.1 s and a minute
# What sherpa-onnx fills a batch up with, after normalisation: it must not change the output.
PADDING = -23.025850929940457

# Float sums in another order differ by some 1e-6 of what is summed; log-probabilities reach −40.
ABSOLUTE_TOLERANCE = 1e-3
RELATIVE_TOLERANCE = 1e-4
# A student without norms may answer a recording of one frame, of which training had none, with
# log-probabilities of −700 or −7000: float sums of that size differ by more, in torch itself too.
RUNAWAY, RUNAWAY_TOLERANCE = 100.0, 1e-3
# Two Fourier transforms in float32 differ in bands that are 100 dB below the others, which the log shows.
WAVEFORM_TOLERANCE = 5e-3


def check_parity(
    student: Student, view: ExportView, session: Session, blank: int, lengths: Sequence[int] = LENGTHS
) -> Difference:
    """Run the student in torch and its graph in onnxruntime, alone and in a padded batch.

    Features are those of rendered sound, cut to `lengths`, and the batch is padded as sherpa-onnx pads. A
    graph that takes waveforms is given the sound itself, 77 samples longer, and zeros behind.

    A graph that takes chunks is given them one after the other, and held against the masked pass over all.

    Args:
        view: what of the student the graph was made of.

    Raises:
        ExportError: log-probabilities differ by more than the tolerance, or lengths differ.
        NumericsError: one of them gives NaN or infinity.
    """
    waveforms = session.layout.takes_waveforms and view.whole is None
    if waveforms:
        lengths = [length for length in lengths if length >= view.shortest]
        inputs, reference = _waveforms(student, lengths)
    else:
        inputs, reference = _features(student, view, lengths)
    alone = [_in_graph(session, frames[None], (len(frames),))[0] for frames in inputs]
    longest = max(len(frames) for frames in inputs)
    sound = session.layout.takes_waveforms
    padding, tolerance = (0.0, WAVEFORM_TOLERANCE) if sound else (PADDING, ABSOLUTE_TOLERANCE)
    batch = np.full((len(inputs), longest, inputs[0].shape[1]), padding, np.float32)
    for row, frames in zip(batch, inputs, strict=True):
        row[: len(frames)] = frames
    together = _in_graph(session, batch, [len(frames) for frames in inputs])
    if waveforms:
        alone, together = (
            [_counted(*pair) for pair in zip(x, reference, strict=True)] for x in (alone, together)
        )
    found = difference(reference * 2, alone + together, blank)
    for expected, single, batched, length in zip(reference, alone, together, lengths, strict=True):
        for what, values in (("alone", single), ("in a padded batch", batched)):
            if not (np.abs(values - expected) <= allowed(expected, tolerance)).all():  # NaN is never within
                worst = float(np.abs(values - expected).max())
                raise ExportError(
                    f"{length} feature frames {what}: log-probabilities of the graph differ from torch's by "
                    f"up to {worst:.2g}, expected {tolerance:g}; the export is wrong, report it"
                )
    return found


def allowed(expected: FloatArray, tolerance: float) -> FloatArray:
    """Return by how much each of the log-probabilities [T, V] may differ in the graph."""
    largest = np.abs(expected).max(axis=-1, keepdims=True)
    found: FloatArray = np.where(
        largest > RUNAWAY, RUNAWAY_TOLERANCE * largest, tolerance + RELATIVE_TOLERANCE * np.abs(expected)
    )
    return found


def _features(
    student: Student, view: ExportView, wanted: Sequence[int]
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Return features [T, F] of each length, and what torch makes of them."""
    sound = torch.from_numpy(synthetic_waveform(max(wanted) / 100 + 0.01))
    features = view.prepare(sound)
    if len(features) < max(wanted):
        raise ExportError(f"the front end gave {len(features)} frames for {len(sound)} samples")
    with torch.no_grad():
        whole, _ = student(sound[None], torch.tensor([len(sound)]))
        same_features = not view.layout.takes_waveforms
        if same_features and not torch.allclose(
            _in_torch(view, features), whole[0], atol=ABSOLUTE_TOLERANCE, equal_nan=True
        ):
            raise ExportError("the student's export_view does not compute what its forward does")
        inputs = [features[:length] for length in wanted]
        return [x.numpy() for x in inputs], [_in_torch(view, x).numpy() for x in inputs]


def _in_torch(view: ExportView, features: Tensor) -> Tensor:
    if view.whole is not None:
        return view.whole(features)
    frames = features[None] if view.layout.time_axis == 1 else features[None].transpose(1, 2)
    log_probs: Tensor = view.module(frames, torch.tensor([len(features)]))[0]
    return log_probs[0]


def _waveforms(student: Student, wanted: Sequence[int]) -> tuple[list[FloatArray], list[FloatArray]]:
    """Return hops [T, 160] of waveforms of each length, and what torch makes of these."""
    sound = synthetic_waveform(max(wanted) / 100 + 0.01)
    inputs = [sound[-(length * HOP + 77) :] for length in wanted]
    with torch.no_grad():
        answers = [student(torch.from_numpy(x)[None], torch.tensor([len(x)]))[0][0].numpy() for x in inputs]
    return [hops(x) for x in inputs], answers


def _counted(found: FloatArray, expected: FloatArray) -> FloatArray:
    """Return the frames that count: a begun hop may begin one more, which must be a sure blank."""
    if (found[len(expected) :].max(axis=1, initial=-np.inf) < 0).any() or len(found) > len(expected) + 1:
        raise ExportError(f"the graph gave {len(found)} frames where torch gave {len(expected)}")
    return found[: len(expected)]


def _in_graph(session: Session, features: FloatArray, lengths: Sequence[int]) -> list[FloatArray]:
    log_probs, encoded = runner(session).run(features, np.array(lengths, np.int64))
    return [row[:length] for row, length in zip(log_probs, encoded, strict=True)]
