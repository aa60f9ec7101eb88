"""The counts of an inspection against plain loops, and the advice that follows from them."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.analysis.advice import advise
from kdcompress.analysis.inspection import Inspection, inspect_teacher
from kdcompress.analysis.inspection_plot import plot_inspection
from kdcompress.audio.decode import read_audio
from kdcompress.config.teacher import CheckpointTeacher
from kdcompress.errors import AudioError, ConfigError
from kdcompress.teachers.open import open_teacher
from kdcompress.text.decode import greedy

BLANK, SIZE, SHIFT = 1, 4, 0.02

paths = st.lists(
    st.lists(st.tuples(st.sampled_from([0, 1, 1, 1, 2, 3]), st.floats(0.3, 0.99)), max_size=24), max_size=4
)


def posteriors(path: list[tuple[int, float]]) -> torch.Tensor:
    """Return float32 [T, V] in which each frame has its best token and how much mass that has."""
    probabilities = torch.empty(len(path), SIZE)
    for frame, (token, mass) in enumerate(path):
        probabilities[frame] = (1 - mass) / (SIZE - 1)
        probabilities[frame, token] = mass
    return probabilities.log()


def seen_of(utterances: list[list[tuple[int, float]]], shift: float = SHIFT) -> Inspection:
    seen = Inspection(shift, SIZE, BLANK)
    for path in utterances:
        seen.add(posteriors(path))
    return seen


def spikes_of(path: list[tuple[int, float]]) -> list[tuple[int, int, int, int]]:
    """Return token, first frame, frame after the last, and most certain frame of each spike."""
    spikes: list[tuple[int, int, int, int]] = []
    frame = 0
    while frame < len(path):
        end = frame
        while end < len(path) and path[end][0] == path[frame][0]:
            end += 1
        if path[frame][0] != BLANK:
            masses = [torch.tensor(mass).log().item() for _, mass in path[frame:end]]
            spikes.append((path[frame][0], frame, end, frame + masses.index(max(masses))))
        frame = end
    return spikes


@given(paths)
def test_counts_are_those_of_plain_loops(utterances: list[list[tuple[int, float]]]) -> None:
    seen = seen_of(utterances)
    frames = [frame for path in utterances for frame in path]
    assert (seen.utterances, seen.frames) == (len(utterances), len(frames))
    assert seen.blanks == sum(token == BLANK for token, _ in frames)
    assert seen.unsure == sum(torch.tensor(mass).log() <= math.log(0.5) for _, mass in frames)
    spikes = [spikes_of(path) for path in utterances]
    assert seen.labels == sum(map(len, spikes))
    widths = [end - start for found in spikes for _, start, end, _ in found]
    assert dict(seen.spike_widths) == {w: widths.count(w) for w in widths}
    apart = [b[3] - a[3] for found in spikes for a, b in pairwise(found)]
    assert dict(seen.distances) == {d: apart.count(d) for d in apart}
    silence = longest = 0
    for path in utterances:
        silence = 0
        for token, _ in path:
            silence = silence + 1 if token == BLANK else 0
            longest = max(longest, silence)
    assert seen.longest_silence == longest


@given(paths, st.integers(0, 8))
def test_selected_frames_are_those_near_a_label(utterances: list[list[tuple[int, float]]], n: int) -> None:
    near = 0
    for path in utterances:
        labels = [t for t, (token, _) in enumerate(path) if token != BLANK]
        near += sum(any(abs(t - label) <= n for label in labels) for t in range(len(path)))
    assert seen_of(utterances).selected[n] == near


@given(paths, st.sampled_from([20, 40, 80]))
def test_collisions_are_peaks_in_one_student_frame(
    utterances: list[list[tuple[int, float]]], shift: int
) -> None:
    shared = too_short = 0
    for path in utterances:
        spikes = spikes_of(path)
        places: list[int] = []
        for *_, peak in spikes:
            place = peak * 20 // shift
            shared += place in places
            places.append(place)
        repeats = sum(a[0] == b[0] for a, b in pairwise(spikes))
        too_short += len(spikes) + repeats > math.ceil(len(path) * 20 / shift)
    seen = seen_of(utterances)
    assert seen.shared[shift] == shared
    assert seen.too_short[shift] == too_short


def test_only_multiples_of_the_teachers_shift_are_considered() -> None:
    assert [Inspection(shift, SIZE, BLANK).student_shifts for shift in (0.02, 0.04, 0.08, 0.03)] == [
        [20, 40, 80],
        [40, 80],
        [80],
        [],
    ]


def test_sizes_are_bytes_of_fp16() -> None:
    """V = 32 at 20 ms: 64 bytes of each of 180 000 frames an hour, and a bit to say that it is there."""
    seen = Inspection(0.02, 32, 0)
    seen.add(torch.randn(50, 32).log_softmax(-1))
    assert seen.mb_per_hour(4)["all"] == pytest.approx(11.52 + 180_000 / 8 / 1e6)
    assert seen.mb_per_hour(4)["all top-16"] == pytest.approx((16 * 3 + 2 + 1 / 8) * 0.18)


def spaced(distance: int, labels: int = 40) -> list[tuple[int, float]]:
    """Return a path with a label every so many frames, never the same one twice in a row."""
    frames = range(distance * labels)
    return [(2 + t // distance % 2 if t % distance == 0 else BLANK, 0.9) for t in frames]


def test_advice_follows_the_counts() -> None:
    sparse = advise(seen_of([spaced(12)]))  # 240 ms between labels: every student frame has its own
    assert sparse.frame_shift_ms == 80
    assert sparse.n_ms == 120  # 6 frames on each side meet
    dense = advise(seen_of([spaced(3)]))
    assert dense.frame_shift_ms == 40
    assert dense.n_ms == 80  # never below
    far = advise(seen_of([spaced(50)]))
    assert far.n_frames == 8
    assert (dense.frames, dense.top_k) == ("all", None)
    many = Inspection(0.02, 1024, 0)
    many.add(torch.randn(30, 1024).log_softmax(-1))
    assert advise(many).top_k == 16


def test_silence_alone_is_no_error(tmp_path: Path, ink: Callable[[Path], float]) -> None:
    seen = seen_of([[(BLANK, 0.99)] * 10, []])
    advice = advise(seen)
    assert seen.to_json()["longest_silence_seconds"] == pytest.approx(0.2)
    plot_inspection(seen, advice, "nobody", tmp_path / "plot.png")
    full = seen_of([spaced(3), spaced(12)])
    plot_inspection(full, advise(full), "nobody", tmp_path / "full.png")
    assert 0.01 < ink(tmp_path / "plot.png") < ink(tmp_path / "full.png") < 0.8
    with pytest.raises(ConfigError, match="cannot write the plot"):
        plot_inspection(seen, advice, "nobody", tmp_path / "nowhere" / "plot.png")


def test_a_sample_is_heard_and_no_more(teacher_folder: Path, audio_folder: Path, tmp_path: Path) -> None:
    teacher = open_teacher(CheckpointTeacher(path=teacher_folder))
    heard: list[tuple[int, int]] = []
    seen = inspect_teacher(teacher, audio_folder, 5.0, lambda done, total: heard.append((done, total)))
    assert 3.0 < seen.frames * seen.frame_shift < 5.5
    assert heard[-1] == (seen.utterances, seen.utterances)
    everything = inspect_teacher(teacher, audio_folder, 600.0)
    assert everything.utterances == 20
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(AudioError, match="no file is readable"):
        inspect_teacher(teacher, tmp_path, 5.0)


def test_transcripts_are_shown_with_the_confidence_of_their_tokens(
    teacher_folder: Path, audio_folder: Path
) -> None:
    teacher = open_teacher(CheckpointTeacher(path=teacher_folder))
    seen = inspect_teacher(teacher, audio_folder, 600)
    assert len(seen.samples) == 3
    files = {path.stem: path for path in audio_folder.iterdir()}
    for sample in seen.samples:
        waveform = torch.from_numpy(read_audio(files[sample.id]))[None]
        found = teacher.posteriors(waveform, torch.tensor([waveform.shape[1]]))
        rows = found.log_probs[0, : int(found.lengths[0])]
        assert sample.text == greedy(rows.numpy(), teacher.vocabulary).text(teacher.vocabulary)
        masses, best = rows.exp().max(-1)
        labels = [float(m) for m, b in zip(masses, best, strict=True) if b != teacher.vocabulary.blank]
        assert sample.confidence == pytest.approx(
            sum(labels) / len(labels) if labels else float(masses.mean())
        )
    assert [s["text"] for s in seen.to_json()["samples"]] == [s.text for s in seen.samples]


@pytest.mark.parametrize(("unsure", "warned"), [(0, False), (3, False), (4, True), (9, True)])
def test_a_teacher_out_of_its_domain_is_warned_of(unsure: int, warned: bool) -> None:
    seen = seen_of([[(2, 0.9), (1, 0.9)] * 50])
    seen.unsure = unsure
    assert ("may be unlike what it was trained on" in advise(seen).warning) == warned
