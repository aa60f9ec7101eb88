"""Hold the configuration of an image (`buildah inspect`, on standard input) against what it promises.

Usage: promises.py VERSION
"""

import json
import sys

if __name__ == "__main__":
    found = json.load(sys.stdin)["Docker"]["config"]
    labels = found.get("Labels") or {}
    promises = {
        "the entry point is kdcompress": found.get("Entrypoint") == ["kdcompress"],
        "nobody is root": found.get("User") not in {None, "", "0", "root"},
        "there is a health check": "healthcheck.py" in str((found.get("Healthcheck") or {}).get("Test")),
        "the version is the package's": labels.get("org.opencontainers.image.version") == sys.argv[1],
        "the licence is named": labels.get("org.opencontainers.image.licenses") == "Apache-2.0",
    }
    broken = [promise for promise, kept in promises.items() if not kept]
    sys.exit(f"not so: {', '.join(broken)}; found {json.dumps(found)}" if broken else 0)
