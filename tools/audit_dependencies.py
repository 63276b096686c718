"""Ask what vulnerabilities are known of the packages of requirements.lock; end with 1 where one is not accepted.

pip-audit asks: PyPI (https://docs.pypi.org/api/json/), and where that does not answer OSV (https://google.github.io/osv.dev/api/).
Whether a service can tell anything is seen by asking it first for a version of which vulnerabilities have been known for
years. Where none can, nothing was audited, which is said, and is no failure. What is accepted, why and until when, stands in
accepted_vulnerabilities.toml beside this file.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
LOCK: Final = ROOT / "requirements.lock"
ACCEPTED: Final = ROOT / "tools" / "accepted_vulnerabilities.toml"
KNOWN: Final = "jinja2==2.4.1\n"
"""Its vulnerabilities are of 2014 and later."""
PATIENCE_SECONDS: Final = 300
SOCKET_SECONDS: Final = 10
_MEMBERS: Final = {"id": str, "package": str, "reason": str, "until": date}

Report = Sequence[Mapping[str, Any]]
"""What pip-audit tells of packages: `name` and either `version` and `vulns`, or `skip_reason`."""


class AwayError(Exception):
    """A service does not answer, or can not tell anything."""


class AcceptedError(Exception):
    """The list of what is accepted can not be used."""


@dataclass(frozen=True, slots=True)
class Service:
    """Where pip-audit asks."""

    name: str
    arguments: tuple[str, ...]


SERVICES: Final = (Service("PyPI", ("-s", "pypi")), Service("OSV", ("-s", "osv")))


@dataclass(frozen=True, slots=True)
class Accepted:
    """A vulnerability that is lived with for a while."""

    id: str
    package: str
    reason: str
    until: date


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said, and whether it is a failure."""

    lines: list[str]
    failed: bool


def accepted(text: str) -> list[Accepted]:
    """Return what a list accepts.

    Raises:
        AcceptedError: an entry lacks an id, a package, a reason or the last day, or there is something else in it.
    """
    try:
        entries = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise AcceptedError(f"The list of accepted vulnerabilities is no TOML: {error}") from None
    found = []
    for entry in entries.pop("accepted", []):
        wrong = entry.keys() ^ _MEMBERS.keys() or {name for name, kind in _MEMBERS.items() if type(entry[name]) is not kind}
        if wrong or not all(str(value).strip() for value in entry.values()):
            raise AcceptedError(f"An accepted vulnerability has an id, a package, a reason and a last day (until): {entry}")
        found.append(Accepted(**entry))
    if entries:
        raise AcceptedError(f"Only [[accepted]] is known in the list of accepted vulnerabilities, not {sorted(entries)}.")
    return found


def judged(report: Report, accepted_: Iterable[Accepted], today: date) -> Verdict:
    """Say what a report means on a day."""
    lines, failed, unused = [], False, list(accepted_)
    audited = [one for one in report if "skip_reason" not in one]
    for package in audited:
        for one in package["vulns"]:
            names = {one["id"], *one["aliases"]}
            entry = next((each for each in accepted_ if each.id in names and each.package == package["name"]), None)
            if entry in unused:
                unused.remove(entry)
            what = f"{package['name']} {package['version']}: {one['id']}"
            if entry is None:
                lines.append(
                    f"{what} ({', '.join(sorted(names))}), fixed in {', '.join(one['fix_versions']) or 'no version yet'}"
                )
            elif entry.until < today:
                lines.append(f"{what} was accepted until {entry.until}: {entry.reason}")
            else:
                lines.append(f"{what} is accepted until {entry.until}: {entry.reason}")
            failed |= entry is None or entry.until < today
    lines += [f"{one.package}: {one.id} is accepted and not found any more; take it off the list" for one in unused]
    lines += [f"{one['name']} was not audited: {one['skip_reason']}" for one in report if "skip_reason" in one]
    return Verdict([*lines, f"{len(audited)} packages were audited."], failed)


def asked(service: Service, requirements: Path, cache: Path) -> Report:
    """Return what a service knows of requirements.

    Raises:
        AwayError: it does not answer.
    """
    command = [sys.executable, "-m", "pip_audit", *service.arguments, "-r", str(requirements), "--disable-pip", "--no-deps"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", str(SOCKET_SECONDS), "--cache-dir", str(cache)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)  # noqa: S603
        dependencies: Report = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        raise AwayError(f"no end within {PATIENCE_SECONDS} seconds") from None
    except ValueError:
        raise AwayError(next(reversed(done.stderr.strip().splitlines()), "no answer")) from None
    return dependencies


def audited(service: Service, lock: Path) -> Report:
    """Return what a service knows of the packages of a lock file.

    Raises:
        AwayError: it does not answer, or can not tell anything.
    """
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        known = directory / "known.txt"
        known.write_text(KNOWN)
        [package] = asked(service, known, directory)
        if not package.get("vulns"):
            raise AwayError(package.get("skip_reason") or f"it knows no vulnerability of {KNOWN.strip()}")
        return asked(service, lock, directory)


def main() -> int:
    """Audit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", type=Path, default=LOCK, help="the lock file")
    parser.add_argument("--accepted", type=Path, default=ACCEPTED, help="the list of what is accepted")
    parser.add_argument("--osv-url", help="ask this service only, which speaks the protocol of OSV")
    given = parser.parse_args()
    own = Service(given.osv_url, ("-s", "osv", "--osv-url", given.osv_url)) if given.osv_url else None
    try:
        list_ = accepted(given.accepted.read_text())
    except AcceptedError as error:
        print(error)
        return 1
    reasons = []
    for service in (own,) if own else SERVICES:
        try:
            report = audited(service, given.lock)
        except AwayError as away:
            reasons.append(f"{service.name}: {away}")
            continue
        verdict = judged(report, list_, datetime.now(UTC).date())
        print(*(f"Audit of dependencies by {service.name}: {line}" for line in verdict.lines), sep="\n")
        return int(verdict.failed)
    print("Audit of dependencies SKIPPED, since no service that knows vulnerabilities answers.", *reasons, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
