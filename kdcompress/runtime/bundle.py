"""The bundle directory: the only thing that crosses from training to what runs a student."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdcompress import __version__
from kdcompress.digests import file_sha256, unsealed
from kdcompress.errors import BundleError, VocabularyError
from kdcompress.runtime.bundle_files import FILE_NAME, check_name, refuse_links_out, while_replaced
from kdcompress.runtime.identify import no_bundle
from kdcompress.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from typing_extensions import Self

SCHEMA = 1
KIND = "kdcompress-bundle"

_LARGEST = 64 << 20  # [bytes] of bundle.json; a vocabulary of a million tokens takes a quarter of it
_LONGEST_FRAME_SHIFT = 10.0  # [s]

FP32 = "fp32"
INT8_DYNAMIC = "int8-dynamic"
AUTO = "auto"
# What is taken unless one is named. Of files that are there int8 is the nearest to fp32, and int4 as fast.
# The page of export/consumers/web, which fetches what it takes, puts int4 before int8.
PREFERRED = (AUTO, INT8_DYNAMIC, "int4", FP32)


@dataclass(frozen=True)
class Variant:
    """One graph of a bundle: the same student at one precision.

    Attributes:
        name: `fp32`, `int8-dynamic`, …
        file: file name inside the bundle directory.
        sha256: hex digest of the file.
        bytes: its size.
        ops: how often each operator occurs: distinguishes a quantized graph from one that is so by name only.
        cost: of shipping and loading it; see `kdcompress.quantize.cost`. Older bundles do not say.
    """

    name: str
    file: str
    sha256: str
    bytes: int
    ops: Mapping[str, int] = field(default_factory=dict)
    cost: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Frontend:
    """The features that the graph wants to be fed.

    Attributes:
        kind: `logmel` or `kaldi`; `samples` for none at all.
        normalize: `per_feature` or `none`; of samples `per_utterance` or `none`.
    """

    kind: str = "logmel"
    mel_bins: int = 80
    normalize: str = "per_feature"


@dataclass(frozen=True)
class Bundle:
    """What bundle.json says.

    Attributes:
        profile: the layout of graph and files, such as `portable`.
        vocabulary: the output units, blank included.
        frame_shift: time between two output frames [s].
        subsampling_factor: feature frames per output frame.
        variants: by name, at least one.
        sample_rate: of the audio behind the features [Hz].
        input: what the graph is fed: `features`.
        frontend: which features.
        frame_window: see `kdcompress.runtime.layout.frame_counts`.
        provenance: where the student came from; free-form.
        parity: per variant, how far its graph was from the original model; free-form.
        verification: what `kdcompress export --verify` found, where it has been asked; free-form.
        written_by: program and version.
        files: sha256 by name of what lies beside the graphs for other runtimes, such as tokens.txt.
        directory: where the files are; not part of the file.
    """

    profile: str
    vocabulary: Vocabulary
    frame_shift: float
    subsampling_factor: int
    variants: Mapping[str, Variant]
    sample_rate: int = 16_000
    input: str = "features"
    frontend: Frontend = Frontend()
    frame_window: int = 0
    provenance: Mapping[str, Any] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)
    verification: Mapping[str, Any] = field(default_factory=dict)
    written_by: str = f"kdcompress {__version__}"
    files: Mapping[str, str] = field(default_factory=dict)
    directory: Path = Path()

    def __repr__(self) -> str:
        return f"Bundle({str(self.directory)!r}, profile={self.profile}, variants={list(self.variants)})"

    @property
    def parameters(self) -> int | None:
        """How many weights the student has, where its exporter said so."""
        count = self.provenance.get("parameters")
        return count if isinstance(count, int) else None

    def variant(self, name: str | None = None) -> Variant:
        """Return a variant by name; None takes the first of `PREFERRED` that is there.

        Raises:
            BundleError: the bundle has no such variant; lists those it has.
        """
        if name is None:
            for preferred in (*PREFERRED, *self.variants):
                if preferred in self.variants:
                    return self.variants[preferred]
        elif name in self.variants:
            return self.variants[name]
        raise BundleError(f"{self.directory} has no variant {name!r}; it has {', '.join(self.variants)}")

    def path(self, variant: Variant) -> Path:
        """Return where a variant's graph is."""
        return self.directory / variant.file

    def verify(self, variant: Variant) -> None:
        """Hold a variant's graph against its checksum.

        Raises:
            BundleError: it was altered.
        """
        file = self.path(variant)
        if (found := file_sha256(file)) != variant.sha256:
            expected = variant.sha256
            raise BundleError(
                f"{file} has sha256 {found[:12]}… where {FILE_NAME} says {expected[:12]!r}…: it was altered"
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain data for bundle.json."""
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "profile": self.profile,
            "written_by": self.written_by,
            "input": self.input,
            "sample_rate": self.sample_rate,
            "frame_shift": self.frame_shift,
            "subsampling_factor": self.subsampling_factor,
            **({"frame_window": self.frame_window} if self.frame_window else {}),
            "frontend": {
                "kind": self.frontend.kind,
                "mel_bins": self.frontend.mel_bins,
                "normalize": self.frontend.normalize,
            },
            "vocabulary": self.vocabulary.to_json(),
            "variants": {
                name: {"file": v.file, "sha256": v.sha256, "bytes": v.bytes, "ops": dict(v.ops)}
                | ({"cost": dict(v.cost)} if v.cost else {})
                for name, v in self.variants.items()
            },
            "provenance": dict(self.provenance),
            "parity": dict(self.parity),
            **({"verification": dict(self.verification)} if self.verification else {}),
            **({"files": dict(self.files)} if self.files else {}),
        }

    @classmethod
    def from_json(cls, data: Any, directory: Path = Path()) -> "Self":
        """Rebuild what `to_json` wrote; looks at no other file.

        Raises:
            BundleError: the data are not a bundle of this schema, or name a file outside the directory.
        """
        where = directory / FILE_NAME
        if not isinstance(data, dict) or data.get("kind") != KIND:
            raise BundleError(f'{where} does not say "kind": "{KIND}"; write bundles with kdcompress export')
        if data.get("schema") != SCHEMA:
            raise BundleError(
                f"{where} has schema {data.get('schema')!r}, this version reads {SCHEMA}; "
                "export the run again or install the version that wrote it"
            )
        try:
            variants = {
                str(name): Variant(
                    name=str(name),
                    file=str(entry["file"]),
                    sha256=str(entry["sha256"]),
                    bytes=int(entry["bytes"]),
                    ops={str(op): int(count) for op, count in entry.get("ops", {}).items()},
                    cost={str(k): None if v is None else float(v) for k, v in entry.get("cost", {}).items()},
                )
                for name, entry in data["variants"].items()
            }
            bundle = cls(
                profile=str(data["profile"]),
                vocabulary=Vocabulary.from_json(data["vocabulary"]),
                frame_shift=float(data["frame_shift"]),
                subsampling_factor=int(data["subsampling_factor"]),
                variants=variants,
                sample_rate=int(data["sample_rate"]),
                input=str(data["input"]),
                frontend=Frontend(
                    kind=str(data["frontend"]["kind"]),
                    mel_bins=int(data["frontend"]["mel_bins"]),
                    normalize=str(data["frontend"]["normalize"]),
                ),
                frame_window=int(data.get("frame_window", 0)),
                provenance=dict(data.get("provenance", {})),
                parity=dict(data.get("parity", {})),
                verification=dict(data.get("verification", {})),
                written_by=str(data.get("written_by", "unknown")),
                files={str(name): str(digest) for name, digest in data.get("files", {}).items()},
                directory=directory,
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            reason = str(error) if isinstance(error, VocabularyError) else repr(error)
            raise BundleError(f"{where} is malformed: {reason}; export the run again") from error
        if not variants:
            raise BundleError(f"{where} lists no variants; export the run again")
        if not 0 < bundle.frame_shift < _LONGEST_FRAME_SHIFT:
            raise BundleError(f"{where} has frame_shift {bundle.frame_shift}; expected seconds above 0")
        if bundle.subsampling_factor < 1 or bundle.frame_window < 0:
            raise BundleError(
                f"{where} has subsampling_factor {bundle.subsampling_factor} and frame_window "
                f"{bundle.frame_window}; expected 1 or more, and 0 or more"
            )
        for variant in variants.values():
            if not variant.name.isprintable():
                raise BundleError(
                    f"{where} names the variant {variant.name!r}; expected printable characters"
                )
            check_name(where, variant.file)
        for name in bundle.files:
            check_name(where, name)
        return bundle


def open_bundle(path: Path | str, verify: bool = False) -> Bundle:
    """Read a bundle directory and check that its files are those that it lists.

    Args:
        path: the directory.
        verify: hash the graphs too, which reads them completely; otherwise sizes only.

    Raises:
        BundleError: the directory is no bundle, of another schema, incomplete or altered.
    """
    directory = Path(path)
    return while_replaced(directory, lambda: _open(directory, verify))


def _open(directory: Path, verify: bool) -> Bundle:
    where = directory / FILE_NAME
    if not where.is_file():
        raise BundleError(f"{directory} is not a bundle: {no_bundle(directory)}")
    refuse_links_out(where)
    try:
        if (size := where.stat().st_size) > _LARGEST:
            raise BundleError(f"{where} has {size} bytes; expected less than {_LARGEST}: it is no bundle's")
        data = unsealed(json.loads(where.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, BundleError):
            raise
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise BundleError(f"{where} cannot be read as JSON: {reason}; export the run again") from error
    bundle = Bundle.from_json(data, directory)
    for variant in bundle.variants.values():
        file = bundle.path(variant)
        if not file.is_file():
            raise BundleError(f"{file} is missing though {FILE_NAME} lists it; copy the whole directory")
        refuse_links_out(file)
        size = file.stat().st_size
        if size != variant.bytes:
            raise BundleError(
                f"{file} has {size} bytes where {FILE_NAME} says {variant.bytes}: it was altered or cut short"
            )
        if verify:
            bundle.verify(variant)
    for name, digest in bundle.files.items():
        file = directory / name
        # What our own runtime does not need may be left out, but not be another.
        if not file.is_file():
            continue
        refuse_links_out(file)
        if file_sha256(file) != digest:
            raise BundleError(
                f"{file} is not what {FILE_NAME} lists: it was altered; export again, or copy the directory"
            )
    return bundle
