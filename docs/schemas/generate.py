"""Write the schemas of files that the code has classes for; the other schemas here are written by hand.

    python docs/schemas/generate.py           rewrite them
    python docs/schemas/generate.py --check   exit 1 if one is not what the code says

Drafts are JSON Schema 2020-12. Generated: recipe, comparison, profile, cache, student.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from kdcompress.config.comparison import Comparison
from kdcompress.config.profile import ProfileConfig
from kdcompress.config.recipe import Recipe
from kdcompress.config.student import PRESETS, ConformerConfig
from kdcompress.distill.posteriors.cache import CacheRecord
from kdcompress.students.weights import SCHEMA

HERE = Path(__file__).resolve().parent
DIALECT = {"$schema": "https://json-schema.org/draft/2020-12/schema"}


def described(schema: dict[str, Any]) -> dict[str, Any]:
    """Move what docstrings say of attributes to the properties, where editors show it."""
    for model in (schema, *schema.get("$defs", {}).values()):
        about, _, attributes = model.get("description", "").partition("\n\nAttributes:\n")
        if about:
            model["description"] = " ".join(about.split())
        # A line "    name: text" begins an attribute; deeper ones go on with it.
        for names, text in re.findall(r"^    (\w[\w, ]*): (.*(?:\n {8}.*)*)", attributes, re.MULTILINE):
            for name in names.split(", "):
                if name in model["properties"]:
                    model["properties"][name]["description"] = " ".join(text.split())
        for value in model.get("properties", {}).values():
            value.pop("title", None)
    return schema


def recipe() -> dict[str, Any]:
    """Return the schema of recipes, with the two keys that are resolved before a recipe is validated."""
    schema = described(Recipe.model_json_schema())
    schema["properties"]["base"] = {
        "type": "string",
        "description": "Another recipe, beside this one, whose keys lie under these; it has no base itself.",
    }
    schema["$defs"]["ConformerConfig"]["properties"]["preset"] = {
        "enum": list(PRESETS),
        "description": "Values to begin with, named by their number of parameters.",
    }
    return schema


def student() -> dict[str, Any]:
    """Return the schema of student.json, which lies in every checkpoint."""
    bundle = json.loads((HERE / "bundle.schema.json").read_text(encoding="utf-8"))
    config = described(ConformerConfig.model_json_schema())
    parts = config.pop("$defs")  # its references are to the whole schema
    return {
        "title": "student.json",
        "description": "What model.safetensors beside it is, and where it came from.",
        "type": "object",
        "$defs": parts,
        "required": ["schema", "kind", "config", "vocabulary", "parameters", "fingerprint"],
        "properties": {
            "schema": {"const": SCHEMA},
            "kind": {"const": "kdcompress-student"},
            "config": config,
            "vocabulary": bundle["$defs"]["vocabulary"],
            "parameters": {"type": "integer", "minimum": 1},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{12}$"},
            "step": {"type": "integer", "minimum": 0},
            "teacher": {
                "type": ["string", "null"],
                "description": "Its fingerprint; null in supervised training.",
            },
            "frame_shift": {"type": "number", "description": "Of the output [s]."},
            "objective": {"type": "object", "description": "As in the recipe, every value spelled out."},
            "figures": {"type": "object", "description": "Those of the validation that wrote it."},
        },
    }


def schemas() -> dict[str, str]:
    """Return the text of each generated schema by file name."""
    made = {
        "recipe": recipe(),
        "comparison": described(Comparison.model_json_schema()),
        "profile": described(ProfileConfig.model_json_schema()),
        "cache": described(CacheRecord.model_json_schema()),
        "student": student(),
    }
    return {
        f"{name}.schema.json": json.dumps(DIALECT | schema, indent=1, ensure_ascii=False) + "\n"
        for name, schema in made.items()
    }


def main() -> None:
    """Rewrite or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for name, text in schemas().items():
        path = HERE / name
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"docs/schemas/{name} is not what the code says: run python docs/schemas/generate.py")


if __name__ == "__main__":
    main()
