"""The master key, which wraps the keys of tenants: one of our own, or that of a key management service.

docs/patients.md says how to keep it, and how to change it.
"""

import base64
import binascii
import hashlib
import importlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fhir_server.config import Settings

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
KEY_FILE: Final = "master.key"


class MasterKeyError(Exception):
    """A master key is missing, malformed or not the right one; the message says which and what to do."""


class KeyService(Protocol):
    """Wraps keys with master keys that it does not hand out, such as a key management service does.

    `context` has to be the same at both calls; a service may call it additional data or an encryption context.
    """

    @property
    def key_id(self) -> str:
        """The master key that `wrap` uses."""
        ...

    async def wrap(self, key: bytes, context: str) -> bytes:
        """Return a key, wrapped."""
        ...

    async def unwrap(self, key_id: str, wrapped: bytes, context: str) -> bytes:
        """Return the key that `wrap` was given.

        Raises:
            MasterKeyError: not by this master key, or not in this context.
        """
        ...


class LocalKeyService:
    """Wraps by AES-256-GCM with the first of the master keys; the others unwrap what is from before."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = {_id_of(key): AESGCM(key) for key in keys}
        self._current = _id_of(keys[0])

    @property
    def key_id(self) -> str:
        """The master key that `wrap` uses."""
        return self._current

    async def wrap(self, key: bytes, context: str) -> bytes:
        """Return a key, wrapped."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._ciphers[self._current].encrypt(nonce, key, context.encode())

    async def unwrap(self, key_id: str, wrapped: bytes, context: str) -> bytes:
        """Return the key that `wrap` was given."""
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise MasterKeyError(f"they are wrapped with the master key {key_id}, which is not among those of this server")
        try:
            return cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context.encode())
        except InvalidTag:
            raise MasterKeyError(f"what is wrapped with the master key {key_id} has been changed") from None


def _id_of(key: bytes) -> str:
    return f"local:{hashlib.sha256(b'fhir-server master key' + key).hexdigest()[:16]}"


def new_master_key() -> str:
    """Return a new master key, as the settings take it."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def key_service(settings: Settings) -> KeyService | None:
    """Return what the settings name; None where they name nothing.

    Raises:
        MasterKeyError: what they name is not there, or is no key.
    """
    if settings.key_service:
        return _custom(settings)
    texts = [settings.master_key, *settings.master_keys_previous.split(",")] if settings.master_key else []
    if not texts and settings.master_key_file is not None:
        texts = _lines(settings.master_key_file)
    keys = [_key(text.strip()) for text in texts if text.strip()]
    return LocalKeyService(keys) if keys else None


def _custom(settings: Settings) -> KeyService:
    module, _, name = settings.key_service.partition(":")
    try:
        make = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise MasterKeyError(f"FHIR_KEY_SERVICE={settings.key_service!r} can not be imported: {error}") from error
    return cast("KeyService", make(settings))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise MasterKeyError(f"the master key file {path} can not be read: {error}") from error


def _key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise MasterKeyError("a master key is 32 bytes in base64; `fhir-server keys new` makes one")
    return key


def make_key_file(path: Path) -> None:
    """Make a file with a new master key that only its owner can read, unless it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(new_master_key() + "\n")
        file.flush()
        os.fsync(file.fileno())
