"""Write a run's student as a bundle directory, complete or not at all."""

import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from kdcompress.aliases import FloatArray, StageProgress
from kdcompress.config.deploy import PRESETS
from kdcompress.config.profile import LayoutName, ProfileConfig, read_profile
from kdcompress.digests import file_sha256, sealed
from kdcompress.errors import ConfigError, ExportError
from kdcompress.files import writing_folder
from kdcompress.graph.card import model_card
from kdcompress.graph.convolutions import with_convolutions
from kdcompress.graph.parity import THOROUGH, check_parity
from kdcompress.graph.runtime_files import (
    chunk_metadata,
    huggingface_files,
    metadata,
    onnx_asr_config,
    token_lines,
)
from kdcompress.graph.search_plot import plot_search
from kdcompress.graph.trace import trace
from kdcompress.graph.waveform import with_frontend
from kdcompress.locks import locked
from kdcompress.quantize.variants import Audio, Options, write_variants
from kdcompress.resources import profile_path
from kdcompress.runtime.bundle import FP32, Bundle
from kdcompress.runtime.bundle_files import FILE_NAME
from kdcompress.runtime.frontend import features_for
from kdcompress.runtime.layout import LAYOUTS
from kdcompress.runtime.session import Session
from kdcompress.runtime.streaming.graph import StreamingGraph
from kdcompress.students.telephone import CHUNK_MS
from kdcompress.students.view import ExportView
from kdcompress.students.weights import LoadedStudent, load_student
from kdcompress.verify.calibration_audio import features_of
from kdcompress.verify.selftest import AUDIO, RECORD, write_selftest


def export_run(
    run: Path,
    out: Path,
    profile: str = "portable",
    quantize: Sequence[str] = ("int8-dynamic",),
    *,
    options: Options | None = None,
    audio: Path | None = None,
    chunk_ms: int | None = None,
    overwrite: bool = False,
    thorough: bool = False,
    on_progress: StageProgress | None = None,
) -> Bundle:
    """Trace, check, quantize and describe a student, and write it all as one directory.

    Args:
        run: a run directory (its best checkpoint is taken) or one checkpoint directory.
        out: the bundle directory; it appears when it is complete.
        profile: a file of export/profiles by name, or a path.
        quantize: presets, each one more graph beside the fp32 one.
        options: of quantization: calibration, the budget of `auto`, the blank's bias.
        audio: folder or manifest to measure the quantized graphs on, and to calibrate and search with;
            transcripts are not read. None measures on rendered sound, which shows a broken graph but
            little about accuracy.
        chunk_ms: of a profile that takes chunks, their size.
        overwrite: replace a bundle that is there.
        thorough: compare 0.1 s and a minute of sound with torch, too.
        on_progress: called at each step.

    Raises:
        InUse: another process writes a bundle to `out`.
        ExportError: `out` is taken, or a graph cannot be made or fails its parity check.
        RunError: there is no student in `run`.
        ConfigError: an unknown profile or preset, or a profile for students of another front end.
        AudioError: nothing in `audio` can be used.
    """
    presets = tuple(dict.fromkeys(quantize))
    chosen = read_profile(profile_path(profile))
    if unknown := [name for name in presets if name not in PRESETS]:
        raise ConfigError(f"no quantization preset {unknown[0]!r}; there are {', '.join(PRESETS)}")
    check_target(out, overwrite)
    steps = 4 + len(presets)
    report = on_progress or (lambda step, done, total: None)

    report("loading the student", 0, steps)
    student = load_student(run)
    tokens = token_lines(student.vocabulary)
    how = replace(options or Options(), teacher_shift=_teacher_shift(student))
    how.check(presets, audio=audio is not None)
    student.model.select_chunk(_chunk(chosen.layout, profile, chunk_ms))
    view = student.model.export_view(chosen.layout)
    check_frontend(chosen, profile, view.frontend.kind)
    plain = _bundle(Path(profile).stem, chosen, student, view)
    features = features_of(audio, features_for(plain, chunked=view.layout.chunked))

    # The work takes a while: someone else may have been there meanwhile.
    taken = locked(out, beside=True)
    with taken, writing_folder(out, check=lambda: check_target(out, overwrite)) as folder:
        report("tracing the graph", 1, steps)
        properties = metadata(
            student.vocabulary,
            view.subsampling_factor,
            view.frontend.normalize,
            f"student {student.fingerprint}",
            chosen.layout,
            plain.frame_window,
        )
        if view.layout.chunked:
            properties |= chunk_metadata(view.example, view.layout, view.look_ahead)
        graph = trace(view, properties, chosen.opset)
        blank = student.vocabulary.blank
        if LAYOUTS[chosen.layout].takes_waveforms and not view.layout.takes_waveforms:
            if view.encoder is None:
                with_frontend(graph, view.frontend, blank)
            else:
                with_convolutions(graph, view.encoder, blank)
        onnx.save(graph, str(folder / "model.onnx"))

        report("comparing it with torch", 2, steps)
        fp32 = Session(folder / "model.onnx")
        checked = check_parity(student.model, view, fp32, blank).to_json()
        if thorough:
            check_parity(student.model, view, fp32, blank, THOROUGH)

        audio_feeds = Audio(
            [feed for array in features.arrays for feed in _feeds(fp32, array)],
            features.source,
            speech=audio is not None,
        )
        made = write_variants(
            folder / "model.onnx",
            presets,
            audio_feeds,
            student.vocabulary,
            how,
            on_step=lambda step, done, _: report(step, 3 + done, steps),
            on_search=report,
        )
        if made.search:
            plot_search(made.search, folder / "auto.png")
        about = {"against": "torch", "on": "rendered sound", **checked}
        parity = {**made.parity, FP32: about | made.parity[FP32]}

        report("writing the bundle", steps - 1, steps)
        bundle = replace(
            plain,
            variants=made.variants,
            provenance=_provenance(run, student) | ({"auto": made.search} if made.search else {}),
            parity=parity,
            directory=folder,
        )
        bundle = _describe(bundle, chosen, tokens, out.name)
    report("done", steps, steps)
    return Bundle.from_json(bundle.to_json(), out)


