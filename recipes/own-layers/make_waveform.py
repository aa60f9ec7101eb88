"""Train a small wav2vec2 and a HuBERT that hear, on the hidden states of a Conformer that does.

    python recipes/own-layers/make_waveform.py hub --audio an4/train.jsonl

An hour of speech is little for a transformer over waveforms, so it learns from what each layer of a
Conformer says of each frame, not from posteriors alone: the first convolution begins as a filter bank, the
feed-forward modules and the head as its own, and layers are trained towards the Conformer's, as is the
output. No transcript is read. Convolutions take no padding: frame j is in the middle of its j + 2.

hub/wav2vec2 has layer norms in its waveform encoder. hub/hubert has a group norm over time behind the first
convolution and no other, and begins as the wav2vec2: each convolution gets the line, channel by channel, that
is nearest to the layer norm which it must do without.
"""

import argparse
import math
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kdcompress.audio.decode import read_utterance
from kdcompress.audio.manifest import read_utterances
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.graph.huggingface import write_tokenizer
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.encoder import ConformerBlock
from kdcompress.students.transformers_inputs import import_transformers, quiet
from kdcompress.students.weights import load_student
from kdcompress.text.vocabulary import Vocabulary

KERNELS, STRIDES, CHANNELS = (400, 5, 3, 3), (160, 2, 1, 2), (320, 224, 224, 224)
SHIFT, FIELD, LATE = 640, 2320, 2  # [samples], [samples], [frames]
BATCH_SECONDS = 12
TAUGHT = {2: 1, 4: 3, 6: 5}  # hidden states behind so many layers: behind which of the Conformer's


@dataclass(frozen=True)
class Taught:
    """An utterance, and what the Conformer says of it.

    Attributes:
        samples: [S], of mean 0 and variance 1.
        hidden: [1 + 3, T, D], the last layer's first.
        log_probs: [T, V].
    """

    samples: Tensor
    hidden: Tensor
    log_probs: Tensor


