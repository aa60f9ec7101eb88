"""The graph of a chunk: names, sizes and numbers of what sherpa-onnx's online recogniser is given."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from kdcompress.config.student import ConformerConfig
from kdcompress.errors import ConfigError
from kdcompress.graph.parity import check_parity
from kdcompress.graph.runtime_files import chunk_metadata
from kdcompress.graph.trace import trace
from kdcompress.graph.write import export_run
from kdcompress.runtime.bundle import open_bundle
from kdcompress.runtime.session import Session
from kdcompress.runtime.streaming.graph import StreamingGraph
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.weights import load_student


@torch.no_grad()
def test_a_chunk_and_the_state_make_the_masked_pass(
    streaming_bundle: Path, streaming_checkpoint: Path
) -> None:
    student = load_student(streaming_checkpoint).model
    assert isinstance(student, ConformerStudent)
    student.select_chunk(160)
    session = Session(streaming_bundle / "model.onnx", threads=1)
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([203, 16, 90])
    features = 4 * torch.randn(3, 203, 80, generator=generator) - 8
    whole, counts = student.encode(student.scaled(features, lengths), lengths)
    found, found_counts = StreamingGraph(session).run(features.numpy(), lengths.numpy())
    assert found_counts.tolist() == counts.tolist()
    for row, count in enumerate(counts.tolist()):
        np.testing.assert_allclose(found[row, :count], whole[row, :count], atol=1e-4)


def test_metadata_say_what_sherpa_onnx_reads(streaming_bundle: Path) -> None:
    bundle = open_bundle(streaming_bundle)
    assert list(bundle.variants) == ["fp32", "int8-dynamic", "int4"]
    assert bundle.variants["int8-dynamic"].ops["MatMulInteger"] > 0
    for variant in bundle.variants.values():
        model = onnx.load(str(bundle.path(variant)), load_external_data=False)
        said = {entry.key: entry.value for entry in model.metadata_props}
        shapes = {
            value.name: [size.dim_value for size in value.type.tensor_type.shape.dim[1:]]
            for value in (*model.graph.input, *model.graph.output)
        }
        assert said["window_size"] == said["chunk_shift"] == "16"
        assert (said["subsampling_factor"], said["vocab_size"], said["normalize_type"]) == ("4", "5", "")
        assert shapes["audio_signal"] == [80, 16]
        assert shapes["logprobs"] == [4, 6]
        for state in ("cache_last_channel", "cache_last_time"):
            sizes = [int(said[f"{state}_dim{axis}"]) for axis in (1, 2, 3)]
            assert shapes[state] == shapes[f"{state}_next"] == sizes


@torch.no_grad()
def test_a_look_ahead_makes_windows_overlap(streaming_checkpoint: Path, tmp_path: Path) -> None:
    found = load_student(streaming_checkpoint)
    config = found.model.config
    assert isinstance(config, ConformerConfig)
    assert config.streaming is not None
    ahead = config.streaming.model_copy(update={"look_ahead_ms": 80})
    student = ConformerStudent(config.model_copy(update={"streaming": ahead}), len(found.vocabulary)).eval()
    student.load_state_dict(found.model.state_dict())
    student.select_chunk(160)
    view = student.export_view("streaming")
    said = chunk_metadata(view.example, view.layout, view.look_ahead)
    assert (said["window_size"], said["chunk_shift"]) == ("24", "16")
    onnx.save(trace(view, {"subsampling_factor": "4", **said}, 20), tmp_path / "model.onnx")
    session = Session(tmp_path / "model.onnx", threads=1)
    check_parity(student, view, session, found.vocabulary.blank, (1, 45, 203))
    with pytest.raises(ConfigError, match="no look-ahead"):
        student.export_view("telephone")


def test_the_size_of_a_chunk_belongs_to_streaming_alone(
    streaming_checkpoint: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    for run, profile, chunk_ms, complaint in (
        (streaming_checkpoint, "streaming", None, "give --chunk-ms"),
        (streaming_checkpoint, "streaming", 100, "no multiple"),
        (streaming_checkpoint, "portable", 160, "whole utterances"),
        (tiny_checkpoint, "streaming", 160, r"student\.streaming"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            export_run(run, tmp_path / "out", profile, (), chunk_ms=chunk_ms)
