"""Encryption of what the authorization server has to know again: private keys and TOTP secrets."""

import os
from typing import Final, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fhir_server.store.database import Database

_NONCE: Final = 12


class Sealer(Protocol):
    """Encrypts and decrypts; `purpose` is authenticated, so that nothing sealed for one thing opens as another."""

    async def seal(self, data: bytes, purpose: str) -> bytes:
        """Return the data, encrypted."""
        ...

    async def unseal(self, sealed: bytes, purpose: str) -> bytes:
        """Return the data that was sealed for this purpose."""
        ...


class DatabaseSealer:
    """Seals under a key that the store keeps."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def seal(self, data: bytes, purpose: str) -> bytes:
        """Return the data, encrypted."""
        nonce = os.urandom(_NONCE)
        return nonce + (await self._cipher()).encrypt(nonce, data, purpose.encode())

    async def unseal(self, sealed: bytes, purpose: str) -> bytes:
        """Return the data that was sealed for this purpose."""
        return (await self._cipher()).decrypt(sealed[:_NONCE], sealed[_NONCE:], purpose.encode())

    async def _cipher(self) -> AESGCM:
        return AESGCM(await self._database.secret("auth"))
