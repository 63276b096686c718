import json
from pathlib import Path

import pytest

from fhir_server.fhir.outcome import FhirError, bad_request, unavailable
from fhir_server.loading import run
from fhir_server.loading.engine import engine_target
from fhir_server.loading.journal import Journal, fingerprint
from fhir_server.loading.run import Failure, load


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """250 patients, of which the 7th and the 120th are invalid."""
    file = tmp_path / "patients.ndjson"
    with file.open("w") as lines:
        for number in range(1, 251):
            resource = {"resourceType": "Patient", "id": f"p{number}", "gender": "alien" if number in (7, 120) else "female"}
            lines.write(json.dumps(resource) + "\n")
    return file


@pytest.fixture
def journal(tmp_path: Path):
    """A function that opens the journal of this test."""
    return lambda target="here", **options: Journal(tmp_path / "journal", target, **options)


class Echo:
    """Accepts everything but what it is told to refuse, and remembers what came."""

    def __init__(self, refuse=lambda _: None) -> None:
        self.refuse = refuse
        self.sent = []

    async def send(self, bundle):
        """Answer a transaction."""
        for entry in bundle["entry"]:
            if error := self.refuse(entry["resource"]):
                raise error
        self.sent += [entry["resource"]["id"] for entry in bundle["entry"]]
        return {"entry": [{"response": {"status": "201 Created"}} for _ in bundle["entry"]]}


async def test_all_but_the_invalid_is_stored_and_a_rerun_tries_only_that(settings, patients, journal):
    async with engine_target(settings) as target:
        with journal() as remembered:
            report = await load([patients], target.send, remembered)
        assert report.stored == {"Patient": 248}
        assert sorted(failure.place for failure in report.failures) == [f"{patients}:120", f"{patients}:7"]
        assert all("alien" in failure.reason for failure in report.failures)

        with journal() as remembered:
            again = await load([patients], target.send, remembered)
        assert (again.stored.total(), again.skipped, len(again.failures)) == (0, 248, 2)


async def test_bundles_of_each_kind_are_stored(settings, tmp_path, journal):
    entry = {"resource": {"resourceType": "Patient", "id": "a"}, "request": {"method": "PUT", "url": "Patient/a"}}
    bad = {
        "resource": {"resourceType": "Patient", "id": "b", "gender": "alien"},
        "request": {"method": "PUT", "url": "Patient/b"},
    }
    files = []
    for kind in ("transaction", "batch", "collection"):
        files.append(tmp_path / f"{kind}.json")
        files[-1].write_text(json.dumps({"resourceType": "Bundle", "type": kind, "entry": [entry, bad]}))
    async with engine_target(settings) as target:
        with journal() as remembered:
            report = await load(files, target.send, remembered)
    assert report.stored == {"Patient": 1}
    assert sorted(failure.place for failure in report.failures) == [f"{files[1]} entry[1]", str(files[2]), str(files[0])]


async def test_what_was_interrupted_goes_on_where_it_stood(patients, journal):
    first = Echo(lambda resource: RuntimeError("pulled the plug") if resource["id"] == "p101" else None)
    with pytest.raises(RuntimeError, match="plug"), journal() as remembered:
        await load([patients], first.send, remembered, jobs=1)
    second = Echo()
    with journal() as remembered:
        report = await load([patients], second.send, remembered, jobs=1)
    assert sorted(first.sent + second.sent) == sorted(f"p{number}" for number in range(1, 251))
    assert report.skipped == len(first.sent) == 100


async def test_the_journal_is_by_target_and_state_of_the_file_and_may_be_ignored(patients, journal):
    echo = Echo()

    async def skipped(target="here", **options):
        with journal(target, **options) as remembered:
            return (await load([patients], echo.send, remembered)).skipped

    assert await skipped() == 0
    assert await skipped() == 250
    assert await skipped("elsewhere") == 0
    assert await skipped(again=True) == 0
    patients.write_text(patients.read_text() + "\n")
    assert await skipped() == 0


async def test_a_busy_server_is_asked_again(patients, journal, monkeypatch):
    monkeypatch.setattr(run, "BUSY_SECONDS", 0)
    times = iter([unavailable("away"), unavailable("away")])
    echo = Echo(lambda _: next(times, None))
    with journal() as remembered:
        report = await load([patients], echo.send, remembered)
    assert (report.stored.total(), report.failures) == (250, [])


async def test_a_server_that_stays_away_ends_it(patients, journal, monkeypatch):
    monkeypatch.setattr(run, "BUSY_SECONDS", 0)
    monkeypatch.setattr(run, "BUSY_ATTEMPTS", 2)
    echo = Echo(lambda _: unavailable("away"))
    with pytest.raises(FhirError, match="away"), journal() as remembered:
        await load([patients], echo.send, remembered)
    assert echo.sent == []


async def test_a_refusal_without_a_place_is_told_with_its_file(tmp_path, journal):
    file = tmp_path / "one.json"
    file.write_text('{"resourceType": "Patient", "id": "x"}')
    with journal() as remembered:
        report = await load([file], Echo(lambda _: bad_request("no")).send, remembered)
    assert report.failures == [Failure(str(file), "invalid: no")]


def test_a_journal_that_a_crash_cut_off_is_read_up_to_there(patients, journal, tmp_path):
    name = fingerprint(patients)
    with journal() as remembered:
        remembered.add([(name, 1), (name, 2)])
    with (tmp_path / "journal").open("a") as file:
        file.write('["here", "' + name[:5])
    with journal() as remembered:
        assert remembered.done(name) == {1, 2}
        remembered.add([(name, 3)])
    with journal() as remembered:
        assert remembered.done(name) == {1, 2, 3}
