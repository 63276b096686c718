"""Write sbom.json: what the server is made of, by requirements.lock, in CycloneDX.

https://cyclonedx.org/docs/1.6/json/. Nothing is asked of a network; the file is the same for the same lock file.
"""

import json
import re
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"
SBOM = ROOT / "sbom.json"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)")


def components(lock: str) -> list[dict[str, Any]]:
    """Return the packages of a lock file; the hashes of their files stand in that."""
    found: list[dict[str, Any]] = []
    for line in lock.splitlines():
        if match := _PINNED.match(line):
            name, version = match[1].lower().replace("_", "-"), match[2]
            purl = f"pkg:pypi/{name}@{version}"
            found.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    return found


def document(lock: str) -> str:
    """Return the file for a lock file."""
    sbom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, lock)}",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "fhir-server", "bom-ref": "fhir-server"}},
        "components": components(lock),
    }
    return json.dumps(sbom, indent=1) + "\n"


if __name__ == "__main__":
    SBOM.write_text(document(LOCK.read_text()))
