"""create: https://hl7.org/fhir/R4/http.html#create."""

from fhir_server.exchange import Call, Context, Reply
from fhir_server.interactions.conditional import create_conditionally
from fhir_server.interactions.writing import checked_body, commit, new_id, planned, written


async def create(ctx: Context, call: Call) -> Reply:
    """Store a new resource under an id of the server's choice; 201.

    Whoever asks within the server may have chosen it (`call.id`), and meets a conflict where it is taken.

    With `If-None-Exist` only where nothing matches: https://hl7.org/fhir/R4/http.html#ccreate.
    """
    resource = checked_body(ctx, call)
    if call.if_none_exist is not None:
        return await create_conditionally(ctx, call, resource)
    item = await planned(ctx, resource, id_=call.id or new_id(), method="POST")
    return written(201, item.version, issues=await commit(ctx, item))
