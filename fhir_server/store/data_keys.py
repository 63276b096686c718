"""The keys that binary data in MongoDB is encrypted with: those of the tenant's keyring.

docs/decisions/0032-protected-identifiers.md, docs/media.md
"""

from collections.abc import Awaitable, Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fhir_server.store.keys import Keyring, locked


class DataKeys:
    """Gives keys for encryption, and those that something was encrypted with.

    Without a master key they are derived from a secret of the database (https://www.rfc-editor.org/rfc/rfc5869): that keeps
    tenants apart, and protects nothing from whoever has the database.
    """

    def __init__(self, keyring: Keyring, secret: Callable[[str], Awaitable[bytes]]) -> None:
        self._keyring = keyring
        self._secret = secret
        self._derived: dict[str, AESGCM] = {}

    async def active(self, tenant: str) -> tuple[bytes, AESGCM]:
        """Return what to encrypt with, and the id of the key.

        Raises:
            FhirError: 503, the master key opens none of the tenant's keys.
        """
        if self._keyring.service is None:
            return b"", await self.of(tenant, b"")
        generation = (await self._keyring.ready(tenant)).active
        return generation.id, generation.cipher

    async def of(self, tenant: str, key: bytes) -> AESGCM:
        """Return the key of an id.

        Raises:
            FhirError: 503, it can not be opened.
        """
        if not key:
            return await self._derive(tenant)
        for _ in range(2):
            for generation in (await self._keyring.ready(tenant)).generations:
                if generation.id == key:
                    return generation.cipher
            self._keyring.forget(tenant)  # It may be newer than what was read last.
        raise locked()

    async def _derive(self, tenant: str) -> AESGCM:
        found = self._derived.get(tenant)
        if found is None:
            master = await self._secret("blob-keys")
            found = self._derived[tenant] = AESGCM(HKDF(SHA256(), 32, None, b"blobs/" + tenant.encode()).derive(master))
        return found
