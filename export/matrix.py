"""Write the matrix of export/README.md: profile × variant × runtime, and what each made of the other.

    python export/matrix.py BUNDLE…     keep what `kdcompress export --verify` found in these, then rewrite
    python export/matrix.py             rewrite what stands between the markers from export/results/
    python export/matrix.py --check     exit 1 if the README is not what the results say

A result is a bundle's `verification` and what the student was, in export/results/PROFILE.json.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
README, RESULTS = HERE / "README.md", HERE / "results"
BEGIN, END = "<!-- matrix: written by export/matrix.py -->", "<!-- end of matrix -->"
OURS = ("lengths", "padding", "selftest")


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


def matrix(results: list[dict[str, Any]]) -> str:
    """Return the table and what was heard."""
    found = [check for result in results for check in result["verification"]["checks"]]
    runtimes = list(dict.fromkeys(check["what"] for check in found if check["what"] not in OURS))
    headings = ["profile", "variant", "MB", "kdcompress", *runtimes]
    lines = [f"| {' | '.join(headings)} |", "|---|---|---:" + "|---:" * (len(headings) - 3) + "|"]
    for result in results:
        checks = result["verification"]["checks"]
        for variant, size in result["bytes"].items():
            of = {check["what"]: check for check in checks if check["variant"] == variant}
            own = all(of[name]["passed"] for name in OURS)
            cells = [result["profile"], variant, f"{size / 1e6:.2f}", "passes" if own else "FAILS"]
            lines.append(f"| {' | '.join([*cells, *(cell(of.get(name)) for name in runtimes)])} |")
    versions = dict.fromkeys(f"{c['what']} {c['version']}" for c in found if c["version"])
    heard = [
        f"- {r['profile']}: {r['verification']['audio']}, heard by a student of "
        f"{r['student']['parameters'] / 1e6:.2f} M parameters"
        for r in results
    ]
    return "\n".join([*lines, "", *heard, "", f"Versions: {', '.join(versions)}."])


def cell(check: dict[str, Any] | None) -> str:
    """Return a check of a runtime in few words."""
    if check is None:
        return ""
    if check["passed"] is None:
        return "not tried"
    if check["same"] is None:
        return "FAILS"
    word = "" if check["passed"] else "FAILS: "
    return f"{word}{check['same']:.0%} same, {check['difference']:.1%} off"


def rendered() -> str:
    """Return the README with its matrix anew."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    order = {"portable": 0, "waveform": 1, "kaldi": 2}
    results = [json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob("*.json")]
    results.sort(key=lambda result: (order.get(result["profile"], len(order)), result["profile"]))
    return f"{before}{BEGIN}\n\n{matrix(results)}\n\n{END}{after}"


def main() -> None:
    """Keep, rewrite or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundles", nargs="*", type=Path, metavar="BUNDLE")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    for bundle in args.bundles:
        keep(bundle)
    new = rendered()
    if args.check:
        sys.exit(0 if new == README.read_text(encoding="utf-8") else "export/README.md: run export/matrix.py")
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
