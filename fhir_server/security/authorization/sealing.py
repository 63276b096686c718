"""Encryption of what the authorization server has to know again: private keys and TOTP secrets.

It uses a keyring of its own, whose keys are wrapped by the master key as those of tenants are (docs/patients.md), so that
`fhir-server keys rewrap` and a key management service cover it too.
"""

import os
from typing import Final

from cryptography.exceptions import InvalidTag

from fhir_server.store.database import Database
from fhir_server.store.keys import ID_BYTES, locked

KEYRING: Final = "$auth"
"""No tenant has such a name."""
_NONCE_BYTES: Final = 12
_BODY: Final = ID_BYTES + _NONCE_BYTES


class Sealer:
    """Encrypts and decrypts; `purpose` is authenticated, so that nothing sealed for one thing opens as another."""

    def __init__(self, database: Database) -> None:
        self._keyring = database.keyring

    async def seal(self, data: bytes, purpose: str) -> bytes:
        """Return the data, encrypted.

        Raises:
            FhirError: 503, there is no master key.
        """
        keys = (await self._keyring.ready(KEYRING)).active
        nonce = os.urandom(_NONCE_BYTES)
        return keys.id + nonce + keys.cipher.encrypt(nonce, data, purpose.encode())

    async def unseal(self, sealed: bytes, purpose: str) -> bytes:
        """Return the data that was sealed for this purpose.

        Raises:
            FhirError: 503, the master key is missing, or is another one.
        """
        ring = await self._keyring.ready(KEYRING)
        keys = next((one for one in ring.generations if one.id == sealed[:ID_BYTES]), None)
        if keys is None:
            raise locked()
        try:
            return keys.cipher.decrypt(sealed[ID_BYTES:_BODY], sealed[_BODY:], purpose.encode())
        except InvalidTag:
            raise locked() from None
