"""What has been loaded, so that loading that was interrupted goes on where it stood."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Self


def fingerprint(file: Path) -> str:
    """Return what tells one state of a file from another, without reading it."""
    about = file.stat()
    return f"{file.absolute()}|{about.st_size}|{about.st_mtime_ns}"


class Journal:
    """A file of JSON lines `[target, file, position, …]`; a context manager that keeps it open for appending.

    A line is written after what it names is stored, and flushed to the disk, so it never promises too much. A last line
    that a crash cut off is passed over.
    """

    def __init__(self, path: Path, target: str, *, again: bool = False) -> None:
        self._path = path
        self._target = target
        self._again = again
        self._done: dict[str, set[int]] = {}
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and not self._again:
            self._read()
        self._file = self._path.open("a", encoding="utf-8")
        # After a line that was cut off a new one begins.
        self._file.write("\n")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> None:
        with self._path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    target, file, *positions = json.loads(line)
                except ValueError:
                    continue
                if target == self._target:
                    self._done.setdefault(file, set()).update(positions)

    def done(self, file: str) -> set[int]:
        """Return the positions of a file (by its fingerprint) that are stored."""
        return self._done.get(file, set())

    def add(self, stored: Iterable[tuple[str, int]]) -> None:
        """Note that what stands at these positions of these files is stored."""
        if self._file is None:
            raise RuntimeError("The journal is not open.")
        by_file: dict[str, list[int]] = {}
        for file, position in stored:
            by_file.setdefault(file, []).append(position)
        for file, positions in by_file.items():
            self._file.write(json.dumps([self._target, file, *positions]) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
