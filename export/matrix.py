"""Keep what `kdcompress export --verify` found in bundles; docs/tables.py makes a matrix of it.

    python export/matrix.py BUNDLE…

A result is a bundle's `verification` and what the student was, in export/results/PROFILE.json.
"""

import argparse
import json
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def keep(bundle: Path) -> None:
    """Copy what was found in a bundle to export/results/."""
    record = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    if "verification" not in record:
        raise SystemExit(f"{bundle} has not been verified: kdcompress export {bundle} --verify --audio DIR")
    result = {
        "profile": record["profile"],
        "written_by": record["written_by"],
        "student": {key: record["provenance"][key] for key in ("run", "student", "parameters")},
        "bytes": {name: variant["bytes"] for name, variant in record["variants"].items()},
        "verification": record["verification"],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{record['profile']}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """Keep what was found in some bundles."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    for bundle in parser.parse_args().bundles:
        keep(bundle)


if __name__ == "__main__":
    main()