def main() -> None:
    """Parse, train, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--conformer", type=Path, default=Path(__file__).parent.parent / "demo" / "teacher")
    parser.add_argument("--steps", type=int, nargs=2, default=(1500, 500), help="of each")
    parser.add_argument("--peak-lr", type=float, default=2e-3)
    asked = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    loaded = load_student(asked.conformer)
    conformer = loaded.model
    if not isinstance(conformer, ConformerStudent):
        parser.error(f"{asked.conformer} is no Conformer")
    sounds = [torch.from_numpy(read_utterance(x)) for x in read_utterances(asked.audio)[0]]
    taught = [listen(conformer, sound) for sound in sounds if len(sound) >= FIELD + SHIFT]
    some = [x.samples for x in taught[::20]]
    before: Any = conformer
    for family, steps in zip(("wav2vec2", "hubert"), asked.steps, strict=True):
        with quiet():
            model = build(family, conformer, loaded.vocabulary)
            (begin if before is conformer else begin_as)(model, before, some)
            train(model, taught, steps, asked.peak_lr)
            model.save_pretrained(asked.out / family)
            extractor = import_transformers().Wav2Vec2FeatureExtractor(do_normalize=True)
            extractor.save_pretrained(asked.out / family)
        write_tokenizer(asked.out / family, loaded.vocabulary)
        before = model


@torch.no_grad()
def listen(conformer: ConformerStudent, samples: Tensor) -> Taught:
    """Run the Conformer on an utterance."""
    features, lengths = conformer.features(samples[None], torch.tensor([len(samples)]))
    x, lengths = conformer.encoder.subsampling(features, lengths)
    valid, angles = torch.ones(x.shape[:2], dtype=torch.bool), conformer.encoder.rotary(x.shape[1])
    hidden = []
    for block in conformer.encoder.blocks:
        x = block(x, valid, *angles)
        hidden.append(x)
    log_probs = conformer.head(x).log_softmax(dim=-1)[0]
    kept = torch.cat([x, *(hidden[index] for index in TAUGHT.values())])
    frames = (len(samples) - FIELD) // SHIFT + 1
    window = slice(LATE, LATE + frames)
    normal = (samples - samples.mean()) / (samples.var(correction=0) + 1e-7).sqrt()
    return Taught(normal.half(), kept[:, window].half(), log_probs[window].half())


def build(family: str, conformer: ConformerStudent, vocabulary: Vocabulary) -> Any:
    """Return a model of random weights, as wide and deep as the Conformer."""
    transformers, shape = import_transformers(), conformer.config
    kind = "Hubert" if family == "hubert" else "Wav2Vec2"
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(vocabulary),
        pad_token_id=vocabulary.blank,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=int(shape.width * shape.feed_forward),
        hidden_act="silu",
        conv_dim=CHANNELS,
        conv_kernel=KERNELS,
        conv_stride=STRIDES,
        conv_bias=True,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm="group" if family == "hubert" else "layer",
        do_stable_layer_norm=True,
        apply_spec_augment=False,
        **{f"{part}_dropout": 0.0 for part in ("hidden", "attention", "activation", "feat_proj", "final")},
        layerdrop=0.0,
        attn_implementation="eager",  # in bfloat16 the fused one is slower on a CPU
    )
    return getattr(transformers, f"{kind}ForCTC")(config).eval()


@torch.no_grad()
def begin(model: Any, conformer: ConformerStudent, some: list[Tensor]) -> None:
    """Make the first convolution a filter bank, and copy what the Conformer has."""
    first = model.base_model.feature_extractor.conv_layers[0]
    first.conv.weight.copy_(filter_bank(CHANNELS[0], KERNELS[0])[:, None])
    first.conv.bias.zero_()
    if hasattr(first.layer_norm, "normalized_shape"):  # bands of equal scale behind a norm over all of them
        made = torch.cat(
            [first.layer_norm(first.conv(x.float()[None, None]).transpose(1, 2))[0] for x in some]
        )
        first.layer_norm.weight.copy_(1.5 / made.square().mean(dim=0).sqrt())
    for block, layer in zip(conformer.encoder.blocks, model.base_model.encoder.layers, strict=True):
        assert isinstance(block, ConformerBlock)
        half = block.second
        pairs = [
            (layer.final_layer_norm, half[0]),
            (layer.feed_forward.intermediate_dense, half[1]),
            (layer.feed_forward.output_dense, half[3]),
            (layer.layer_norm, block.attention.norm),
            (layer.attention.out_proj, block.attention.out),
        ]
        for to, source in pairs:
            to.load_state_dict(source.state_dict())
        weights = block.attention.query_key_value.weight.chunk(3)
        for projection, weight in zip("qkv", weights, strict=True):
            getattr(layer.attention, f"{projection}_proj").weight.copy_(weight)
    model.base_model.encoder.layer_norm.load_state_dict(conformer.encoder.blocks[-1].norm.state_dict())
    model.lm_head.load_state_dict(conformer.head.state_dict())


def filter_bank(channels: int, size: int) -> Tensor:
    """Return filters [C, size] of mel bands: cosine and sine, each with both signs, for want of squares."""
    mel, bands = 2595 * math.log10(1 + 80 / 700), channels // 4
    top = 2595 * math.log10(1 + 7600 / 700)
    edges = [700 * (10 ** ((mel + (top - mel) * i / (bands + 1)) / 2595) - 1) for i in range(bands + 2)]
    at = torch.arange(size) - (size - 1) / 2
    found = []
    for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False):
        width = min(float(size), 4 * SAMPLE_RATE / (high - low))
        window = torch.where(at.abs() < width / 2, torch.cos(math.pi * at / width) ** 2, 0.0)
        for phase in (0.0, math.pi / 2):
            filtered = window * torch.cos(2 * math.pi * centre * at / SAMPLE_RATE + phase)
            filtered = filtered / filtered.norm()
            found += [filtered, -filtered]
    return torch.stack(found)


@torch.no_grad()
def begin_as(model: Any, other: Any, some: list[Tensor]) -> None:
    """Take over a wav2vec2, and make up for the norms that are not there."""
    weights = {name.replace("wav2vec2.", "hubert.", 1): x for name, x in other.state_dict().items()}
    model.load_state_dict(weights, strict=False)
    ours, theirs = (x.base_model.feature_extractor.conv_layers for x in (model, other))
    wanted = [x.float()[None, None] for x in some]
    given = list(wanted)
    for layer, their in zip(ours, theirs, strict=True):
        goals = [their.layer_norm(their.conv(x).transpose(1, 2)).transpose(1, 2) for x in wanted]
        wanted = [functional.gelu(x) for x in goals]
        normed = hasattr(layer, "layer_norm")
        made = [layer.layer_norm(layer.conv(x)) if normed else layer.conv(x) for x in given]
        x, y = torch.cat(made, dim=2)[0], torch.cat(goals, dim=2)[0]
        centred = x - x.mean(dim=1, keepdim=True)
        slope = (centred * y).sum(dim=1) / centred.square().sum(dim=1)
        offset = y.mean(dim=1) - slope * x.mean(dim=1)
        to = layer.layer_norm if normed else layer.conv
        to.weight.mul_(slope.reshape(-1, *(1,) * (to.weight.ndim - 1)))
        to.bias.mul_(slope).add_(offset)
        given = [functional.gelu(slope[:, None] * x + offset[:, None]) for x in made]


def train(model: Any, taught: list[Taught], steps: int, peak_lr: float) -> None:
    """Train on hidden states and posteriors, in bfloat16 where products are concerned."""
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=peak_lr, betas=(0.9, 0.98), weight_decay=1e-2, fused=True
    )
    warm = steps // 10
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda n: min((n + 1) / warm, 0.5 * (1 + math.cos(math.pi * max(0, n - warm) / (steps - warm)))),
    )
    draw, begun, sums = random.Random(0), time.process_time(), [0.0, 0.0]
    order: list[list[int]] = []
    for step in range(1, steps + 1):
        if not order:
            order = batches(taught, draw)
        rows = [taught[index] for index in order.pop()]
        samples = torch.stack([x.samples[: min(len(y.samples) for y in rows)] for x in rows]).float()
        with torch.autocast("cpu", torch.bfloat16):
            found = model(samples, output_hidden_states=True)
        frames = min(found.logits.shape[1], *(len(x.log_probs) for x in rows))
        log_probs = torch.stack([x.log_probs[:frames] for x in rows]).float()
        hidden = torch.stack([x.hidden[:, :frames] for x in rows], dim=1).float()
        states = [found.hidden_states[-1], *(found.hidden_states[index] for index in TAUGHT)]
        width = hidden.shape[-1:]
        far = sum(
            functional.mse_loss(
                functional.layer_norm(mine[:, :frames].float(), width), functional.layer_norm(their, width)
            )
            for mine, their in zip(states, hidden, strict=True)
        )
        said = found.logits[:, :frames].float().log_softmax(dim=-1)
        kl = (log_probs.exp() * (log_probs - said)).sum(dim=-1).mean()
        optimizer.zero_grad()
        (kl + far).backward()  # type: ignore[operator]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        sums = [sums[0] + kl.item(), sums[1] + float(far)]
        if step % 50 == 0:
            spent = time.process_time() - begun
            told = f"{step}: KL {sums[0] / 50:.4f}, hidden {sums[1] / 50:.4f}, {spent:.0f} s\n"
            sys.stderr.write(told)
            sums = [0.0, 0.0]
    model.eval()


def batches(taught: list[Taught], draw: random.Random) -> list[list[int]]:
    """Return utterances of like length together, in a new order."""
    order = sorted(range(len(taught)), key=lambda i: len(taught[i].samples) * draw.uniform(0.97, 1.03))
    made: list[list[int]] = [[]]
    for index in order:
        if (len(made[-1]) + 1) * len(taught[index].samples) > BATCH_SECONDS * SAMPLE_RATE and made[-1]:
            made.append([])
        made[-1].append(index)
    draw.shuffle(made)
    return made


if __name__ == "__main__":
    main()
