"""The one table: which interaction or operation is handled by what.

Whatever happens to a record passes `handle`, from whichever door it comes.
"""

from collections.abc import Iterable, Mapping

from bson.errors import InvalidBSON
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DocumentTooLarge,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WaitQueueTimeoutError,
    WriteConcernError,
)

from fhir_server.exchange import Call, Context, Dispatch, Operation, OperationEntry, Reply
from fhir_server.fhir.outcome import (
    bad_request,
    conflict,
    duplicate,
    method_not_allowed,
    not_supported,
    too_costly,
    too_large,
    unavailable,
)
from fhir_server.interactions.bundle import batch
from fhir_server.interactions.capabilities import capabilities
from fhir_server.interactions.create import create
from fhir_server.interactions.delete import delete
from fhir_server.interactions.given_back import WHOLE, with_little_data
from fhir_server.interactions.history import history_instance, history_system, history_type
from fhir_server.interactions.patch import patch
from fhir_server.interactions.read import read, vread
from fhir_server.interactions.recorded import RECORDED, is_recorded, unchangeable
from fhir_server.interactions.search import search_compartment, search_system, search_type
from fhir_server.interactions.transaction import transaction
from fhir_server.interactions.update import update
from fhir_server.operations.apply import apply
from fhir_server.operations.docref import docref
from fhir_server.operations.everything import everything
from fhir_server.operations.match import match
from fhir_server.operations.merge import merge, undo_merge
from fhir_server.operations.not_duplicate import not_duplicate
from fhir_server.operations.presign import attachment, presign, thumbnail
from fhir_server.operations.restore import restore
from fhir_server.operations.upload import abort_upload, complete_upload, initiate_upload, upload_status
from fhir_server.operations.validate import validate_resource
from fhir_server.search.fuzzy import query as fuzzy
from fhir_server.security.enforce import entered, left
from fhir_server.store.keys import is_locked, locked
from fhir_server.store.writes import VersionConflictError

TOO_LARGE = {10334, 17419, 17420, 10003}
"""MongoDB's codes for documents over 16 MB."""
PASSING = {6, 7, 24, 43, 64, 89, 91, 112, 134, 175, 189, 225, 239, 246, 251, 262, 276, 9001}
PASSING |= {10058, 10107, 11600, 11601, 11602, 13435, 13436, 16500}
"""MongoDB's codes for what passes: it shuts down, changes its primary, lost a cursor, or waits too long for others.

https://github.com/mongodb/mongo/blob/v6.0/src/mongo/base/error_codes.yml
"""


async def process(ctx: Context, call: Call) -> Reply:
    """Process a Bundle that was posted to the base: https://hl7.org/fhir/R4/http.html#transaction."""
    bundle = call.resource
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise bad_request("Only a Bundle may be posted to the base; post other resources to /[type].", "resourceType")
    kind = bundle.get("type")
    if kind == "batch":
        return await batch(ctx, call)
    if kind == "transaction":
        return await transaction(ctx, call)
    raise bad_request(f"A Bundle that is posted to the base is of type batch or transaction, not {kind!r}.", "Bundle.type")


INTERACTIONS: Mapping[str, Dispatch] = {
    "read": read,
    "vread": vread,
    "create": create,
    "update": update,
    "patch": patch,
    "delete": delete,
    "history-instance": history_instance,
    "history-type": history_type,
    "history-system": history_system,
    "search-type": search_type,
    "search-system": search_system,
    "search-compartment": search_compartment,
    "transaction": process,
    "capabilities": capabilities,
}

_R4 = "http://hl7.org/fhir/OperationDefinition/"
_OURS = "urn:prm:OperationDefinition:"
_DOCUMENTS = frozenset({"DocumentReference"})
_WITH_CONTENT = frozenset({"Binary", "DocumentReference"})
OPERATIONS: Mapping[tuple[str, str], Operation] = {
    (operation.name, type_): operation
    for operation in (
        Operation("validate", validate_resource, _R4 + "Resource-validate", frozenset({"type", "instance"}), affects_state=False),
        Operation(
            "everything",
            everything,
            _R4 + "Patient-everything",
            frozenset({"type", "instance"}),
            frozenset({"Patient"}),
            affects_state=False,
        ),
        Operation(
            "everything",
            everything,
            _R4 + "Encounter-everything",
            frozenset({"instance"}),
            frozenset({"Encounter"}),
            affects_state=False,
        ),
        Operation("merge", merge, _R4 + "Patient-merge", frozenset({"type"}), frozenset({"Patient"})),
        Operation("undo-merge", undo_merge, _OURS + "Patient-undo-merge", frozenset({"type"}), frozenset({"Patient"})),
        Operation("match", match, _R4 + "Patient-match", frozenset({"type"}), frozenset({"Patient"}), affects_state=False),
        Operation("restore", restore, _OURS + "Patient-restore", frozenset({"instance"}), frozenset({"Patient"})),
        Operation("not-duplicate", not_duplicate, _OURS + "Patient-not-duplicate", frozenset({"type"}), frozenset({"Patient"})),
        Operation(
            "docref",
            docref,
            "http://hl7.org/fhir/us/core/OperationDefinition/docref",
            frozenset({"type"}),
            frozenset({"DocumentReference"}),
            affects_state=False,
        ),
        Operation("attachment", attachment, _OURS + "Resource-attachment", frozenset({"instance"}), affects_state=False),
        Operation("presign", presign, _OURS + "Binary-presign", frozenset({"instance"}), _WITH_CONTENT, affects_state=False),
        Operation(
            "thumbnail", thumbnail, _OURS + "Binary-thumbnail", frozenset({"instance"}), _WITH_CONTENT, affects_state=False
        ),
        Operation(
            "apply",
            apply,
            _R4 + "ActivityDefinition-apply",
            frozenset({"type", "instance"}),
            frozenset({"ActivityDefinition"}),
            affects_state=False,
        ),
        Operation(
            "apply",
            apply,
            _R4 + "PlanDefinition-apply",
            frozenset({"type", "instance"}),
            frozenset({"PlanDefinition"}),
            affects_state=False,
        ),
        Operation("initiate-upload", initiate_upload, _OURS + "initiate-upload", frozenset({"type"}), _DOCUMENTS),
        Operation("complete-upload", complete_upload, _OURS + "complete-upload", frozenset({"type"}), _DOCUMENTS),
        Operation("abort-upload", abort_upload, _OURS + "abort-upload", frozenset({"type"}), _DOCUMENTS),
        Operation(
            "upload-status",
            upload_status,
            _OURS + "DocumentReference-upload-status",
            frozenset({"type"}),
            _DOCUMENTS,
            affects_state=False,
        ),
    )
    for type_ in sorted(operation.types or {""})
}


