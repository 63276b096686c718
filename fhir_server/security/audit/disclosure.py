"""What was given to somebody outside, as FHIR.

https://profiles.ihe.net/ITI/BALP/StructureDefinition-IHE.BasicAudit.PrivacyDisclosure.Source.html
"""

from typing import Any, Final

from fhir_server.exchange import Resource
from fhir_server.security.audit.codings import DICOM, coding, coding_of
from fhir_server.security.audit.record import Record

_CHANNEL: Final = "urn:prm:notification-channel"


def kind_of(record: Record) -> Resource:
    """Return `type` and `subtype`: a disclosure, over a channel."""
    disclosed = coding("iso-21089-lifecycle", "disclose", "Disclose Record Lifecycle Event")
    return {
        "type": coding_of(DICOM, "110106", "Export"),
        "subtype": [disclosed, {"system": _CHANNEL, "code": record.code}],
    }


def agents_of(record: Record, base_url: str) -> list[dict[str, Any]]:
    """Return this server, which gave it, who got it, and on whose behalf it was done, where that is known."""
    source = {
        "type": {"coding": [coding_of(DICOM, "110153", "Source Role ID")]},
        "who": {"display": base_url},
        "altId": record.principal,
        "requestor": not record.user,
        "network": {"address": base_url, "type": "5"},
    }
    recipient = {
        "type": {"coding": [coding_of(DICOM, "110152", "Destination Role ID")]},
        "who": {"identifier": {"value": record.client}},
        "altId": record.client,
        "requestor": False,
        "network": {"address": record.client, "type": "1"},
    }
    if not record.user:
        return [source, recipient]
    person = {
        "type": {"coding": [coding("extra-security-role-type", "humanuser", "human user")]},
        "who": {"reference": record.user},
        "requestor": True,
    }
    return [source, recipient, person]
