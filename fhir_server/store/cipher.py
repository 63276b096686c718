"""Protected identifiers in documents: encrypted on their way in, decrypted on their way out.

The value of such an identifier, and any other text of the same resource that repeats it, is binary data (subtype 0x80) in
`r`: the id of the keys, a nonce, and the text under AES-256-GCM. Whoever decodes a document through `codec_options` sees
texts. In the search entries `s` a token stands for the value. A document with such data has a member `k`, the number of the
generation of keys.
"""

import hmac
import os
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any, Final

from bson.binary import USER_DEFINED_SUBTYPE, Binary
from bson.codec_options import CodecOptions, TypeDecoder, TypeRegistry
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fhir_server.exchange import Resource
from fhir_server.fhir.protected import Change, Looked, Repeated, changed, look, main_name, normal
from fhir_server.store.documents import CODECS
from fhir_server.store.keys import ID_BYTES, Generation, Keyring, locked

Document = dict[str, Any]
Ciphers = dict[bytes, AESGCM]
NONCE_BYTES: Final = 12
_BODY: Final = ID_BYTES + NONCE_BYTES


class SealedDecoder(TypeDecoder):
    """Decrypts what `sealed` has encrypted; other binary data is what it is."""

    bson_type = Binary

    def __init__(self, ciphers: Ciphers) -> None:
        self._ciphers = ciphers

    def transform_bson(self, value: Binary) -> str | Binary:
        """Return the text.

        Raises:
            FhirError: 503, the key is not known.
        """
        return opened(value, self._ciphers) if value.subtype == USER_DEFINED_SUBTYPE else value


def codec_options(ciphers: Ciphers) -> CodecOptions[Document]:
    """Return the options of decoding that decrypt with these ciphers."""
    registry = TypeRegistry([*CODECS, SealedDecoder(ciphers)])
    return CodecOptions(type_registry=registry, tz_aware=True, tzinfo=UTC)


def opened(value: bytes, ciphers: Mapping[bytes, AESGCM]) -> str:
    """Return a text that was encrypted.

    Raises:
        FhirError: 503, the key is not known.
    """
    cipher = ciphers.get(bytes(value[:ID_BYTES]))
    if cipher is None:
        raise locked()
    try:
        return cipher.decrypt(value[ID_BYTES:_BODY], value[_BODY:], value[:ID_BYTES]).decode()
    except InvalidTag:
        raise locked() from None


def closed(text: str, keys: Generation) -> Binary:
    """Return a text, encrypted."""
    nonce = os.urandom(NONCE_BYTES)
    return Binary(keys.id + nonce + keys.cipher.encrypt(nonce, text.encode(), keys.id), USER_DEFINED_SUBTYPE)


def sealed(
    keyring: Keyring,
    tenant: str,
    document: Document,
    index: Callable[[Resource], Mapping[str, Any]] | None,
    looked: Looked | None = None,
) -> Document:
    """Return a document as it may be stored: without protected identifiers in clear.

    `index` gives the search entries of a resource, and is asked for those of one with tokens; None: they have them already.
    `looked` is what is known to be found in its resource.

    Raises:
        FhirError: 503, there is no key to encrypt with.
    """
    resource = document.get("r")
    if resource is None:
        return document
    if looked is None:
        looked = look(resource, keyring.systems)
    if not looked.found:
        return document
    keys = keyring.ring(tenant).active

    def identifier(node: dict[str, Any]) -> dict[str, Any]:
        return node | {"value": closed(node["value"], keys)}

    def text(value: str, _: Repeated) -> Binary:
        return closed(value, keys)

    stored = document | {"k": keys.number, "r": changed(resource, looked, keyring.systems, Change(identifier, text))}
    if "s" in document and index is not None:
        stored["s"] = index(blinded(keyring, keys, resource, looked))
    return stored


def blind(keyring: Keyring, tenant: str, resource: Resource, looked: Looked | None = None) -> Resource:
    """Return a resource for the search index: with tokens for protected identifiers; the same object where there are none."""
    if looked is None:
        looked = look(resource, keyring.systems)
    return blinded(keyring, keyring.ring(tenant).active, resource, looked) if looked.found else resource


def blinded(keyring: Keyring, keys: Generation, resource: Any, looked: Looked) -> Resource:
    """Return a resource with tokens in the place of protected identifiers."""

    def identifier(node: dict[str, Any]) -> dict[str, Any]:
        return node | {"value": keys.token(main_name(node["system"]), normal(node["value"]))}

    def text(value: str, repeated: Repeated) -> str:
        return repeated.replaced(value, lambda one, _: keys.token(one.system, one.normal))

    result: Resource = changed(resource, looked, keyring.systems, Change(identifier, text))
    return result


def guard_key(keyring: Keyring, tenant: str, key: str) -> str:
    """Return a guard's key such that nobody can find out by trying which identifier it is about.

    It is the same as long as the tenant has its keys: that of the first generation is used.
    """
    generations = keyring.ring(tenant).generations
    return hmac.digest(generations[0].index_key, key.encode(), "sha256").hex() if generations else key
