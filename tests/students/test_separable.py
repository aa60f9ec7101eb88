"""A reduced student begins near the one that it is made of; the same size begins as it."""

from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor

from kdcompress.config.student import SeparableConfig
from kdcompress.errors import AudioError, ConfigError
from kdcompress.graph.write import export_run
from kdcompress.students.separable import SeparableStudent
from kdcompress.students.weights import save_student
from kdcompress.text.vocabulary import Vocabulary

SHAPE = {
    "width": 12,
    "kernel": 3,
    "dilations": (1, 2),
    "gate": 6,
    "heads": 2,
    "attention_layers": 1,
    "feed_forward": 10,
    "frame_shift_ms": 20,
    "normalize": "per_feature",
}
THIN = {"rank": 4, "attention_rank": 4, "edge_rank": 4, "gate": 3, "feed_forward": 5}


def student(**changes: object) -> SeparableStudent:
    torch.manual_seed(0)
    return SeparableStudent(SeparableConfig(**{**SHAPE, **changes}), 5).eval()  # type: ignore[arg-type]


def sounds(count: int, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(8_000 + 900 * index, generator=generator).cumsum(0) / 50 for index in range(count)]


@torch.no_grad()
def distance(one: SeparableStudent, other: SeparableStudent) -> float:
    """Return the KL of the other's outputs from those of the one on sounds that neither was fitted to."""
    total = 0.0
    for sound in sounds(4, seed=2):
        p, q = (model(sound[None], torch.tensor([len(sound)]))[0] for model in (one, other))
        total += float((p.exp() * (p - q)).sum(-1).mean())
    return total / 4


@torch.no_grad()
def rank_of_two(wide: SeparableStudent) -> None:
    """Let each matrix have rank 2, as far as it is to be thin, and each unit after the first few be idle."""
    for name, weight in wide.named_parameters():
        if name.endswith(("pointwise.weight", "query_key_value.weight", "out.weight", "head.weight")):
            u, s, v = torch.linalg.svd(weight, full_matrices=False)
            weight.copy_(3 * u[:, :2] * s[:2] @ v[:2])
        elif name.endswith(("excite.weight", "shrink.weight")):
            weight[:, 3:] = 0
    u, s, v = torch.linalg.svd(wide.stem.weight.flatten(1), full_matrices=False)
    wide.stem.weight.copy_((3 * u[:, :2] * s[:2] @ v[:2]).view_as(wide.stem.weight))


def test_what_has_a_low_rank_keeps_its_outputs() -> None:
    wide, thin, drawn = student(), student(**THIN), student(**THIN)
    rank_of_two(wide)
    assert thin.parameter_count() < wide.parameter_count() / 2
    seen: list[tuple[int, int]] = []
    thin.start_from(wide, sounds(24), lambda done, of: seen.append((int(done), int(of))))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert distance(wide, thin) < 0.02 * distance(wide, drawn)


def test_larger_ranks_are_nearer() -> None:
    wide = student()
    found = []
    for rank in (1, 4, 11):
        thin = student(rank=rank, attention_rank=rank, edge_rank=rank)
        thin.start_from(wide, sounds(24))
        found.append(distance(wide, thin))
    assert found == sorted(found, reverse=True)


def test_the_same_shape_begins_as_the_other_and_what_does_not_fit_is_refused() -> None:
    wide, same = student(), student(dropout=0.1)
    torch.nn.init.zeros_(same.head.weight)  # type: ignore[arg-type]
    same.start_from(wide, [])
    assert distance(wide, same) == 0
    with pytest.raises(AudioError, match="no audio"):
        student(rank=2).start_from(wide, [])
    with pytest.raises(ConfigError, match=r"only rank, .* may be other"):
        student(width=16).start_from(wide, [])
    with pytest.raises(ConfigError, match="rank is 2 there and 3 here: it cannot grow"):
        student(rank=3).start_from(student(rank=2), [])
    with pytest.raises(ValueError, match="kernel 4 must be odd"):
        student(kernel=4)


@pytest.mark.slow
def test_its_graph_is_right_and_its_output_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    """Export compares graph and torch, alone and in a padded batch."""
    thin = student(**THIN, normalize="none")
    save_student(tmp_path / "run", thin, Vocabulary(("<blk>", "|", "a", "b", "c"), 0, "|"), {})
    export_run(tmp_path / "run", tmp_path / "bundle")
    inputs = onnxruntime.InferenceSession(tmp_path / "bundle" / "model.onnx").get_inputs()
    assert [one.name for one in inputs] == ["audio_signal", "length"]
    one, two = sounds(2)
    batch = torch.zeros(2, len(two))
    batch[0, : len(one)], batch[1] = one, two
    with torch.no_grad():
        together, lengths = thin(batch, torch.tensor([len(one), len(two)]))
        alone, _ = thin(one[None], torch.tensor([len(one)]))
    torch.testing.assert_close(together[0, : int(lengths[0])], alone[0], atol=1e-5, rtol=1e-4)
