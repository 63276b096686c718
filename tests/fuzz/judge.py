"""What must be true of every answer, whatever was asked."""

import re

from lxml import etree

from fhir_server.fhir.xml import from_xml
from tests.fuzz.asgi import Answer

_INTERNAL = re.compile(
    rb"Traceback \(most recent|File \\?\"[^\"]*\.py|pymongo|E11000|errmsg|codeName|BSONObj|\$(?:match|expr|elemMatch)\b|"
    rb"(?:Type|Value|Key|Attribute|Index|Recursion|Overflow|Assertion|UnicodeDecode|UnicodeEncode)Error|object at 0x"
)
_CONTENT_TYPES = {b"application/fhir+json; charset=utf-8", b"application/fhir+xml; charset=utf-8"}
_HEADER = re.compile(rb"[\x20-\x7e\x80-\xff\t]*")


def judge(answer: Answer) -> None:
    """Fail unless the answer is one that a FHIR server may give."""
    assert 200 <= answer.status < 500, answer
    for name, value in answer.headers.items():
        assert _HEADER.fullmatch(value), (name, answer)
    if answer.request.method == "HEAD" or answer.status in (204, 304):
        assert answer.body == b"", answer
        return
    assert int(answer.headers[b"content-length"]) == len(answer.body), answer
    if answer.body:
        assert answer.headers[b"content-type"] in _CONTENT_TYPES, answer
        _judge_body(answer)
    else:
        assert answer.status in (200, 201), answer


def _judge_body(answer: Answer) -> None:
    resource = resource_of(answer)
    if answer.status < 400:
        return
    assert resource["resourceType"] == "OperationOutcome", answer
    assert resource["issue"], answer
    for issue in resource["issue"]:
        assert issue["severity"] in ("error", "fatal"), answer
        assert issue["code"], answer
        assert issue["diagnostics"].strip(), answer
    assert not _INTERNAL.search(answer.content), answer


def resource_of(answer: Answer) -> dict[str, object]:
    """Return the resource in the body."""
    if b"xml" in answer.headers[b"content-type"]:
        etree.fromstring(answer.content, etree.XMLParser(huge_tree=True))
        return from_xml(answer.content, max_depth=1000)
    assert isinstance(answer.json, dict), answer
    return answer.json
