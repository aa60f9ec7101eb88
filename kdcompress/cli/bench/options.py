"""Options of `kdcompress bench` about what is scored, kept and compared."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

Manifest: TypeAlias = Annotated[
    Path | None,
    typer.Option("--manifest", help="JSONL with audio_filepath and, for error rates, text: what to decode."),
]
Audio: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--audio", metavar="DIR", help="Or a folder: without transcripts there is agreement, no accuracy."
    ),
]
Reference: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--reference",
        metavar="NAME",
        help="Candidate that the others are compared with, as the table names it. [default: the first]",
    ),
]
Normalizer: TypeAlias = Annotated[
    Literal["none", "basic", "english"] | None,
    typer.Option(
        "--normalizer",
        help="Applied to both texts before scoring. [default: basic; with --rescore, the report's own]",
    ),
]
Hypotheses: TypeAlias = Annotated[
    Path | None,
    typer.Option("--hypotheses", metavar="FILE", help="Write the raw texts of every candidate as JSONL."),
]
Rescore: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--rescore",
        metavar="FILE",
        help="Run no model: score what --hypotheses or --json wrote again. Takes no bundles.",
    ),
]
Baseline: TypeAlias = Annotated[
    Path | None,
    typer.Option("--baseline", metavar="FILE", help="Report of an earlier run (--json) to compare with."),
]
MaxWerIncrease: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--max-wer-increase",
        min=0,
        metavar="POINTS",
        help="Exit 3 where WER rose by more than this against --baseline: 0.2 is 5.0 % to 5.2 %.",
    ),
]
MaxRtfRatio: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--max-rtf-ratio",
        min=0.01,
        metavar="RATIO",
        help="Exit 3 where time, relative to the reference candidate, grew by more than this factor.",
    ),
]
Stress: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--stress",
        metavar="all|NAME,…",
        help="Decode everything again with silence around, joined, in noise, by telephone and more, untimed.",
    ),
]
MaxStressRatio: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--max-stress-ratio",
        min=0,
        metavar="RATIO",
        help="Exit 3 where a stress costs more points of WER than so many times what it costs the reference "
        "candidate: 1.5.",
    ),
]
MaxStressCharacters: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--max-stress-characters",
        min=0,
        metavar="N",
        help="Exit 3 where a model prints so many characters more than the reference candidate where nobody "
        "speaks.",
    ),
]
MaxDelayIncrease: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--max-delay-increase",
        min=0,
        metavar="MS",
        help="Exit 3 where, with --streams, words came later by more than this against --baseline.",
    ),
]
Streams: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--streams",
        metavar="N,…",
        help="Measure bundles that stream as they do: delays, and so many streams at once.",
    ),
]
Json: TypeAlias = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the whole report; - prints it instead of the table."),
]
