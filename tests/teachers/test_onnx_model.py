"""ONNX teachers: the same weights as a checkpoint, as its bundle, in NeMo's layout, and from transformers."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tiny_transformers import LETTERS, audio, padded

from kdcompress.config.teacher import OnnxTeacher
from kdcompress.errors import KdcompressError, TeacherError
from kdcompress.teachers.batch_invariance import BatchPolicy
from kdcompress.teachers.onnx_model import GraphTeacher
from kdcompress.teachers.open import open_teacher, resolve_teacher

Saved = Callable[[str], Path]
SAMPLES = (16000, 7000, 11111)
BATCH = [audio(samples, seed) for seed, samples in enumerate(SAMPLES)]


def nemo(bundle: Path, folder: Path) -> Path:
    """Return a folder with no more than a graph and its tokens."""
    folder.mkdir()
    for name in ("model.onnx", "tokens.txt"):
        shutil.copy(bundle / name, folder / name)
    return folder


class Logits(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_values: torch.Tensor) -> Any:
        return self.model(input_values).logits


@pytest.fixture(scope="module")
def waveform_model(saved: Saved, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a folder with a transformers model as `input_values` → `logits`, as optimum writes it."""
    import transformers

    folders: dict[str, Path] = {}

    def export(name: str) -> Path:
        if name in folders:
            return folders[name]
        folder = folders[name] = tmp_path_factory.mktemp(f"onnx-{name}")
        for file in ("config.json", "preprocessor_config.json", "vocab.json", "tokenizer_config.json"):
            shutil.copy(saved(name) / file, folder / file)
        model = transformers.AutoModelForCTC.from_pretrained(saved(name)).eval()
        axes = {"input_values": {0: "b", 1: "s"}, "logits": {0: "b", 1: "t"}}
        names = {"input_names": ["input_values"], "output_names": ["logits"], "dynamic_axes": axes}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the older exporter, sixty times as fast
            torch.onnx.export(
                Logits(model), (torch.randn(2, 16000),), str(folder / "model.onnx"), dynamo=False, **names
            )
        return folder

    return export


def same(first: Any, second: Any, atol: float) -> None:
    found, expected = (teacher.posteriors(*padded(BATCH)) for teacher in (first, second))
    assert torch.equal(found.lengths, expected.lengths)
    torch.testing.assert_close(found.log_probs, expected.log_probs, atol=atol, rtol=0.0)
    assert found.frame_shift == pytest.approx(expected.frame_shift)
    assert expected.log_probs.exp().std(dim=1).max() > 0.01  # the model does listen


