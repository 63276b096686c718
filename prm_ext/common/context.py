"""The context of a request: the same principal, tenant and policy as at the FHIR door."""

from typing import Annotated

from fastapi import Depends, Request

from fhir_server.exchange import Context
from fhir_server.web.fhir import FhirApp
from fhir_server.web.receive import Headers


async def context_of(request: Request) -> Context:
    """Return the context, which is made once for a request, or raise a FhirError: 401, 403 where nobody is let in."""
    found: Context | None = getattr(request.state, "context", None)
    if found is None:
        door: FhirApp = request.app.state.fhir
        found = request.state.context = await door.context(request.scope, Headers(request.scope["headers"]))
    return found


CurrentContext = Annotated[Context, Depends(context_of)]
