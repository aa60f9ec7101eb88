"""Keep what `kdcompress export --verify` found in bundles; docs/tables.py makes a matrix of it.

    python export/matrix.py BUNDLE…

A result is a bundle's `verification` and what the student was, in export/results/PROFILE.json; with --name
those of several bundles of one student are one, in export/results/NAME.json.
"""

import argparse
import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


def found_in(bundle: Path) -> dict[str, Any]:
    """Return what was found in a bundle, ready to be kept."""
    record = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    if "verification" not in record:
        raise SystemExit(f"{bundle} has not been verified: kdcompress export {bundle} --verify --audio DIR")
    return {
        "profile": record["profile"],
        "written_by": record["written_by"],
        "student": {key: record["provenance"][key] for key in ("run", "student", "parameters")},
        "bytes": {name: variant["bytes"] for name, variant in record["variants"].items()},
        "verification": record["verification"],
    }


def merge(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Add the variants of another bundle of the same student that the first has not."""
    if one["student"] != other["student"] or one["profile"] != other["profile"]:
        raise SystemExit("--name joins bundles of one student in one profile")
    more = {name: size for name, size in other["bytes"].items() if name not in one["bytes"]}
    one["bytes"] |= more
    checks = other["verification"]["checks"]
    one["verification"]["checks"] += [check for check in checks if check["variant"] in more]


def main() -> None:
    """Keep what was found in some bundles."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--name", help="of one file for all the bundles, instead of a file for each profile")
    arguments = parser.parse_args()
    results = [found_in(bundle) for bundle in arguments.bundles]
    if arguments.name:
        for other in results[1:]:
            merge(results[0], other)
        del results[1:]
    RESULTS.mkdir(exist_ok=True)
    for result in results:
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        (RESULTS / f"{arguments.name or result['profile']}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