def test_a_checkpoint_its_bundle_and_its_bare_graph_are_one(
    tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    checkpoint = open_teacher(resolve_teacher(str(tiny_checkpoint)))
    bundle = open_teacher(resolve_teacher(str(tiny_bundle)))
    bare = open_teacher(resolve_teacher(str(nemo(tiny_bundle, tmp_path / "bare"))))
    same(bundle, checkpoint, 1e-3)
    same(bare, bundle, 0.0)
    assert bundle.vocabulary == checkpoint.vocabulary
    assert bundle.parameters == checkpoint.parameters
    assert bundle.bytes == 4 * bundle.parameters
    # tokens.txt has its own names for the blank and for a space.
    assert bare.vocabulary.tokens == ("▁", "a", "<blk>", "b", "c", "</s>")
    assert (bare.vocabulary.blank, bare.vocabulary.silent) == (2, {5})
    assert bare.vocabulary.word_boundary == "▁"
    assert (
        bare.vocabulary.text([0, 1, 2, 3, 5, 0, 4]) == bundle.vocabulary.text([0, 1, 2, 3, 5, 0, 4]) == "ab c"
    )
    # Counted in the graph, which has constants of its own, and norms whose gains went into the layers behind.
    assert 0.95 * checkpoint.parameters <= bare.parameters <= 1.1 * checkpoint.parameters


@pytest.mark.parametrize("name", ["wav2vec2-layer", "wav2vec2-group"])
def test_a_waveform_graph_is_its_transformers_model(
    saved: Saved, waveform_model: Callable[[str], Path], name: str
) -> None:
    theirs, ours = open_teacher(resolve_teacher(str(saved(name)))), resolve_teacher(str(waveform_model(name)))
    assert isinstance(ours, OnnxTeacher)
    opened = open_teacher(ours)
    same(opened, theirs, 1e-3)
    assert opened.vocabulary == theirs.vocabulary
    assert opened.sample_rate == 16000
    # The exporter keeps what training only needs out of the graph, and the positions' norms apart from it.
    assert 0.9 * theirs.parameters < opened.parameters < 1.1 * theirs.parameters


@pytest.fixture(params=["bundle", "int8", "bare", "waveform"])
def teacher(
    request: pytest.FixtureRequest, tiny_bundle: Path, waveform_model: Callable[[str], Path], tmp_path: Path
) -> GraphTeacher:
    match request.param:
        case "bundle":
            return GraphTeacher.open(OnnxTeacher(path=tiny_bundle))
        case "int8":
            return GraphTeacher.open(OnnxTeacher(path=tiny_bundle, variant="int8-dynamic"))
        case "bare":
            return GraphTeacher.open(OnnxTeacher(path=nemo(tiny_bundle, tmp_path / "bare") / "model.onnx"))
    return GraphTeacher.open(OnnxTeacher(path=waveform_model("wav2vec2-group")))


def test_neither_padding_nor_company_changes_an_utterance(teacher: GraphTeacher) -> None:
    waveforms = [*BATCH, audio(7000, 5)]  # two of one length
    together = teacher.posteriors(*padded(waveforms))
    torch.testing.assert_close(together.log_probs.exp().sum(-1), torch.ones(together.log_probs.shape[:2]))
    hostile = teacher.posteriors(*padded(waveforms, float("nan")))
    assert torch.equal(hostile.log_probs, together.log_probs)
    for row, waveform in enumerate(waveforms):
        alone = teacher.posteriors(*padded([waveform]))
        frames = int(together.lengths[row])
        assert alone.lengths.tolist() == [frames]
        torch.testing.assert_close(
            alone.log_probs[0, :frames], together.log_probs[row, :frames], atol=1e-4, rtol=0.0
        )
    assert not together.log_probs.requires_grad
    torch.zeros_like(together.log_probs, requires_grad=True).mul(together.log_probs).sum().backward()


def test_short_empty_and_silent_audio(teacher: GraphTeacher) -> None:
    waveforms = [audio(8000), torch.empty(0), audio(1), audio(170), torch.zeros(8000)]
    found = teacher.posteriors(*padded(waveforms))
    frames = found.lengths.tolist()
    # A feature frame takes 160 samples; the waveform model gets zeros up to its first frame.
    assert frames[1:4] == ([0, 1, 1] if teacher.frame_shift == 0.02 else [0, 0, 1])
    assert frames[0] == frames[4] > 1
    assert found.log_probs.isfinite().all()


def test_what_may_share_a_run_is_measured(tiny_bundle: Path, waveform_model: Callable[[str], Path]) -> None:
    groupings = [
        GraphTeacher.open(config)._policy
        for config in (
            OnnxTeacher(path=tiny_bundle),
            OnnxTeacher(path=tiny_bundle / "model.int8.onnx"),  # one scale for the whole batch
            OnnxTeacher(path=waveform_model("wav2vec2-layer")),  # it has no mask
        )
    ]
    assert groupings == [BatchPolicy.PADDED, BatchPolicy.SINGLE, BatchPolicy.EQUAL]


def test_fingerprint_follows_weights_and_vocabulary(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = nemo(tiny_bundle, tmp_path / "x")
    first = GraphTeacher.open(OnnxTeacher(path=folder)).fingerprint
    assert GraphTeacher.open(OnnxTeacher(path=folder / "model.onnx")).fingerprint == first
    (folder / "tokens.txt").write_text(
        (folder / "tokens.txt").read_text("utf-8").replace("a 1", "d 1"), "utf-8"
    )
    second = GraphTeacher.open(OnnxTeacher(path=folder)).fingerprint
    model = onnx.load(folder / "model.onnx")
    weights = next(t for t in model.graph.initializer if len(t.dims) == 2)
    values = numpy_helper.to_array(weights).copy()
    values.flat[0] += 1e-3
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    # Kept outside the graph, they count as well.
    onnx.save(
        model, folder / "model.onnx", save_as_external_data=True, location="weights", size_threshold=1024
    )
    third = GraphTeacher.open(OnnxTeacher(path=folder)).fingerprint
    data = bytearray((folder / "weights").read_bytes())
    data[3] ^= 1
    (folder / "weights").write_bytes(data)
    assert len({first, second, third, GraphTeacher.open(OnnxTeacher(path=folder)).fingerprint}) == 4


def altered(bundle: Path, folder: Path, change: Callable[[onnx.ModelProto], None]) -> OnnxTeacher:
    folder.mkdir()
    model = onnx.load(bundle / "model.onnx")
    change(model)
    onnx.save(model, folder / "model.onnx")
    (folder / "tokens.txt").write_text("<blk> 0\na 1\nb 2\nc 3\n| 4\n", "utf-8")
    return OnnxTeacher(path=folder)


def without_lengths(model: onnx.ModelProto) -> None:
    del model.graph.output[1]


def shifted(model: onnx.ModelProto) -> None:
    """Let the graph give logits that are not normalised."""
    model.graph.initializer.append(numpy_helper.from_array(np.float32(7), "seven"))
    model.graph.output[0].name = "scores"
    model.graph.node.append(helper.make_node("Add", ["logprobs", "seven"], ["scores"]))


def probabilities(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "probs"
    model.graph.node.append(helper.make_node("Exp", ["logprobs"], ["probs"]))


@pytest.mark.parametrize("change", [without_lengths, shifted, probabilities])
def test_scores_of_every_kind_become_log_posteriors(
    tone_bundle: Path, tmp_path: Path, say: Any, change: Callable[[onnx.ModelProto], None]
) -> None:
    def raw(model: onnx.ModelProto) -> None:
        model.metadata_props.add(key="normalize_type", value="")

    def changed(model: onnx.ModelProto) -> None:
        raw(model)
        change(model)

    expected = GraphTeacher.open(altered(tone_bundle, tmp_path / "plain", raw))
    found = GraphTeacher.open(altered(tone_bundle, tmp_path / "changed", changed))
    spoken = [torch.from_numpy(say("ab")), torch.from_numpy(say("c"))]
    first, second = expected.posteriors(*padded(spoken)), found.posteriors(*padded(spoken))
    assert torch.equal(first.lengths, second.lengths)
    torch.testing.assert_close(first.log_probs.exp(), second.log_probs.exp(), atol=1e-5, rtol=0.0)
    best = first.log_probs[0].argmax(-1).unique_consecutive().tolist()
    assert expected.vocabulary.text(best) == "ab"


def test_a_graph_that_says_nothing_is_normalised_as_nemos_are(tone_bundle: Path, tmp_path: Path) -> None:
    assert (
        GraphTeacher.open(altered(tone_bundle, tmp_path / "x", lambda model: None))._normalize
        == "per_feature"
    )


def test_the_chosen_file_and_variant_of_a_bundle(tiny_bundle: Path) -> None:
    plain, quantized, named = (
        GraphTeacher.open(config).fingerprint
        for config in (
            OnnxTeacher(path=tiny_bundle),
            OnnxTeacher(path=tiny_bundle, variant="int8-dynamic"),
            OnnxTeacher(path=tiny_bundle / "model.int8.onnx"),
        )
    )
    assert plain != quantized == named


def test_it_moves_and_follows_the_number_of_threads(tiny_bundle: Path) -> None:
    teacher = GraphTeacher.open(OnnxTeacher(path=tiny_bundle))
    assert teacher.to("cpu") is teacher
    assert teacher.runtime.startswith("onnxruntime ")
    assert teacher._session.get_session_options().intra_op_num_threads == torch.get_num_threads()


def refused(config: OnnxTeacher, match: str) -> None:
    with pytest.raises(TeacherError, match=match) as caught:
        GraphTeacher.open(config)
    assert "\n" not in str(caught.value)


def streaming(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("cache", TensorProto.FLOAT, [1, 2]))


def other_bands(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 128


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (streaming, r"maps audio_signal .*cache .*expected audio_signal"),
        (other_bands, "cannot be|128 mel bands"),
        (lambda m: m.metadata_props.add(key="normalize_type", value="fixed"), "normalised by 'fixed'"),
    ],
)
def test_graphs_of_other_layouts_are_refused(
    tone_bundle: Path, tmp_path: Path, change: Callable[[onnx.ModelProto], None], match: str
) -> None:
    refused(altered(tone_bundle, tmp_path / "x", change), match)


def test_files_that_do_not_fit_are_refused(tone_bundle: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    folder = nemo(tiny_bundle, tmp_path / "x")
    tokens = (folder / "tokens.txt").read_text("utf-8")
    refused(OnnxTeacher(path=folder, variant="fp32"), "no bundle and has no variants")
    (folder / "tokens.txt").write_text(tokens + "d 6\n", "utf-8")
    refused(OnnxTeacher(path=folder), "6 outputs and 7 tokens")
    (folder / "tokens.txt").unlink()
    refused(OnnxTeacher(path=folder), "no vocabulary: expected tokens.txt")
    (folder / "tokens.txt").write_text(tokens, "utf-8")
    (folder / "model.onnx").write_bytes(b"nonsense")
    refused(OnnxTeacher(path=folder), "cannot be loaded by onnxruntime")
    for name in ("encoder.onnx", "decoder.onnx"):
        (folder / "model.onnx").replace(folder / name) if name[0] == "e" else (folder / name).write_bytes(b"")
    refused(OnnxTeacher(path=folder), "found decoder.onnx, encoder.onnx; name the file")
    refused(OnnxTeacher(path=tiny_bundle, variant="int3"), "has no variant 'int3'")
    refused(OnnxTeacher(path=tmp_path / "gone"), "no such file or directory")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_provider_that_is_not_there(tiny_bundle: Path) -> None:
    with pytest.raises(KdcompressError, match="no CUDAExecutionProvider"):
        GraphTeacher.open(OnnxTeacher(path=tiny_bundle, provider="cuda"))
    # Chosen by hand, the graph stays where it is told to, whatever the results' device.
    assert GraphTeacher.open(OnnxTeacher(path=tiny_bundle, provider="cpu")).vocabulary.blank == 2


def test_letters_are_those_of_the_tokenizer_file(tmp_path: Path) -> None:
    from kdcompress.runtime.external.vocabulary import read_vocabulary

    (tmp_path / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(LETTERS)}))
    found = read_vocabulary(tmp_path)
    assert (found.tokens, found.blank, found.silent) == (tuple(LETTERS), 0, {1, 2, 3})
