import gzip
import json

import pytest

from fhir_server.loading.sources import find_files, read_items

PATIENT = {"resourceType": "Patient", "id": "one", "active": True}
PUT = {"resource": PATIENT, "request": {"method": "PUT", "url": "Patient/one"}}
XML = b'<?xml version="1.0"?><Patient xmlns="http://hl7.org/fhir"><id value="one"/><active value="true"/></Patient>'


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def test_a_resource_becomes_an_entry_that_puts_it_under_its_id(tmp_path):
    [item] = read_items(write(tmp_path / "one.json", PATIENT))
    assert (item.position, item.entries, item.bundle, item.error) == (1, (PUT,), None, "")


def test_xml_and_gzip_are_told_by_content(tmp_path):
    [plain] = read_items(write(tmp_path / "one.xml", XML))
    [packed] = read_items(write(tmp_path / "two.xml.gz", gzip.compress(XML)))
    [misnamed] = read_items(write(tmp_path / "three.json", gzip.compress(XML)))
    assert plain.entries == packed.entries == misnamed.entries == (PUT,)


def test_lines_keep_their_numbers_and_blank_ones_are_passed_over(tmp_path):
    lines = b"\n".join([json.dumps(PATIENT).encode(), b"", b"{oops", b'{"no": "type"}', b"[]"])
    items = list(read_items(write(tmp_path / "all.ndjson.gz", gzip.compress(lines))))
    assert [item.position for item in items] == [1, 3, 4, 5]
    assert items[0].entries == (PUT,)
    assert "line 1, column 2" in items[1].error
    assert (
        items[2].error == items[3].error == "structure: this is no FHIR resource: a JSON object with a resourceType is expected"
    )
    assert items[1].place == f"{tmp_path}/all.ndjson.gz:3"


@pytest.mark.parametrize("kind", ["transaction", "batch"])
def test_transactions_and_batches_are_left_as_they_are(tmp_path, kind):
    bundle = {"resourceType": "Bundle", "type": kind, "entry": [PUT]}
    [item] = read_items(write(tmp_path / "bundle.json", bundle))
    assert (item.bundle, item.entries) == (bundle, ())


@pytest.mark.parametrize("kind", ["collection", "searchset"])
def test_the_contents_of_collections_are_taken_with_their_full_urls(tmp_path, kind):
    full_url = "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"
    bundle = {
        "resourceType": "Bundle",
        "type": kind,
        "entry": [{"fullUrl": full_url, "resource": PATIENT}, {"resource": PATIENT}, {}],
    }
    [item] = read_items(write(tmp_path / "bundle.json", bundle))
    assert item.entries == (PUT | {"fullUrl": full_url}, PUT)


def test_a_document_bundle_is_a_resource_of_its_own(tmp_path):
    bundle = {"resourceType": "Bundle", "id": "doc", "type": "document"}
    [item] = read_items(write(tmp_path / "bundle.json", bundle))
    assert item.entries == ({"resource": bundle, "request": {"method": "PUT", "url": "Bundle/doc"}},)


def test_a_resource_without_id_gets_one_that_is_the_same_each_time_and_differs_by_line(tmp_path):
    line = json.dumps({"resourceType": "Patient", "active": True}).encode()
    file = write(tmp_path / "all.ndjson", line + b"\n" + line)
    first, second = [[item.entries[0]["resource"]["id"] for item in read_items(file)] for _ in range(2)]
    assert first == second
    assert first[0] != first[1]


def test_an_id_of_a_wrong_type_is_left_for_the_validator(tmp_path):
    [item] = read_items(write(tmp_path / "one.json", {"resourceType": "Patient", "id": 5}))
    assert item.entries[0]["resource"] == {"resourceType": "Patient", "id": 5}


def test_a_file_that_can_not_be_read_is_reported(tmp_path):
    whole = gzip.compress(json.dumps(PATIENT).encode() * 100)
    [item] = read_items(write(tmp_path / "cut.json.gz", whole[:40]))
    assert "can not be read" in item.error


def test_directories_are_searched_and_named_files_are_taken_whatever_their_names(tmp_path):
    (tmp_path / "deep").mkdir()
    wanted = [write(tmp_path / name, PATIENT) for name in ("a.json", "b.ndjson.gz", "deep/c.XML")]
    odd = write(tmp_path / "resource.txt", PATIENT)
    assert find_files([tmp_path]) == wanted
    assert find_files([odd, tmp_path]) == [odd, *wanted]


def test_a_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no file or directory '.*/none'"):
        find_files([tmp_path / "none"])
