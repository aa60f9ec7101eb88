"""Write a bill of materials of this image (CycloneDX 1.5): what is installed, not what was asked for.

Usage: sbom.py FILE

Python packages come from their metadata, the base image's packages from dpkg where there is one. There is
neither a time nor a random number in it: the same packages give the same file.
"""

import json
import re
import subprocess
import sys
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]


def python_packages() -> list[Component]:
    """Return a component for each installed distribution."""
    found = {}
    for distribution in metadata.distributions():
        about = distribution.metadata
        name = re.sub(r"[-_.]+", "-", about["Name"]).lower()
        component = _component(name, distribution.version, f"pkg:pypi/{name}@{quote(distribution.version)}")
        classified = [line for line in about.get_all("Classifier", []) if line.startswith("License ::")]
        if expression := about["License-Expression"]:
            component["licenses"] = [{"expression": expression}]
        elif classified:
            component["licenses"] = [{"license": {"name": line.rpartition(" :: ")[2]}} for line in classified]
        found.setdefault(name, component)  # the first one on the path is the one that is imported
    return sorted(found.values(), key=lambda component: component["name"])


def system_packages() -> list[Component]:
    """Return a component for each package of the base image; none where dpkg is missing."""
    command = ("dpkg-query", "--show", "--showformat=${Package} ${Version} ${Architecture}\n")
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return []
    return [
        _component(name, version, f"pkg:deb/debian/{name}@{quote(version)}?arch={architecture}")
        for name, version, architecture in (line.split(" ") for line in sorted(lines))
    ]


def _component(name: str, version: str, purl: str) -> Component:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def bill() -> dict[str, Any]:
    """Return the bill; kdcompress itself is its subject."""
    python = python_packages()
    subject = next(component for component in python if component["name"] == "kdcompress")
    components = [component for component in python if component is not subject] + system_packages()
    listed = json.dumps([subject, *components], sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, listed)}",
        "version": 1,
        "metadata": {"component": {**subject, "type": "application"}},
        "components": components,
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    Path(sys.argv[1]).write_text(json.dumps(bill(), indent=1) + "\n", encoding="utf-8")
