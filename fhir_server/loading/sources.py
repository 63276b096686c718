"""Files to resources, one at a time, so that a file of any size takes little memory."""

import gzip
import hashlib
import uuid
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from fhir_server.fhir import codec
from fhir_server.fhir.outcome import FhirError
from fhir_server.fhir.xml import from_xml

SUFFIXES: Final = (".ndjson", ".jsonl", ".json", ".xml")
MAX_DEPTH: Final = 150
_LINES: Final = (".ndjson", ".jsonl")
_GZIP_MAGIC: Final = b"\x1f\x8b"
_IDS: Final = uuid.UUID("8e1c0c0e-6a35-5a7b-9d54-2f6f0c9f5d10")
_CONTENTS: Final = frozenset({"collection", "searchset"})
_REQUESTS: Final = frozenset({"transaction", "batch"})


@dataclass(frozen=True, slots=True)
class Item:
    """What stands at one place of a file: a Bundle to send as it is, entries for one, or an error.

    `position` is the line in an NDJSON file and 1 in others. `read` is how many bytes of the file (as stored) were read so far.
    """

    file: Path
    position: int
    entries: tuple[dict[str, Any], ...] = ()
    bundle: dict[str, Any] | None = None
    error: str = ""
    read: int = 0

    @property
    def place(self) -> str:
        """Where it stands, for people."""
        return f"{self.file}:{self.position}" if is_lines(self.file) else str(self.file)


def find_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files, and those in the directories, that may hold resources, in a stable order.

    Raises:
        FileNotFoundError: a path does not exist.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file() and _plain_suffix(file) in SUFFIXES)
            found |= dict.fromkeys(inside)
        elif path.is_file():
            found[path] = None
        else:
            raise FileNotFoundError(f"There is no file or directory {str(path)!r}.")
    return list(found)


def _plain_suffix(file: Path) -> str:
    return Path(file.stem if file.suffix == ".gz" else file.name).suffix.lower()


def is_lines(file: Path) -> bool:
    """Tell whether the file holds one resource a line."""
    return _plain_suffix(file) in _LINES


def read_items(file: Path) -> Iterator[Item]:
    """Yield what the file holds; what can not be read is an Item with an error."""
    try:
        with file.open("rb") as raw:
            yield from _items(file, raw)
    except (OSError, EOFError) as error:
        yield Item(file, 0, error=f"can not be read: {error}")


def _items(file: Path, raw: BinaryIO) -> Iterator[Item]:
    compressed = raw.read(2) == _GZIP_MAGIC
    raw.seek(0)
    with gzip.GzipFile(fileobj=raw) if compressed else nullcontext(raw) as stream:
        if not is_lines(file):
            yield _item(file, 1, stream.read(), raw.tell())
            return
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield _item(file, number, line, raw.tell())


def _item(file: Path, position: int, data: bytes, read: int) -> Item:
    try:
        resource = _decode(data)
    except FhirError as error:
        return Item(file, position, error=str(error), read=read)
    if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
        return Item(
            file, position, error="structure: this is no FHIR resource: a JSON object with a resourceType is expected", read=read
        )
    if resource["resourceType"] != "Bundle" or resource.get("type") not in _CONTENTS | _REQUESTS:
        return Item(file, position, entries=(to_entry(resource, file, position),), read=read)
    if resource["type"] in _REQUESTS:
        return Item(file, position, bundle=resource, read=read)
    return Item(file, position, entries=tuple(_contents(resource, file, position)), read=read)


def _decode(data: bytes) -> Any:
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return from_xml(data, max_depth=MAX_DEPTH)
    return codec.decode(data, max_depth=MAX_DEPTH)


def _contents(bundle: dict[str, Any], file: Path, position: int) -> Iterator[dict[str, Any]]:
    """Yield entries of a transaction for the resources that a collection or a search result holds."""
    entries = bundle.get("entry")
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(resource, dict):
            made = to_entry(resource, file, f"{position}.{number}")
            if isinstance(entry.get("fullUrl"), str):
                made["fullUrl"] = entry["fullUrl"]
            yield made


def to_entry(resource: dict[str, Any], file: Path, position: object) -> dict[str, Any]:
    """Return a transaction entry that puts the resource under its id.

    Without one it gets an id that follows from its content and place, so that loading it twice does not double it.
    """
    id_ = resource.get("id")
    if not isinstance(id_, str):
        digest = hashlib.sha256(codec.encode(resource)).hexdigest()
        id_ = str(uuid.uuid5(_IDS, f"{file.name}\n{position}\n{digest}"))
        resource = {"resourceType": resource["resourceType"], "id": id_, **resource} if "id" not in resource else resource
    return {"resource": resource, "request": {"method": "PUT", "url": f"{resource.get('resourceType')}/{id_}"}}
