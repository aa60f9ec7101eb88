"""Measure what each quantization preset makes of a student; docs/tables.py makes a table of it.

    python export/presets.py runs/mine --manifest test.jsonl --audio dev/ --bundle bundles/mine \\
        --out export/results/presets/mine.json

It exports the run with every preset (or takes a bundle as it is), decodes the transcribed manifest with each
graph on one thread, interleaved, and compares each with the fp32 graph frame by frame and word by word.
Calibration and `auto` use --audio, which should be other recordings; transcripts are read of the manifest
only, and only to score. Other bundles join the rows with --also 'NAME=BUNDLE/VARIANT', such as the same
student after quantization-aware training. Each graph is also run on the manifest in noise, and on clips
without speech, which recipes/silence.py writes.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdcompress.aliases import FloatArray
    from kdcompress.audio.utterance import Reference
    from kdcompress.report.record import CandidateResult, Report
    from kdcompress.runtime.bundle import Bundle
    from kdcompress.runtime.recognizer import Recognizer

SNRS = (20, 10, 0)  # [dB]


def measure(arguments: argparse.Namespace) -> None:
    """Export, decode, compare, and write one JSON file."""
    is_bundle = (arguments.run / "bundle.json").is_file()
    if not is_bundle and None in (arguments.audio, arguments.bundle):
        sys.exit("a run is exported first: name --audio to calibrate and search on, and --bundle to write")
    # numpy's matrix products choose their threads when numpy is first imported.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    from kdcompress.audio.manifest import read_references
    from kdcompress.bench.combinations import combine
    from kdcompress.bench.run import run_bench
    from kdcompress.cli.render import progress_bars
    from kdcompress.files import write_file
    from kdcompress.runtime.bundle import open_bundle

    with progress_bars() as bars:
        task = bars.add_task("", total=None)

        def progress(stage: str, done: float, total: float) -> None:
            bars.update(task, description=stage, completed=done, total=total)

        if is_bundle:
            bundle = open_bundle(arguments.run)
        else:
            bundle = _exported(arguments, progress)
        references = read_references(arguments.manifest)[: arguments.limit]
        candidates = combine([bundle.directory])
        graphs = {variant: (bundle, variant) for variant in bundle.variants}
        for name, (other, variant) in map(_named, arguments.also):
            graphs[name] = (other, variant)
            candidates += combine([other.directory], variants=[variant])
        for candidate, name in zip(candidates, graphs, strict=True):
            candidate.name = name
        report = run_bench(
            candidates,
            references,
            repeats=arguments.repeats,
            reference="fp32",
            source=arguments.manifest.name,
            normalizer="none" if arguments.phones else "basic",
            on_progress=progress,
        )
    data = report.to_json()
    result = {
        "schema": 1,
        "kind": "kdcompress-presets",
        "unit": "phone" if arguments.phones else "word",
        **{key: data[key] for key in ("created", "machine", "settings")},
        "bundle": {
            "parameters": bundle.parameters,
            "student": bundle.provenance.get("student"),
            "listened_to": sorted({figures["on"] for figures in bundle.parity.values()} - {"rendered sound"}),
            "auto": bundle.provenance.get("auto"),
            "blank_bias": {
                name: figures["blank_bias"]
                for name, figures in bundle.parity.items()
                if "blank_bias" in figures
            },
        },
        "rows": _rows(graphs, references, report, arguments),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_file(arguments.out, json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.write(f"{arguments.out}\n")


def _exported(arguments: argparse.Namespace, progress: Any) -> "Bundle":
    from kdcompress.config.deploy import PRESETS
    from kdcompress.graph.write import export_run
    from kdcompress.quantize.auto.budget import Budget
    from kdcompress.quantize.variants import Options

    return export_run(
        arguments.run,
        arguments.bundle,
        quantize=arguments.preset or PRESETS,
        options=Options(
            budget=Budget(arguments.max_kl, arguments.max_disagreement, arguments.prefer),
            blank_bias=arguments.blank_bias,
            threads=None,
        ),
        audio=arguments.audio,
        overwrite=True,
        on_progress=progress,
    )


def _named(also: str) -> "tuple[str, tuple[Bundle, str]]":
    from kdcompress.runtime.bundle import open_bundle

    name, _, place = also.partition("=")
    directory, _, variant = place.rpartition("/")
    if not (name and directory and variant):
        sys.exit(f"--also {also}: expected NAME=BUNDLE/VARIANT")
    return name, (open_bundle(Path(directory)), variant)


def _rows(
    graphs: "dict[str, tuple[Bundle, str]]",
    references: "list[Reference]",
    report: "Report",
    arguments: argparse.Namespace,
) -> dict[str, dict[str, Any]]:
    from kdcompress.audio.decode import read_audio
    from kdcompress.audio.manifest import read_references
    from kdcompress.runtime.compare import difference, text_difference
    from kdcompress.runtime.recognizer import Recognizer

    audio = [one.utterance for one in references]
    speech = [read_audio(one.audio, one.start, one.duration) for one in audio]
    quiet = [one.utterance for one in read_references(arguments.silence)] if arguments.silence else []
    phones = arguments.phones
    rows: dict[str, dict[str, Any]] = {}
    base = report.results[0]
    for found in report.results:
        bundle, variant = graphs[found.name]
        row: dict[str, Any] = {"bytes": found.bytes, "gzip_bytes": found.gzip_bytes}
        rows[found.name] = row | {"share": (found.bytes or 0) / (base.bytes or 1)}
        if found.accuracy is None or found.timing is None:
            rows[found.name]["failed"] = found.failed
            continue
        recognizer = Recognizer(bundle, variant, threads=1)
        answers = _answers(recognizer, bundle, speech)
        if found is base:
            expected = answers
        speed = found.timing.model_speed
        rows[found.name] |= {
            "load_seconds": found.timing.load_seconds,
            "time": speed and speed.inverse().model_dump(include={"median", "low", "high"}),
            "frames": difference(expected, answers, bundle.vocabulary.blank).to_json(),
            "words": text_difference(expected, answers, bundle.vocabulary).to_json(),
            "wer": (found.accuracy.cer if phones else found.accuracy.wer).model_dump(),
            "against_fp32": None if found is base else _paired(found, base, references, phones),
            "noisy_wer": {
                str(snr): _rate_in_noise(recognizer, speech, references, snr, phones) for snr in SNRS
            },
            "silent_characters": sum(
                len(recognizer.transcribe(read_audio(one.audio, one.start, one.duration)).text)
                for one in quiet
            ),
            "notes": list(found.notes),
        }
    return rows


def _rate_in_noise(
    recognizer: "Recognizer",
    speech: "list[FloatArray]",
    references: "list[Reference]",
    snr: int,
    phones: bool,
) -> float:
    """Return the error rate in noise, the same for every graph, so many decibels below the speech."""
    import numpy as np

    from kdcompress.distill.data.noise import coloured

    rng = np.random.default_rng(snr)
    texts = []
    for samples in speech:
        level = float(np.sqrt(np.mean(np.square(samples)))) * 10 ** (-snr / 20)
        texts.append(recognizer.transcribe(samples + level * coloured(len(samples), rng)).text)
    edits, units = _edits([reference.text for reference in references], texts, phones)
    return sum(edits) / sum(units)


def _edits(wanted: list[str], found: list[str], phones: bool) -> tuple[list[int], list[int]]:
    """Count the edits that turn one text into the other, and the words or phones of the first."""
    import jiwer

    from kdcompress.text.normalize import normalize

    edits, units = [], []
    for pair in zip(wanted, found, strict=True):
        one, other = pair if phones else map(normalize, pair)
        counted = jiwer.process_characters(one, other) if phones else jiwer.process_words(one, other)
        edits.append(counted.substitutions + counted.deletions + counted.insertions)
        units.append(counted.hits + counted.substitutions + counted.deletions)
    return edits, units


def _answers(recognizer: "Recognizer", bundle: "Bundle", speech: "list[FloatArray]") -> "list[FloatArray]":
    from kdcompress.frontend.logmel_numpy import log_mel

    normalize: Any = bundle.frontend.normalize
    return [recognizer.log_probs([log_mel(samples, normalize=normalize)])[0] for samples in speech]


def _paired(
    found: "CandidateResult", base: "CandidateResult", references: "list[Reference]", phones: bool
) -> dict[str, Any]:
    """Return the difference of error rates with its bootstrap interval, both on the same draws."""
    import numpy as np

    from kdcompress.report.bootstrap import difference

    wanted = [reference.text for reference in references]
    counts = []
    for result in (found, base):
        edits, units = _edits(wanted, [result.hypotheses[one.utterance.id] for one in references], phones)
        counts.append(np.array([edits]))
    interval = difference(counts[0], counts[1], np.array(units))
    return {"value": interval.value, "low": interval.low, "high": interval.high, "p": interval.p}


def main() -> None:
    """Measure one student, all presets, into one JSON file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run, which is exported first, or a bundle")
    parser.add_argument("--manifest", type=Path, required=True, help="JSONL with audio_filepath and text")
    parser.add_argument("--audio", type=Path, help="folder or manifest to calibrate and search on")
    parser.add_argument("--bundle", type=Path, help="where to export to")
    parser.add_argument("--also", action="append", default=[], help="NAME=BUNDLE/VARIANT; repeatable")
    parser.add_argument("--silence", type=Path, help="manifest of clips in which nobody speaks")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--preset", action="append", help="only this one; repeatable")
    parser.add_argument("--prefer", choices=("speed", "size"), default="speed", help="of auto")
    parser.add_argument("--max-kl", type=float, default=0.001, help="of auto")
    parser.add_argument("--max-disagreement", type=float, default=0.01, help="of auto")
    parser.add_argument("--blank-bias", choices=("none", "auto", "teacher"), default="none")
    parser.add_argument("--phones", action="store_true", help="texts are phones: characters are counted")
    parser.add_argument("--limit", type=int, help="only the first N utterances")
    parser.add_argument("--repeats", type=int, default=5, help="timed passes")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
