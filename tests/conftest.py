"""What every test shares: quiet surroundings, deterministic hypothesis, real speech where there is some."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before numpy or torch is imported: the cores are shared between test processes, not threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test may depend on, or reach for, a model hub.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NO_COLOR"] = "1"

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from kdcompress.config.recipe import Recipe

CHECKOUT = Path(__file__).resolve().parent.parent

# A shell that starts the tests in the background lets them, and all they start, ignore interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("default", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("default")


@pytest.fixture(scope="session")
def an4() -> Path:
    """Return the folder of CMU AN4 (audio/, train.jsonl, dev.jsonl, test.jsonl); skip where there is none."""
    folder = Path(os.environ.get("KDCOMPRESS_AN4", CHECKOUT.parent / "shared" / "data" / "an4"))
    if not (folder / "test.jsonl").is_file():
        pytest.skip(f"no AN4 at {folder}: set KDCOMPRESS_AN4 to a folder with audio/ and test.jsonl")
    return folder


TONES = {"a": 500.0, "b": 1200.0, "c": 2600.0, "|": 5000.0}  # [Hz] what the tone bundle hears as which token


@pytest.fixture(scope="session")
def tone_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle that is right by construction: each tone of TONES is its token, silence the blank.

    Its graph takes every fourth feature frame and asks which token's bands are the loudest. Both variants are
    the same file; read only.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from kdcompress.digests import file_sha256
    from kdcompress.frontend.logmel_numpy import mel_filterbank
    from kdcompress.runtime.bundle import Bundle, Frontend, Variant
    from kdcompress.text.vocabulary import Vocabulary

    vocabulary = Vocabulary(("<blk>", *TONES), blank=0, word_boundary="|")
    weights = np.zeros((80, len(vocabulary)), np.float32)
    for unit, hertz in enumerate(TONES.values(), 1):
        band = int(mel_filterbank()[round(hertz / 16_000 * 512)].argmax())
        weights[band - 1 : band + 2, unit] = 1 / 3
    bias = np.zeros(len(vocabulary), np.float32)
    bias[0] = -5.0  # silence is -16.6 in every band, a tone about 0 in its own
    constants = {"weights": weights, "bias": bias, "zero": [0], "end": [2**31], "axis": [1], "four": [4]}
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["audio_signal"], ["frames"], perm=[0, 2, 1]),
            helper.make_node("Slice", ["frames", "zero", "end", "axis", "four"], ["fourth"]),
            helper.make_node("MatMul", ["fourth", "weights"], ["loudness"]),
            helper.make_node("Add", ["loudness", "bias"], ["logits"]),
            helper.make_node("LogSoftmax", ["logits"], ["logprobs"], axis=-1),
            helper.make_node("Add", ["length", "three"], ["rounded"]),
            helper.make_node("Div", ["rounded", "four"], ["encoded_lengths"]),
        ],
        "tones",
        [
            helper.make_tensor_value_info("audio_signal", TensorProto.FLOAT, ["B", 80, "T"]),
            helper.make_tensor_value_info("length", TensorProto.INT64, ["B"]),
        ],
        [
            helper.make_tensor_value_info("logprobs", TensorProto.FLOAT, ["B", "T4", len(vocabulary)]),
            helper.make_tensor_value_info("encoded_lengths", TensorProto.INT64, ["B"]),
        ],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in {**constants, "three": [3]}.items()],
    )
    folder = tmp_path_factory.mktemp("tones")
    variants = {}
    for name, file in (("fp32", "model.onnx"), ("int8-dynamic", "model.int8.onnx")):
        path = folder / file
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        onnx.save(model, path)
        variants[name] = Variant(name, file, file_sha256(path), path.stat().st_size, {"MatMul": 1})
    bundle = Bundle(
        "portable",
        vocabulary,
        0.04,
        4,
        variants,
        frontend=Frontend(normalize="none"),
        provenance={"parameters": 405},
    )
    (folder / "bundle.json").write_text(json.dumps(bundle.to_json()), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def streaming_tone_bundle(tmp_path_factory: pytest.TempPathFactory, tone_bundle: Path) -> Path:
    """Return a bundle that streams the tones of `tone_bundle`: chunks of 160 ms with 40 ms of look-ahead.

    What it prints is what it was given six frames before, which comes out of its caches: a token that was
    lost or taken from another stream shows. The other caches count chunks and frames.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from kdcompress.digests import file_sha256
    from kdcompress.runtime.bundle import Variant, open_bundle
    from kdcompress.runtime.layout import LAYOUTS

    bundle, layout, delay, chunk = open_bundle(tone_bundle), LAYOUTS["streaming"], 6, 4
    offline = onnx.load(tone_bundle / "model.onnx").graph
    kept = {t.name: numpy_helper.to_array(t) for t in offline.initializer if t.name in {"weights", "bias"}}
    # Caches begin as zeros, which must mean silence.
    floor = np.full(80, np.log(2.0**-24), np.float32)
    constants = {
        "weights": kept["weights"],
        "bias": (kept["bias"] + floor @ kept["weights"]).astype(np.float32),
        "floor": floor,
        "begin": [0],
        "stop": [4 * chunk],
        "axis": [1],
        "four": [4],
        "chunk": [chunk],
        "end": [2**31],
        "one": np.ones(1, np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Transpose", ["audio_signal"], ["frames"], perm=[0, 2, 1]),
        node("Slice", ["frames", "begin", "stop", "axis", "four"], ["fourth"]),
        node("Sub", ["fourth", "floor"], ["new"]),
        node("Squeeze", ["cache_last_channel", "axis"], ["old"]),
        node("Concat", ["old", "new"], ["line"], axis=1),
        node("Slice", ["line", "begin", "chunk", "axis"], ["now"]),
        node("Slice", ["line", "chunk", "end", "axis"], ["rest"]),
        node("Unsqueeze", ["rest", "axis"], ["cache_last_channel_next"]),
        node("MatMul", ["now", "weights"], ["loudness"]),
        node("Add", ["loudness", "bias"], ["logits"]),
        node("LogSoftmax", ["logits"], ["logprobs"], axis=-1),
        node("Add", ["cache_last_time", "one"], ["cache_last_time_next"]),
        node("Add", ["cache_last_channel_len", "chunk"], ["cache_last_channel_next_len"]),
        node("Mul", ["length", "begin"], ["none"]),
        node("Add", ["none", "chunk"], ["encoded_lengths"]),
    ]
    shapes = {
        "audio_signal": ["N", 80, 4 * chunk + 4],
        "cache_last_channel": ["N", 1, delay, 80],
        "cache_last_time": ["N", 1, 1, 1],
        "logprobs": ["N", chunk, len(bundle.vocabulary)],
    }

    def value(name: str) -> Any:
        shape = shapes.get(name.removesuffix("_next"))
        kind = TensorProto.FLOAT if shape else TensorProto.INT64
        return helper.make_tensor_value_info(name, kind, shape or ["N"])

    graph = helper.make_graph(
        nodes,
        "delayed-tones",
        [value(name) for name in layout.given],
        [value(name) for name in layout.returned],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    metadata = {
        "window_size": 4 * chunk + 4,
        "chunk_shift": 4 * chunk,
        "subsampling_factor": 4,
        "vocab_size": len(bundle.vocabulary) - 1,
        "normalize_type": "NA",
    }
    for name in ("cache_last_channel", "cache_last_time"):
        metadata |= {f"{name}_dim{axis}": size for axis, size in enumerate(shapes[name]) if axis}
    helper.set_model_props(model, {key: str(text) for key, text in metadata.items()})
    folder = tmp_path_factory.mktemp("streaming-tones")
    path = folder / "model.onnx"
    onnx.save(model, path)
    variant = Variant("fp32", path.name, file_sha256(path), path.stat().st_size, {"MatMul": 1})
    made = replace(bundle, profile="streaming", variants={"fp32": variant})
    (folder / "bundle.json").write_text(json.dumps(made.to_json()), encoding="utf-8")
    tokens = [f"{token} {index}" for index, token in enumerate(("<blk>", "a", "b", "c", "▁"))]
    (folder / "tokens.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def say() -> Callable[[str], npt.NDArray[np.float32]]:
    """Return what the tone bundle understands: each token sounds for 0.2 s, then 0.2 s are silent."""

    def tones(text: str) -> npt.NDArray[np.float32]:
        time = np.arange(3200) / 16_000
        silence = np.zeros(3200)
        parts = [silence]
        for token in text.replace(" ", "|"):
            parts += [0.3 * np.sin(2 * np.pi * TONES[token] * time) * np.hanning(len(time)), silence]
        return np.concatenate(parts).astype(np.float32)

    return tones


@pytest.fixture(scope="session")
def ink() -> Callable[[Path], float]:
    """Return what gives the share of a picture's pixels that have not the colour of its corner."""
    image = pytest.importorskip("matplotlib.image", reason="no matplotlib to read a picture with")

    def share(path: Path) -> float:
        pixels = image.imread(path)[..., :3]
        return float((pixels != pixels[0, 0]).any(axis=-1).mean())

    return share


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` fills, shared by the processes of this test session."""
    root = factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    place, lock = root / name, root / f"{name}.lock"
    while not place.exists():
        try:
            lock.mkdir()
        except FileExistsError:
            time.sleep(0.2)
            continue
        try:
            if not place.exists():
                unfinished = factory.mktemp(name) / name
                make(unfinished)
                os.replace(unfinished, place)
        finally:
            lock.rmdir()
    return place


def learn_tones(folder: Path, say: Callable[[str], npt.NDArray[np.float32]], **knobs: Any) -> None:
    """Train a student of 30 k parameters on the tones of TONES and write its checkpoint.

    Its blank is in the middle of the vocabulary, and it has a token that prints nothing.
    """
    torch = pytest.importorskip("torch", reason="no torch to train the student with")
    functional = torch.nn.functional

    from kdcompress.config.student import ConformerConfig
    from kdcompress.students.conformer import ConformerStudent
    from kdcompress.students.weights import save_student
    from kdcompress.text.vocabulary import Vocabulary

    vocabulary = Vocabulary(("|", "a", "<pad>", "b", "c", "</s>"), 2, "|", frozenset({5}))
    spoken = np.array([0, 1, 3, 4])
    generator = np.random.default_rng(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = {"width": 32, "layers": 1, "heads": 2, "feed_forward": 2, "kernel": 5, "stem_channels": 4}
        config = ConformerConfig.model_validate({**small, "frame_shift_ms": 40, "dropout": 0, **knobs})
        student = ConformerStudent(config, len(vocabulary))
        optimizer = torch.optim.AdamW(student.parameters(), lr=6e-3)
        for _ in range(90):
            ids = generator.choice(spoken, (6, generator.integers(2, 5)))
            sounds = np.stack([say("".join(vocabulary.tokens[i] for i in row)) for row in ids])
            sounds *= generator.uniform(0.3, 2.0, (len(ids), 1))
            noise = generator.standard_normal(sounds.shape)
            sounds += 10 ** generator.uniform(-5, -2.5, (len(ids), 1)) * noise
            waveforms = torch.from_numpy(sounds.astype(np.float32))
            student.measure(waveforms)
            log_probs, _ = student(waveforms, torch.full((len(ids),), waveforms.shape[1]))
            # 0.2 s are five frames: each tone starts ten frames after the last, the first at frame 5.
            targets = torch.full(log_probs.shape[:2], vocabulary.blank)
            for position, column in enumerate(torch.from_numpy(ids).T):
                targets[:, 10 * position + 6 : 10 * position + 9] = column[:, None]
            loss = functional.nll_loss(log_probs.flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    record = {"step": 90, "teacher": None, "figures": {"loss": loss.item()}}
    save_student(folder, student, vocabulary, record)


@pytest.fixture(scope="session")
def tiny_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, say: Callable[[str], npt.NDArray[np.float32]]
) -> Path:
    """Return the checkpoint of a student that has learned the tones of TONES; read only."""
    return made_once(tmp_path_factory, "tiny-checkpoint", lambda folder: learn_tones(folder, say))


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    """Return the bundle of `tiny_checkpoint`, fp32 and int8-dynamic; read only."""

    def make(folder: Path) -> None:
        from kdcompress.graph.write import export_run

        export_run(tiny_checkpoint, folder)

    return made_once(tmp_path_factory, "tiny-bundle", make)


@pytest.fixture(scope="session")
def waveform_bundle(
    tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, tiny_bundle: Path
) -> Path:
    """Return the bundle of `tiny_checkpoint` in the profile `waveform`; read only."""
    import onnx

    from kdcompress.graph import write

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            # What is in front of the student is put there afterwards; tracing it again would take seconds.
            patch.setattr(write, "trace", lambda *_: onnx.load(str(tiny_bundle / "model.onnx")))
            write.export_run(tiny_checkpoint, folder, "waveform")

    return made_once(tmp_path_factory, "waveform-bundle", make)


@pytest.fixture(scope="session")
def kaldi_bundle(
    tmp_path_factory: pytest.TempPathFactory, say: Callable[[str], npt.NDArray[np.float32]]
) -> Path:
    """Return the bundle of a student of Kaldi's features in the profile `kaldi`; read only."""

    def make(folder: Path) -> None:
        from kdcompress.graph.write import export_run

        checkpoint = folder.with_name("kaldi-checkpoint")
        learn_tones(checkpoint, say, frontend="kaldi")
        export_run(checkpoint, folder, "kaldi")

    return made_once(tmp_path_factory, "kaldi-bundle", make)


@pytest.fixture(scope="session")
def streaming_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, say: Callable[[str], npt.NDArray[np.float32]]
) -> Path:
    """Return the checkpoint of a student that streams the tones of TONES; read only."""
    chunks = {"chunk_ms": [160, 320, "full"], "left_ms": 320}
    return made_once(
        tmp_path_factory, "streaming-checkpoint", lambda folder: learn_tones(folder, say, streaming=chunks)
    )


@pytest.fixture(scope="session")
def streaming_bundle(tmp_path_factory: pytest.TempPathFactory, streaming_checkpoint: Path) -> Path:
    """Return its bundle for chunks of 160 ms, fp32, int8-dynamic and int4; read only."""

    def make(folder: Path) -> None:
        from kdcompress.graph.write import export_run

        export_run(streaming_checkpoint, folder, "streaming", ("int8-dynamic", "int4"), chunk_ms=160)

    return made_once(tmp_path_factory, "streaming-bundle", make)


TINY = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 2.0, "kernel": 3, "stem_channels": 4}


@pytest.fixture(scope="session")
def audio_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return twenty wav files of 0.4 to 1 s."""
    import soundfile

    folder = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(0)
    for index in range(20):
        time = np.arange(6400 + 480 * index) / 16_000
        tone = np.sin(2 * np.pi * rng.uniform(200, 3000) * time)
        soundfile.write(
            folder / f"u{index:02}.wav", 0.3 * tone + 0.02 * rng.standard_normal(len(time)), 16_000
        )
    return folder


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of a random model that does not say blank all the time."""
    torch = pytest.importorskip("torch", reason="no torch to make a teacher with")

    from kdcompress.config.student import ConformerConfig
    from kdcompress.students.conformer import ConformerStudent
    from kdcompress.students.weights import save_student
    from kdcompress.text.vocabulary import Vocabulary

    folder = tmp_path_factory.mktemp("teacher") / "checkpoint"
    torch.manual_seed(5)
    model = ConformerStudent(ConformerConfig(**TINY, frame_shift_ms=40), 5)
    with torch.no_grad():
        model.head.weight *= 8
    save_student(folder, model, Vocabulary(("<blk>", "|", "a", "b", "c"), blank=0, word_boundary="|"), {})
    return folder


@pytest.fixture(scope="session")
def hugging_face(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a maker of tiny models of random weights, as `save_pretrained` writes them; read only."""
    torch = pytest.importorskip("torch", reason="no torch to make a teacher with")

    from kdcompress.frontend.torchaudio_import import load_torchaudio

    load_torchaudio()  # transformers would import it, and fail beside some builds of torch
    import transformers

    def make(units: Sequence[str], family: str = "Wav2Vec2", blank_bias: float = 0.0) -> Path:
        folder = tmp_path_factory.mktemp(family)
        config = getattr(transformers, f"{family}Config")(
            vocab_size=len(units),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=24,
            conv_dim=(8,) * 7,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
            feat_extract_norm="layer",
            do_stable_layer_norm=True,
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = getattr(transformers, f"{family}ForCTC")(config)
        model.lm_head.weight.data *= 20
        model.lm_head.bias.data[0] = blank_bias
        model.save_pretrained(folder)
        (folder / "vocab.json").write_text(json.dumps({unit: index for index, unit in enumerate(units)}))
        tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
        extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
        transformers.Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
        return folder

    return make


@pytest.fixture
def recipe(audio_folder: Path, teacher_folder: Path) -> Callable[..., "Recipe"]:
    """Return a maker of recipes of eight steps, three batches to an epoch."""
    from kdcompress.config.recipe import Recipe

    def make(**changes: Any) -> "Recipe":
        data = {
            "seed": 3,
            "teacher": {"kind": "checkpoint", "path": str(teacher_folder)},
            "student": {**TINY, "dropout": 0.1},
            "data": {
                "audio": str(audio_folder),
                "batch_seconds": 5,
                "buckets": 2,
                "speed": [0.9, 1.0],
                "validation": {"share": 0.1},
                "noise_share": 0,
                "surround": {"share": 0.5, "silence": 0.3},
            },
            "training": {"steps": 8, "validate_every": 3, "log_every": 1, "peak_lr": 1e-2},
        }
        for key, value in changes.items():
            section, _, name = key.partition("__")
            if name:
                data.setdefault(section, {})
                data[section] = {**data[section], name: value}  # type: ignore[dict-item]
            else:
                data[section] = value
        return Recipe.model_validate(data)

    return make


@pytest.fixture
def copied(teacher_folder: Path, audio_folder: Path, tmp_path: Path) -> dict[str, Any]:
    """Return changes that let a recipe use copies of the teacher and of the audio, to be spoiled."""
    shutil.copytree(teacher_folder, tmp_path / "teacher")
    shutil.copytree(audio_folder, tmp_path / "audio")
    return {
        "teacher": {"kind": "checkpoint", "path": str(tmp_path / "teacher")},
        "data__audio": str(tmp_path / "audio"),
    }
