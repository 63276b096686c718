"""The bytes that a resource holds or refers to.

https://hl7.org/fhir/R4/binary.html, https://hl7.org/fhir/R4/datatypes.html#Attachment
"""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fhir_server.blobs import Blob
from fhir_server.blobs.elements import digest_of, holders
from fhir_server.exchange import Body, Context, Resource
from fhir_server.fhir.outcome import FhirError, Issue, not_found
from fhir_server.interactions.given_back import body_of
from fhir_server.interactions.reading import living

Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes, and what the resource says of them."""

    blob: Blob | None
    """None: they are in the resource itself."""
    mime: str
    name: str = ""
    data: bytes = b""

    def body(self, ctx: Context) -> Body:
        """Return what sends them."""
        if self.blob is not None and ctx.blobs is not None:
            return body_of(ctx.blobs, self.blob, self.mime, self.name)

        async def read(start: int, stop: int) -> AsyncIterator[bytes]:
            yield self.data[start:stop]

        return Body(self.mime, len(self.data), f"{len(self.data)}-{hash(self.data):x}", read, self.name)


async def content_of(ctx: Context, node: Node, path: str) -> Content:
    """Return the content of an Attachment or a Binary; of an Attachment also that of the Binary it leads to.

    Raises:
        FhirError: 404 where there is none, or none on this server; 410 or 503 where it can not be given out.
    """
    mime, name = node.get("contentType", ""), node.get("title", "")
    sha256 = digest_of(node)
    if sha256 and ctx.blobs is not None:
        return Content(await ctx.blobs.served(ctx.tenant, sha256), mime, name)
    if "data" in node:
        return Content(None, mime or "application/octet-stream", name, base64.b64decode(node["data"]))
    binary = local_binary(ctx, node)
    if binary:
        resource = (await living(ctx, "Binary", binary)).resource or {}
        found = await content_of(ctx, resource, f"Binary/{binary}")
        return Content(found.blob, mime or found.mime, name, found.data)
    raise FhirError(404, (Issue("not-found", f"{path} has no content on this server.", (path,)),))


def local_binary(ctx: Context, node: Node) -> str:
    """Return the id of the Binary that an Attachment leads to; "" where it leads elsewhere."""
    url = str(node.get("url", "")).removeprefix(ctx.base_url + "/")
    type_, _, rest = url.partition("/")
    return rest.partition("/_history/")[0] if type_ == "Binary" else ""


def held(resource: Resource, sha256: str) -> Node:
    """Return the node of a resource that refers to these bytes.

    Raises:
        FhirError: 404, none does.
    """
    for node, _ in holders(resource):
        if digest_of(node) == sha256:
            return node
    raise not_found(resource["resourceType"], f"{resource['id']}/$attachment?sha256={sha256}")
