"""Patient/$merge: https://build.fhir.org/patient-operation-merge.html."""

import httpx

from tests.operations.merge.merge_samples import (
    get,
    merge,
    observation,
    parameters,
    part,
    patient,
    put,
    ref,
    undo,
)


async def test_merging_repoints_links_and_deactivates(http: httpx.AsyncClient) -> None:
    await put(
        http,
        patient("s", identifier=[{"system": "urn:mrn", "value": "1"}], name=[{"family": "Old"}]),
        patient("t", identifier=[{"system": "urn:mrn", "value": "2"}], name=[{"family": "New"}]),
        observation("o"),
        observation("other", "t"),
    )
    answer = await merge(http)
    assert answer.status_code == 200, answer.text
    result = part(answer, "result")
    assert result == await get(http, "Patient/t")
    assert result["identifier"] == [
        {"system": "urn:mrn", "value": "2"},
        {"system": "urn:mrn", "value": "1", "use": "old"},
    ]
    assert result["name"] == [{"family": "New"}]
    assert result["link"] == [{"other": ref("Patient/s"), "type": "replaces"}]
    source = await get(http, "Patient/s")
    assert source["active"] is False
    assert source["link"] == [{"other": ref("Patient/t"), "type": "replaced-by"}]
    assert source["meta"]["versionId"] == "2"
    assert (await get(http, "Observation/o"))["subject"] == ref("Patient/t")
    assert (await get(http, "Observation/o"))["meta"]["versionId"] == "2"
    assert (await get(http, "Observation/other"))["meta"]["versionId"] == "1"
    assert part(answer, "input") == parameters()


async def test_undoing_restores_what_nobody_touched(http: httpx.AsyncClient) -> None:
    await put(http, patient("s", identifier=[{"value": "1"}]), patient("t"), observation("o"))
    before = [await get(http, path) for path in ("Patient/s", "Patient/t", "Observation/o")]
    assert (await merge(http)).status_code == 200
    answer = await undo(http)
    assert answer.status_code == 200, answer.text
    assert part(answer, "task") is None
    after = [await get(http, path) for path in ("Patient/s", "Patient/t", "Observation/o")]
    for old, new in zip(before, after, strict=True):
        assert {name: value for name, value in new.items() if name != "meta"} == {
            name: value for name, value in old.items() if name != "meta"
        }
        assert new["meta"]["versionId"] == "3"
