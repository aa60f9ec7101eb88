"""Where a Hugging Face model's files are: a directory, or a snapshot of the hub in the local cache."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from kdcompress.config.teacher import HuggingFaceTeacher
from kdcompress.errors import MissingExtra, TeacherError
from kdcompress.teachers.open import looks_like_hub_id

# Named one by one: repositories also hold optimizer states, language models and a thousand adapters.
_WANTED = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "tokenizer.json",
    "tokenizer.model",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
)
_VOCABULARIES = ("vocab.json", "tokenizer.json", "tokenizer.model")


def find_folder(config: HuggingFaceTeacher) -> Path:
    """Return the model's directory; a hub id is downloaded into the hub's cache first.

    Raises:
        TeacherError: there is no such directory, or the hub does not give the model away.
        MissingExtra: huggingface_hub is not installed.
    """
    folder = Path(config.path).expanduser()
    if folder.is_dir():
        return folder
    if not looks_like_hub_id(config.path):
        raise TeacherError(f"no teacher in {config.path}: there is no such directory")
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError as error:
        raise MissingExtra("huggingface_hub", "train", "a teacher from the hub") from error
    name = config.path if config.revision is None else f"{config.path} (revision {config.revision})"
    # Of a thousand adapters the one that is asked for.
    wanted = [*_WANTED, *([f"adapter.{config.language}.safetensors"] if config.language else [])]
    try:
        return Path(snapshot_download(config.path, revision=config.revision, allow_patterns=wanted))
    except errors.GatedRepoError as error:
        raise TeacherError(
            f"the hub gives teacher {name} only to those who accepted its terms: accept them on its page and "
            "log in with 'hf auth login'"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise TeacherError(f"teacher {name}: the hub's model has no such revision") from error
    except errors.RepositoryNotFoundError as error:
        raise TeacherError(
            f"no teacher {name}: neither a directory here nor a model on the hub (a private one needs "
            "'hf auth login')"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise TeacherError(
            f"no teacher {name}: no such directory, the hub cannot be reached, and its cache here does not "
            "have the model; connect once, or give the directory of a downloaded copy"
        ) from error
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise TeacherError(f"cannot get teacher {name} from the hub: {reason}") from error


def weight_files(name: str, folder: Path) -> list[Path]:
    """Return the safetensors files of a model.

    Raises:
        TeacherError: there are none.
    """
    whole = folder / "model.safetensors"
    files = [whole] if whole.is_file() else sorted(folder.glob("model-*.safetensors"))
    if files:
        return files
    pickles = sorted(path.name for suffix in ("bin", "pt", "ckpt") for path in folder.glob(f"*.{suffix}"))
    found = f"only {pickles[0]}, which is pickled and could run code," if pickles else "no weights"
    raise TeacherError(
        f"teacher {name}: found {found} where model.safetensors was expected; convert a trusted model "
        "once with transformers: AutoModelForCTC.from_pretrained(ID).save_pretrained(DIR), or name a "
        "revision that has safetensors (on the hub often refs/pr/N)"
    )


def find_adapter(name: str, folder: Path, language: str | None) -> Path | None:
    """Return the adapter of a language (MMS); None where the weights themselves are meant.

    Raises:
        TeacherError: the model wants one and there is none, or it is damaged.
    """
    if language is None:
        return None
    adapter = folder / f"adapter.{language}.safetensors"
    if not adapter.is_file():
        wants = read_json(folder / "config.json").get("adapter_attn_dim") is not None
        if wants and read_json(folder / "tokenizer_config.json").get("target_lang") != language:
            there = [path.name.split(".")[1] for path in sorted(folder.glob("adapter.*.safetensors"))]
            raise TeacherError(
                f"teacher {name} has no {adapter.name}, which its head for {language!r} is in; "
                f"there are adapters for: {listed(there) or 'no language'}"
            )
        return None
    try:
        # transformers would look for a pickled one instead.
        with safe_open(adapter, "pt") as file:
            file.keys()
    except (OSError, SafetensorError) as error:
        raise TeacherError(f"{adapter} is damaged ({error}): fetch it anew") from error
    return adapter


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object; an empty one where there is none, of which transformers says what is wrong."""
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def listed(names: list[str]) -> str:
    """Return the first of some names, and how many more there are."""
    shown = ", ".join(names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def check_vocabulary(name: str, folder: Path) -> None:
    """See that the model brings the names of its outputs.

    Raises:
        TeacherError: it does not.
    """
    if not any((folder / file).is_file() for file in _VOCABULARIES):
        raise TeacherError(
            f"teacher {name} has no vocabulary: expected {_VOCABULARIES[0]} or {_VOCABULARIES[1]} beside "
            "config.json; save the model's tokenizer or processor there (save_pretrained)"
        )


def fingerprint(folder: Path, weights: list[Path]) -> str:
    """Hash the weights and what is done to the audio before them."""
    digest = hashlib.sha256()
    for path in [*weights, folder / "preprocessor_config.json", folder / "processor_config.json"]:
        if path.is_file():
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()
