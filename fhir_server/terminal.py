"""What the command line shows to people: progress bars, reports, findings. All of it goes to standard error."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from fhir_server.doctor import Finding
    from fhir_server.loading.run import Report

FAILURES_SHOWN: Final = 20

console = Console(stderr=True, soft_wrap=True, highlight=False)


def progress_bar(*, of_bytes: bool = False) -> Progress:
    """Return a progress bar, which shows nothing where nobody looks."""
    amount: ProgressColumn = DownloadColumn() if of_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


class BytesRead:
    """Adds up how much of several files is read, when told how much of one."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._sizes = {file: file.stat().st_size for file in files}
        self._read = dict.fromkeys(files, 0)

    @property
    def total(self) -> int:
        """The size of all files."""
        return sum(self._sizes.values())

    def add(self, file: Path, read: int) -> int:
        """Note how much of a file is read, and return how much of all; files are read one after the other."""
        for other in self._read:
            if other == file:
                break
            self._read[other] = self._sizes[other]
        self._read[file] = min(read, self._sizes[file])
        return sum(self._read.values())


def show_report(report: "Report", file: Path | None) -> None:
    """Print what was loaded and what was not, and write all failures to `file` where one is named."""
    table = Table("Type", "Stored", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for type_, count in sorted(report.stored.items()):
        table.add_row(type_, f"{count:,}")
    if report.stored:
        console.print(table)
    console.print(f"Stored {report.stored.total():,}, loaded before {report.skipped:,}, failed {len(report.failures):,}.")
    for failure in report.failures[:FAILURES_SHOWN]:
        console.print(f"  {failure.place}: {failure.reason}", style="red", markup=False)
    if len(report.failures) > FAILURES_SHOWN:
        console.print(f"  … and {len(report.failures) - FAILURES_SHOWN:,} more; --report FILE writes them all.")
    if file is not None:
        lines = (json.dumps({"place": failure.place, "reason": failure.reason}) for failure in report.failures)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def show_findings(findings: Iterable["Finding"]) -> bool:
    """Print findings, with what mends those that are not in order; False when there is such a one."""
    clean = True
    for finding in findings:
        mark = "✓" if finding.ok else "✗"
        console.print(f"{mark} {finding.subject}: {finding.found}", style="green" if finding.ok else "red", markup=False)
        if not finding.ok:
            clean = False
            console.print(f"    {finding.mend}", markup=False)
    return clean
