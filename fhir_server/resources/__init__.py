"""What one resource type does beyond the generic."""

from collections.abc import Mapping

from fhir_server.exchange import Behaviour
from fhir_server.resources.attachments import AttachmentBehaviour
from fhir_server.resources.audit_event import AuditEvents
from fhir_server.resources.communication import CommunicationBehaviour
from fhir_server.resources.communication_request import CommunicationRequestBehaviour
from fhir_server.resources.document_reference import DocumentReferenceBehaviour
from fhir_server.resources.patient import PatientBehaviour
from fhir_server.resources.search_parameter import SearchParameterBehaviour

__all__ = ["BEHAVIOURS"]

BEHAVIOURS: Mapping[str, Behaviour] = {
    "AuditEvent": AuditEvents(),
    "Communication": CommunicationBehaviour(),
    "CommunicationRequest": CommunicationRequestBehaviour(),
    "DocumentReference": DocumentReferenceBehaviour(),
    "Patient": PatientBehaviour(),
    "SearchParameter": SearchParameterBehaviour(),
    "*": AttachmentBehaviour(),
}
"""By resource type; that of `*` is for all."""