NAMED_QUERIES = (OperationEntry(fuzzy.NAME, _OURS + "Patient-fuzzy", frozenset({"Patient"})),)
"""https://hl7.org/fhir/R4/search.html#query: the CapabilityStatement shows them among the operations."""


def operation_entries(added: Iterable[Operation] = ()) -> tuple[OperationEntry, ...]:
    """Return what the CapabilityStatement says about the operations, those that extensions added included."""
    found = {(item.name, item.definition): item for item in (*OPERATIONS.values(), *added)}
    return (*(OperationEntry(item.name, item.definition, item.types) for item in found.values()), *NAMED_QUERIES)


async def handle(ctx: Context, call: Call) -> Reply:
    """Answer a Call, once it is recorded where an audit trail is kept.

    Raises:
        FhirError: every refusal and every foreseeable failure. Within a transaction errors of MongoDB pass through,
            since whoever owns the transaction may repeat it.
    """
    if ctx.recorder is None:
        return await answered(ctx, call)
    return await ctx.recorder.call(ctx, call, answered)


async def answered(ctx: Context, call: Call) -> Reply:
    """Answer a Call; see `handle`."""
    try:
        operation = _operation_of(ctx, call) if call.interaction == "operation" else None
        handler = INTERACTIONS[call.interaction] if operation is None else operation.handler
        if ctx.recorder is not None and call.type == "AuditEvent" and is_recorded(call.id):
            handler = RECORDED.get(call.interaction, unchangeable)
        reply = await (handler(ctx, call) if ctx.access is None else handler(*entered(ctx, call, operation)))
        if ctx.access is not None:
            reply = left(ctx, reply)
        return await with_little_data(ctx, call, reply) if call.interaction in WHOLE else reply
    except VersionConflictError as error:
        if ctx.repo.session is not None:
            raise
        raise conflict(f"Others kept writing {error.type}/{error.id}; nothing was changed. Send the request again.") from error
    except PyMongoError as error:
        if ctx.repo.session is not None:
            raise
        raise translated(error) from error
    except InvalidBSON as error:
        raise (locked() if is_locked(error) else error) from None
    except RecursionError:
        raise bad_request("The request is nested too deeply.", code="structure") from None


def _operation_of(ctx: Context, call: Call) -> Operation:
    operation = _operation(ctx, call.operation, call.type) or _operation(ctx, call.operation, "")
    level = "instance" if call.id else "type" if call.type else "system"
    if operation is None or level not in operation.levels:
        where = f"the {level} level" + (f" of {call.type}" if call.type else "")
        raise not_supported(f"There is no operation ${call.operation} at {where}; /metadata lists what there is.", status=404)
    if operation.affects_state and not call.affects_state:
        raise method_not_allowed("GET", f"${call.operation}", "POST")
    return operation


def _operation(ctx: Context, name: str, type_: str) -> Operation | None:
    return OPERATIONS.get((name, type_)) or ctx.added_operations.get((name, type_))


def translated(error: PyMongoError) -> Exception:
    """Return what an error of MongoDB means to the client; the error itself when nobody foresaw it."""
    if isinstance(error, ExecutionTimeout):
        return too_costly("The request took too long and was stopped; narrow it, for instance by a date or a patient.", 503)
    if isinstance(error, ConnectionFailure | WaitQueueTimeoutError):
        return unavailable("The database does not answer at the moment; try again.")
    if isinstance(error, DuplicateKeyError):
        return duplicate("A resource with the same unique key exists already.")
    if isinstance(error, DocumentTooLarge) or _code(error) in TOO_LARGE:
        return too_large("The resource is larger than the 16 MB that one resource may have in the database.")
    if isinstance(error, WriteConcernError) or _is_unconfirmed(error):
        return unavailable("The database did not confirm what was asked; read what is there before you send it again.")
    if _code(error) in PASSING or any(map(error.has_error_label, ("TransientTransactionError", "RetryableWriteError"))):
        return unavailable("The database is interrupted at the moment; try again.", 1)
    return error


def _is_unconfirmed(error: PyMongoError) -> bool:
    return isinstance(error, BulkWriteError) and bool(error.details.get("writeConcernErrors"))


def _code(error: PyMongoError) -> int:
    if isinstance(error, BulkWriteError):
        return next((int(found["code"]) for found in error.details.get("writeErrors", ())), 0)
    return error.code or 0 if isinstance(error, OperationFailure) else 0
