"""Reads all bytes that are kept, and says which are not what they were: `fhir-server blobs verify`."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fhir_server.blobs.blob import DamagedError
from fhir_server.blobs.records import blob_of
from fhir_server.blobs.service import Blobs


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found of the bytes of one digest; `problem` is empty where they are as they were."""

    tenant: str
    sha256: str
    size: int
    problem: str = ""


async def verify(blobs: Blobs, tenant: str = "") -> AsyncIterator[Checked]:
    """Yield what is found, of one tenant or of all: bytes that are damaged, and references to bytes that are not there."""
    of_tenant = {"t": tenant} if tenant else {}
    async for document in blobs.records.blobs.find({"state": "ready", **of_tenant}, {"thumb": 0}):
        blob = blob_of(document)
        digest = hashlib.sha256()
        problem = ""
        try:
            async for piece in blobs.read(blob):
                digest.update(piece)
        except DamagedError as error:
            problem = str(error)
        if not problem and digest.hexdigest() != blob.sha256:
            problem = f"Their SHA-256 is {digest.hexdigest()} now."
        yield Checked(blob.tenant, blob.sha256, blob.size, problem)
    async for link in blobs.records.links.find(of_tenant):
        if await blobs.records.find(link["t"], link["h"]) is None:
            yield Checked(
                link["t"], link["h"], 0, f"{link['y']}/{link['i']} refers to them, or has done so, and they are not there."
            )
