"""What a cache keeps of a frame, and what comes back, against the posteriors themselves."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kdcompress.distill.objective.frame_targets import best_and_rest, blank_occupancy
from kdcompress.distill.objective.losses import kl_divergence
from kdcompress.distill.posteriors.packing import bytes_per_frame, pack, unpack

BLANK = 3
UNIT = 2.0**-11  # what rounding to fp16 changes, relatively


@st.composite
def posteriors(draw: st.DrawFn, size: int = 9) -> Tensor:
    """Return float32 [T, V]: flat, sharp and saturated frames, near ties among them."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    frames = draw(st.integers(0, 12))
    sharpness = torch.tensor([0.0, 1e-5, 1e-3, 1.0, 6.0, 40.0])
    chosen = sharpness[torch.randint(len(sharpness), (frames, 1), generator=generator)]
    logits = chosen * torch.randn(frames, size, generator=generator)
    made = (logits + 1e-6 * torch.randn(frames, size, generator=generator)).log_softmax(-1)
    first, second = made.topk(2, dim=-1).values.unbind(-1)
    return made[first > second]  # equal in fp32, neither is the label by right


def chosen_frames(log_probs: Tensor, seed: int) -> Tensor:
    """Return bool [T]: every label frame, as in each selection that a cache can keep, and some others."""
    extra = torch.rand(len(log_probs), generator=torch.Generator().manual_seed(seed)) < 0.3
    return (log_probs.argmax(-1) != BLANK) | extra


@given(posteriors(), st.integers(0, 9), st.sampled_from([None, 2, 4, 8, 9]))
def test_labels_and_blank_mass_come_back(log_probs: Tensor, seed: int, top_k: int | None) -> None:
    kept = chosen_frames(log_probs, seed)
    back = unpack(pack(log_probs, kept, BLANK, top_k), 9, BLANK)
    assert back.dtype == torch.float32
    assert torch.equal(back.argmax(-1), log_probs.argmax(-1))
    torch.testing.assert_close(back.logsumexp(-1), torch.zeros(len(back)), atol=UNIT, rtol=0)
    before, after = blank_occupancy(log_probs, BLANK), blank_occupancy(back, BLANK)
    torch.testing.assert_close(after, before, rtol=4 * UNIT, atol=4 * UNIT)


@given(posteriors(), st.integers(2, 8))
def test_the_best_tokens_and_the_rest_come_back(log_probs: Tensor, top_k: int) -> None:
    everything = torch.ones(len(log_probs), dtype=torch.bool)
    back = unpack(pack(log_probs, everything, BLANK, top_k), 9, BLANK)
    tokens, best, rest = best_and_rest(log_probs, BLANK, top_k)
    assert (tokens[:, 0] == BLANK).all()
    torch.testing.assert_close(back.gather(1, tokens), best, rtol=4 * UNIT, atol=4 * UNIT)
    _, _, rest_back = best_and_rest(back, BLANK, top_k)
    torch.testing.assert_close(rest_back, rest, rtol=4 * UNIT, atol=4 * UNIT)


@given(posteriors(), st.integers(0, 99))
def test_rounding_moves_the_divergence_less_than_its_bound(log_probs: Tensor, seed: int) -> None:
    """|ΔKL| ≤ u·Σ q·(|log q| + H(q))·|log q − log p| with u = 2^-11, to first order."""
    everything = torch.ones(len(log_probs), dtype=torch.bool)
    back = unpack(pack(log_probs, everything, BLANK, None), 9, BLANK).double()
    q = log_probs.double().log_softmax(-1)
    generator = torch.Generator().manual_seed(seed)
    p = (q + torch.randn(q.shape, generator=generator, dtype=torch.float64)).log_softmax(-1)
    entropy = -(q.exp() * q).sum(-1, keepdim=True)
    for row in range(len(q)):
        moved = abs(float(kl_divergence(back[row], p[row]) - kl_divergence(q[row], p[row])))
        bound = UNIT * float((q[row].exp() * (q[row].abs() + entropy[row]) * (q[row] - p[row]).abs()).sum())
        assert moved <= 1.1 * bound + 1e-6


def test_a_near_tie_keeps_its_winner() -> None:
    """Both round to one fp16 number, and the first of equals would win."""
    log_probs = torch.tensor([[-0.7000, -0.69995, -7.0]]).log_softmax(-1)
    assert len(set(log_probs.half()[0, :2].tolist())) == 1
    back = unpack(pack(log_probs, torch.tensor([True]), 2, None), 3, 2)
    assert back.argmax(-1).tolist() == [1]


def test_certain_and_impossible_tokens_survive() -> None:
    log_probs = torch.full((1, 5), -1e6)
    log_probs[0, 1] = 0.0
    for top_k in (None, 2):
        back = unpack(pack(log_probs, torch.tensor([True]), 0, top_k), 5, 0)
        assert torch.isfinite(back).all()
        assert float(back[0, 1]) == pytest.approx(0)


@pytest.mark.parametrize(("size", "top_k"), [(32, None), (32, 16), (256, 4), (300, 4), (1024, 16), (8, 16)])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_bytes_are_those_of_the_arrays(size: int, top_k: int | None, share: float) -> None:
    frames = 800
    kept = torch.arange(frames) < share * frames
    arrays = pack(torch.randn(frames, size).log_softmax(-1), kept, 0, top_k)
    arrays["kept"] = np.packbits(arrays["kept"])
    assert sum(a.nbytes for a in arrays.values()) == frames * bytes_per_frame(size, top_k, share)
