"""What references become in a transaction: https://hl7.org/fhir/R4/bundle.html#references."""

from fhir_server.interactions.links import Links, conditional_references, relinked

URN = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"


def links() -> Links:
    found = Links()
    found.add(URN, "Patient", "p")
    found.add("http://a.example/fhir/Patient/1", "Patient", "q")
    return found


def test_a_resource_without_anything_to_relink_is_not_copied() -> None:
    resource = {"resourceType": "Observation", "subject": {"reference": "Patient/7"}, "code": {"text": URN}}
    assert relinked(resource, links(), "") is resource


def test_references_uris_and_urls_are_relinked_and_strings_are_not() -> None:
    resource = {
        "resourceType": "QuestionnaireResponse",
        "questionnaire": URN,
        "subject": {"reference": URN, "identifier": {"system": URN, "value": URN}},
        "item": [
            {"linkId": URN, "answer": [{"valueUri": URN}, {"valueString": URN}, {"valueReference": {"reference": URN + "#x"}}]}
        ],
    }
    found = relinked(resource, links(), "")
    assert found["questionnaire"] == found["subject"]["reference"] == "Patient/p"
    assert found["subject"]["identifier"] == {"system": "Patient/p", "value": URN}
    answers = found["item"][0]["answer"]
    assert answers == [{"valueUri": "Patient/p"}, {"valueString": URN}, {"valueReference": {"reference": "Patient/p#x"}}]
    assert found["item"][0]["linkId"] == URN
    assert resource["questionnaire"] == URN


def test_lists_of_canonicals_are_relinked() -> None:
    resource = {"resourceType": "CarePlan", "instantiatesUri": ["http://x", URN]}
    assert relinked(resource, links(), "")["instantiatesUri"] == ["http://x", "Patient/p"]


def test_links_of_the_narrative_are_relinked_and_its_text_is_not() -> None:
    div = f'<div xmlns="http://www.w3.org/1999/xhtml"><img src=\'{URN}\'/><a href="{URN}">{URN}</a></div>'
    resource = {"resourceType": "Basic", "text": {"status": "generated", "div": div}}
    expected = f'<div xmlns="http://www.w3.org/1999/xhtml"><img src=\'Patient/p\'/><a href="Patient/p">{URN}</a></div>'
    assert relinked(resource, links(), "")["text"]["div"] == expected


def test_a_relative_reference_is_read_against_the_base_of_its_own_entry() -> None:
    resource = {"resourceType": "Observation", "subject": {"reference": "Patient/1"}}
    same = relinked(resource, links(), "http://a.example/fhir/Observation/9")
    other = relinked(resource, links(), "http://b.example/fhir/Observation/9")
    assert same["subject"]["reference"] == "Patient/q"
    assert other["subject"]["reference"] == "Patient/1"


def test_conditional_references_are_found_wherever_they_stand() -> None:
    resource = {
        "resourceType": "Observation",
        "subject": {"reference": "Patient?identifier=a|b"},
        "performer": [{"reference": "Practitioner?name=x"}, {"reference": "Nothing?x=y"}, {"reference": "http://x/y?z=1"}],
    }
    assert conditional_references(resource) == ["Patient?identifier=a|b", "Practitioner?name=x"]