def _chunk(layout: LayoutName, profile: str, chunk_ms: int | None) -> int | None:
    if layout == "telephone" and chunk_ms in {None, CHUNK_MS}:
        return CHUNK_MS
    if LAYOUTS[layout].chunked and chunk_ms is None:
        raise ConfigError(f"the profile {profile} takes chunks of a fixed size: give --chunk-ms, such as 320")
    if not LAYOUTS[layout].chunked and chunk_ms is not None:
        raise ConfigError(f"the profile {profile} takes whole utterances: --chunk-ms is for streaming")
    return chunk_ms


def _feeds(session: Session, features: FloatArray) -> list[dict[str, Any]]:
    """Return what the graph is fed of an utterance; of chunks with the states that the ones before leave."""
    batch, lengths = features[None], np.array([len(features)])
    if not session.layout.chunked:
        return [session.layout.feeds(batch, lengths)]
    graph, found = StreamingGraph(session), []
    states = graph.initial()
    for chunk, here in graph.windows(batch, lengths):
        found.append(graph.feeds(chunk, states, here))
        _, _, states = graph.step(chunk, states, here)
    return found


def check_frontend(profile: ProfileConfig, name: str, frontend: str) -> None:
    """See that the profile's runtimes compute the features that the student was trained on.

    Raises:
        ConfigError: they compute others.
    """
    if frontend not in (profile.frontend, "samples"):
        raise ConfigError(
            f"profile {name} is for students with `frontend: {profile.frontend}`, and this one was trained "
            f"with `frontend: {frontend}`: the runtimes would feed it other features than those; choose "
            "another profile or train another student"
        )


def check_target(out: Path, overwrite: bool) -> None:
    """See that a bundle may be written to `out`.

    Raises:
        ExportError: something is there that must not be replaced.
    """
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir():
        raise ExportError(f"{out} exists and is not a directory; choose another --out")
    if not any(out.iterdir()):
        return
    if not (out / FILE_NAME).is_file():
        raise ExportError(f"{out} holds something that is no bundle; choose another --out")
    if not overwrite:
        raise ExportError(f"{out} already holds a bundle; choose another --out or give --overwrite")


def _bundle(name: str, profile: ProfileConfig, student: LoadedStudent, view: ExportView) -> Bundle:
    """Return the contents of bundle.json, without the graphs."""
    return Bundle(
        profile=name,
        vocabulary=student.vocabulary,
        frame_shift=student.model.frame_shift,
        subsampling_factor=view.subsampling_factor,
        variants={},
        input="waveform" if LAYOUTS[profile.layout].takes_waveforms else "features",
        sample_rate=view.sample_rate,
        frontend=view.frontend,
        frame_window=0 if view.encoder is None else view.encoder.window,
    )


def _describe(bundle: Bundle, profile: ProfileConfig, tokens: list[str], name: str) -> Bundle:
    folder, text = bundle.directory, "\n".join(tokens) + "\n"
    contents = {"tokens.txt": text}
    if "onnx-asr" in profile.files and bundle.frontend.normalize == "per_feature":
        # It always normalises features: with other students it had better find no model.
        config = json.dumps(onnx_asr_config(bundle.subsampling_factor), indent=1) + "\n"
        contents |= {"vocab.txt": text, "config.json": config}
    if "transformers" in profile.files:
        contents |= huggingface_files(
            bundle.vocabulary, tokens, bundle.subsampling_factor, bundle.frame_window
        )
    for file, content in contents.items():
        _write(folder / file, content)
    write_selftest(bundle)
    files = {name: file_sha256(folder / name) for name in (*contents, AUDIO, RECORD)}
    bundle = replace(bundle, files=files)
    _write(folder / "README.md", model_card(bundle, profile, name))
    _write(folder / FILE_NAME, json.dumps(sealed(bundle.to_json()), indent=1, ensure_ascii=False) + "\n")
    return bundle


def _provenance(run: Path, student: LoadedStudent) -> dict[str, Any]:
    keys = ("teacher", "step", "figures", "objective", "config")
    return {
        # The name, not the path: bundles travel, and whose disk they came from is nobody's business.
        "run": run.resolve().name,
        "checkpoint": student.folder.resolve().name,
        "student": student.fingerprint,
        "parameters": student.model.parameter_count(),
        **{key: student.record[key] for key in keys if key in student.record},
        "made_with": {name: version(name) for name in ("torch", "onnx", "onnxscript", "onnxruntime")},
    }


def _teacher_shift(student: LoadedStudent) -> float | None:
    """Return by how much the teacher's blank rate was above the student's in validation."""
    figures = student.record.get("figures")
    if not isinstance(figures, dict):
        return None
    teacher, own = (figures.get(key) for key in ("teacher_blank_rate", "blank_rate"))
    return teacher - own if isinstance(teacher, float) and isinstance(own, float) else None


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
