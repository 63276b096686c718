"""The audit of dependencies, by the real pip-audit, against a service that speaks the protocol of OSV on loopback.

https://google.github.io/osv.dev/post-v1-query/, https://ossf.github.io/osv-schema/
"""

import json
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "audit_dependencies.py"
tool = SimpleNamespace(**runpy.run_path(str(SCRIPT)))
CANARY = ("jinja2", "2.4.1")
TODAY = datetime.now(UTC).date()


def vulnerability(id_: str, package: str, fixed: str, *aliases: str) -> dict[str, Any]:
    """Return a vulnerability in the schema of OSV."""
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}]
    affected = [{"package": {"name": package, "ecosystem": "PyPI"}, "ranges": ranges}]
    return {"schema_version": "1.6.0", "id": id_, "aliases": list(aliases), "summary": "It is bad.", "affected": affected}


@dataclass
class Osv:
    """A service that knows vulnerabilities of versions."""

    url: str = ""
    status: int = 200
    known: dict[tuple[str, str], list[dict[str, Any]]] = field(
        default_factory=lambda: {CANARY: [vulnerability("PYSEC-2014-8", "jinja2", "2.7.2")]}
    )
    asked: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture
def osv() -> Iterator[Osv]:
    """The service, which is asked by `POST /v1/query`."""
    found = Osv()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/query"
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert query["package"]["ecosystem"] == "PyPI"
            key = (query["package"]["name"], query["version"])
            found.asked.append(key)
            vulns = found.known.get(key, [])
            body = json.dumps({"vulns": vulns} if vulns else {}).encode()
            self.send_response(found.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_address[1]}/v1/query"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def audit(tmp_path: Path, osv: Osv):
    """Run the tool; return its exit code and what it said."""

    def run(accepted: str = "", lock: str = f"aiobad==1.0 \\\n    --hash=sha256:{'0' * 64}\n") -> tuple[int, str]:
        (tmp_path / "requirements.lock").write_text(lock)
        (tmp_path / "accepted.toml").write_text(accepted)
        command = [sys.executable, str(SCRIPT), "--osv-url", osv.url, "--lock", str(tmp_path / "requirements.lock")]
        done = subprocess.run(
            [*command, "--accepted", str(tmp_path / "accepted.toml")], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.stderr == ""
        return done.returncode, done.stdout

    return run


def entry(id_: str, until: date, package: str = "aiobad", reason: str = "It is never called.") -> str:
    """Return an entry of the list of what is accepted."""
    return f'[[accepted]]\nid = "{id_}"\npackage = "{package}"\nreason = "{reason}"\nuntil = {until}\n'


BAD = vulnerability("PYSEC-2026-1", "aiobad", "1.1", "CVE-2026-1", "GHSA-1111-2222-3333")


def test_the_lock_file_of_the_server_is_audited_whole(audit, osv: Osv) -> None:
    """Each package that is for this machine is asked about by its version."""
    code, said = audit(lock=(ROOT / "requirements.lock").read_text())
    assert code == 0, said
    assert f"{len(osv.asked) - 1} packages were audited." in said
    assert len(set(osv.asked)) > 80
    assert {"pymongo", "cryptography", "twilio"} <= {name for name, _ in osv.asked}


def test_a_known_vulnerability_fails(audit, osv: Osv) -> None:
    """What it is called, and where it is fixed, is said."""
    osv.known["aiobad", "1.0"] = [BAD]
    code, said = audit()
    assert code == 1
    assert "aiobad 1.0: PYSEC-2026-1 (CVE-2026-1, GHSA-1111-2222-3333, PYSEC-2026-1), fixed in 1.1" in said


def test_an_accepted_one_does_not_fail_until_its_day_is_over(audit, osv: Osv) -> None:
    """Accepted by another of its names; an entry that has expired fails, and says why it was accepted."""
    osv.known["aiobad", "1.0"] = [BAD]
    code, said = audit(entry("CVE-2026-1", TODAY + timedelta(days=2)))
    assert (code, "is accepted until" in said) == (0, True)
    code, said = audit(entry("CVE-2026-1", TODAY - timedelta(days=2)))
    assert (code, "was accepted until" in said, "It is never called." in said) == (1, True, True)


def test_a_service_that_fails_skips_the_audit_and_says_so(audit, osv: Osv) -> None:
    """An error of the service is no failure of the audit."""
    osv.status = 503
    code, said = audit()
    assert code == 0
    assert "Audit of dependencies SKIPPED" in said
    assert osv.asked == [CANARY] * len(osv.asked)


def test_a_service_that_is_away_skips_the_audit_and_says_so(audit, osv: Osv) -> None:
    """Nobody listens there."""
    osv.url = "http://127.0.0.1:9/v1/query"
    code, said = audit()
    assert (code, "SKIPPED" in said, "Connection" in said) == (0, True, True)


def test_a_service_that_knows_nothing_is_not_believed(audit, osv: Osv) -> None:
    """That no vulnerability is known of anything does not count as an audit."""
    osv.known.clear()
    osv.known["aiobad", "1.0"] = [BAD]
    code, said = audit()
    assert (code, "it knows no vulnerability of jinja2==2.4.1" in said, osv.asked) == (0, True, [CANARY])


@pytest.mark.parametrize(
    "text",
    [
        '[[accepted]]\nid = "CVE-1"\npackage = "a"\nreason = ""\nuntil = 2027-01-01\n',
        '[[accepted]]\nid = "CVE-1"\npackage = "a"\nreason = "b"\n',
        '[[accepted]]\nid = "CVE-1"\npackage = "a"\nreason = "b"\nuntil = "2027-01-01"\n',
        '[[accepted]]\nid = "CVE-1"\npackage = "a"\nreason = "b"\nuntil = 2027-01-01T00:00:00\n',
        '[[accepted]]\nid = "CVE-1"\npackage = "a"\nreason = "b"\nuntil = 2027-01-01\nmore = 1\n',
        "[[ignored]]\n",
        "accepted",
    ],
)
def test_a_list_that_does_not_say_why_or_until_when_is_refused(text: str) -> None:
    """An entry has all of its members, and nothing else."""
    with pytest.raises(tool.AcceptedError):
        tool.accepted(text)


def test_the_last_day_still_counts_and_another_package_does_not() -> None:
    """An entry is for one vulnerability of one package."""
    report = [{"name": "aiobad", "version": "1.0", "vulns": [{"id": "A-1", "aliases": ["B-1"], "fix_versions": []}]}]
    list_ = tool.accepted(entry("B-1", TODAY))
    assert not tool.judged(report, list_, TODAY).failed
    assert tool.judged(report, list_, TODAY + timedelta(days=1)).failed
    other = tool.judged(report, tool.accepted(entry("B-1", TODAY, "another")), TODAY)
    assert other.failed
    assert any("not found any more" in line for line in other.lines)


def test_what_a_service_could_not_tell_of_is_named() -> None:
    """A package that is not on PyPI is not silently passed over."""
    verdict = tool.judged([{"name": "own", "skip_reason": "not found on PyPI"}], [], TODAY)
    assert verdict.lines == ["own was not audited: not found on PyPI", "0 packages were audited."]
    assert not verdict.failed


def test_the_list_of_what_is_accepted_can_be_read_and_the_checks_run_the_audit() -> None:
    """It is part of CI."""
    tool.accepted((ROOT / "tools" / "accepted_vulnerabilities.toml").read_text())
    assert "python tools/audit_dependencies.py" in (ROOT / "script" / "check").read_text()
    assert "script/check" in (ROOT / "script" / "test").read_text()
