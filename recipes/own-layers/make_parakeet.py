"""Write a Parakeet-CTC model of 4 million parameters that half hears already, to train on.

    python recipes/own-layers/make_parakeet.py runs/parakeet-start --audio an4/train.jsonl

It is made of a Conformer of ours, by default the demo's teacher: subsampling, feed-forward modules,
convolutions, attention's maps and the head are taken over. Positions are Parakeet's own, at random, and its
batch norms the nearest to the Conformer's layer norms on the audio, channel by channel. The rest is trained.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdcompress.audio.decode import read_utterance
from kdcompress.audio.manifest import read_utterances
from kdcompress.graph.huggingface import write_tokenizer
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.encoder import ConformerBlock
from kdcompress.students.transformers_inputs import import_transformers, quiet
from kdcompress.students.weights import load_student
from kdcompress.text.vocabulary import Vocabulary

EVERY = 15  # utterances: some fifty of AN4 are enough for means and variances


def main() -> None:
    """Parse, make, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--conformer", type=Path, default=Path(__file__).parent.parent / "demo" / "teacher")
    arguments = parser.parse_args()
    loaded = load_student(arguments.conformer)
    if not isinstance(loaded.model, ConformerStudent):
        parser.error(f"{arguments.conformer} is no Conformer")
    with quiet():
        model = parakeet_like(loaded.model, loaded.vocabulary)
        take_over(model, loaded.model)
        fit_norms(model, loaded.model, arguments.audio)
        model.save_pretrained(arguments.out)
        import_transformers().ParakeetFeatureExtractor().save_pretrained(arguments.out)
    write_tokenizer(arguments.out, loaded.vocabulary)


def parakeet_like(conformer: ConformerStudent, vocabulary: Vocabulary) -> Any:
    """Return a model of the same sizes, of random weights."""
    transformers, config = import_transformers(), conformer.config
    encoder = transformers.ParakeetEncoderConfig(
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=int(config.width * config.feed_forward),
        conv_kernel_size=config.kernel,
        subsampling_factor=conformer.factor,
        subsampling_conv_channels=config.stem_channels,
        num_mel_bins=80,
        layerdrop=0.0,
        scale_input=False,
    )
    torch.manual_seed(0)
    shape = transformers.ParakeetCTCConfig(
        encoder_config=encoder, vocab_size=len(vocabulary), pad_token_id=vocabulary.blank
    )
    return transformers.ParakeetForCTC(shape).eval()


@torch.no_grad()
def take_over(model: Any, conformer: ConformerStudent) -> None:
    """Copy every tensor that both have."""
    stem, front = conformer.encoder.subsampling, model.encoder.subsampling
    spatial: list[Any] = [block[0] for block in stem.convolutions]  # type: ignore[index]
    mixing: list[Any] = [block[1] for block in stem.convolutions]  # type: ignore[index]
    copy(front.layers[0], spatial[0])
    for index in range(1, len(spatial)):
        copy(front.layers[3 * index - 1], spatial[index])
        copy(front.layers[3 * index], mixing[index])
    copy(front.linear, stem.project)
    for block, layer in zip(conformer.encoder.blocks, model.encoder.layers, strict=True):
        assert isinstance(block, ConformerBlock)
        attention, convolution = block.attention, block.convolution
        for which, half in (("1", block.first), ("2", block.second)):
            copy(getattr(layer, f"norm_feed_forward{which}"), half[0])
            copy(getattr(layer, f"feed_forward{which}").linear1, half[1])
            copy(getattr(layer, f"feed_forward{which}").linear2, half[3])
        weights, biases = (
            x.chunk(3) for x in (attention.query_key_value.weight, attention.query_key_value.bias)
        )
        for name, weight, bias in zip("qkv", weights, biases, strict=True):
            projection = getattr(layer.self_attn, f"{name}_proj")
            projection.weight.copy_(weight)
            projection.bias.copy_(bias)
        copy(layer.self_attn.o_proj, attention.out)
        copy(layer.conv.pointwise_conv1, convolution.gate)
        copy(layer.conv.depthwise_conv, convolution.depthwise)
        copy(layer.conv.pointwise_conv2, convolution.out)
        copy(layer.norm_self_att, attention.norm)
        copy(layer.norm_conv, convolution.norm)
        copy(layer.norm_out, block.norm)
    copy(model.ctc_head, conformer.head)


def copy(to: Any, source: Any) -> None:
    """Copy weight and bias, whatever their axes of one."""
    to.weight.copy_(source.weight.reshape(to.weight.shape))
    to.bias.copy_(source.bias)


@torch.no_grad()
def fit_norms(model: Any, conformer: ConformerStudent, audio: Path) -> None:
    """Give each channel of the batch norms the line that is nearest to the layer norm in its place."""
    seen: dict[int, list[tuple[Tensor, Tensor]]] = defaultdict(list)

    def keep(index: int) -> Any:
        def hook(module: nn.Module, given: tuple[Tensor], made: Tensor) -> None:
            seen[index].append((given[0][0], made[0]))

        return hook

    for index, block in enumerate(conformer.encoder.blocks):
        assert isinstance(block, ConformerBlock)
        block.convolution.inner_norm.register_forward_hook(keep(index))
    for utterance in read_utterances(audio)[0][::EVERY]:
        samples = torch.from_numpy(read_utterance(utterance))[None]
        conformer(samples, torch.tensor([samples.shape[1]]))
    for index, layer in enumerate(model.encoder.layers):
        x, y = (torch.cat(frames) for frames in zip(*seen[index], strict=True))
        norm, variance = layer.conv.norm, x.var(dim=0, correction=0)
        norm.running_mean.copy_(x.mean(dim=0))
        norm.running_var.copy_(variance)
        covariance = ((x - x.mean(dim=0)) * (y - y.mean(dim=0))).mean(dim=0)
        norm.weight.copy_(covariance / (variance + norm.eps).sqrt())
        norm.bias.copy_(y.mean(dim=0))


if __name__ == "__main__":
    main()
