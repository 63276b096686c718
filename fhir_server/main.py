"""What `fhir-server serve` is made of: an embedded MongoDB where none is configured, a socket, one or more workers.

One process does all when there is one worker. With more, the parent owns MongoDB and the socket, and keeps the workers
alive. Whatever happens to the parent, its children end with it.
"""

import contextlib
import errno
import socket
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from fhir_server.config import Settings
from fhir_server.security.authorization.place import Place
from fhir_server.security.authorization.redirects import is_loopback
from fhir_server.store.embedded import DataDirectoryInUseError, EmbeddedError, EmbeddedMongod, running_uri
from fhir_server.store.master import KEY_FILE, MasterKeyError, key_service, make_key_file

if TYPE_CHECKING:
    from fhir_server.serving import Prepare

OK: Final = 0
FAILED: Final = 1
"""The workers end at their start."""
REFUSED: Final = 2
"""The settings can not be obeyed: an unprotected address, a port in use."""
DATA_IN_USE: Final = 3
NO_MONGODB: Final = 4

BIND_SECONDS: Final = 3.0


class RefusedError(Exception):
    """The server does not start like this; the message says what to change."""


def serve(settings: Settings, *, prepare: "Prepare | None" = None) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code; `prepare` runs when MongoDB is there, before requests do."""
    try:
        refuse_unprotected(settings)
        refuse_unsigned(settings)
        refuse_wrong_extensions(settings)
        refuse_wrong_models(settings)
        with mongodb(settings) as (found, mongod), bind(settings) as listener:
            refuse_unsafe_authorization(found)
            # Imported while MongoDB starts: both take about a second.
            from fhir_server.beside import redis  # noqa: PLC0415
            from fhir_server.serving import Embedded, run  # noqa: PLC0415

            with redis(found.model_copy(update={"port": listener.getsockname()[1]})) as (complete, valkey):
                if not run(complete, listener, Embedded(mongod, valkey), prepare):
                    return FAILED
    except (RefusedError, MasterKeyError) as error:
        return _say(error, REFUSED)
    except DataDirectoryInUseError as error:
        return _say(error, DATA_IN_USE)
    except EmbeddedError as error:
        return _say(error, NO_MONGODB)
    return OK


def _say(error: Exception, code: int) -> int:
    sys.stderr.write(f"fhir-server: {error}\n")
    return code


def refuse_unprotected(settings: Settings) -> None:
    """Raise RefusedError when everyone on a network could read and write everything."""
    if settings.allow_unauthenticated or settings.asks_for_tokens or is_loopback(settings.host):
        return
    raise RefusedError(
        f"Refusing to listen on {settings.host}: no authentication is configured, so everyone who reaches that address "
        "could read and write all data. Listen on 127.0.0.1 (FHIR_HOST or --host), ask for tokens (FHIR_AUTH=builtin, or "
        "FHIR_AUTH_ISSUERS), or, where something in front of the server authenticates, set FHIR_ALLOW_UNAUTHENTICATED=true."
    )


def refuse_wrong_models(settings: Settings) -> None:
    """Raise RefusedError when the matching models that are configured can not be used."""
    if settings.match_models is None:
        return
    from fhir_server.matching import ModelError, models  # noqa: PLC0415 -- it takes long to import

    try:
        models(settings.match_models)
    except ModelError as error:
        raise RefusedError(str(error)) from None


def refuse_unsafe_authorization(settings: Settings) -> None:
    """Raise RefusedError when the built-in authorization server could not keep its secrets, or would tell them to everyone.

    Raises:
        MasterKeyError: the master key that is named can not be used.
    """
    service = key_service(settings)
    if settings.auth != "builtin":
        return
    if service is None:
        raise RefusedError(
            "The built-in authorization server encrypts its keys: set FHIR_MASTER_KEY (`fhir-server keys new` makes one), "
            "FHIR_MASTER_KEY_FILE or FHIR_KEY_SERVICE."
        )
    issuer = Place.of(settings).issuer
    if not issuer.startswith("https://") and not is_loopback(urlsplit(issuer).hostname or ""):
        raise RefusedError(
            f"The built-in authorization server would take passwords at {issuer}, without TLS. Put a proxy in front of it that "
            "speaks TLS, and set FHIR_BASE_URL to the https URL that clients use."
        )


def refuse_wrong_extensions(settings: Settings) -> None:
    """Raise RefusedError when an extension can not be loaded; those that come with the server need no look."""
    if settings.extensions == Settings.model_fields["extensions"].default:
        return
    from fhir_server.extension import ExtensionError, load  # noqa: PLC0415 -- takes long to import

    try:
        load(settings)
    except ExtensionError as error:
        raise RefusedError(str(error)) from None


def refuse_unsigned(settings: Settings) -> None:
    """Raise RefusedError when webhooks could not be signed."""
    if settings.webhook_urls and not settings.webhook_secret:
        raise RefusedError("FHIR_WEBHOOK_URLS needs FHIR_WEBHOOK_SECRET: receivers have to know who sends. Set both, or neither.")


@contextlib.contextmanager
def mongodb(settings: Settings) -> Iterator[tuple[Settings, EmbeddedMongod | None]]:
    """Yield settings that name a MongoDB: the one that is configured, or an embedded one that is launched, not ready yet."""
    if settings.mongodb_uri:
        yield settings, None
        return
    with EmbeddedMongod(settings.data_dir, cache_mb=settings.mongodb_cache_mb) as mongod:
        yield _with_master_key(settings.model_copy(update={"mongodb_uri": mongod.uri})), mongod


@contextlib.contextmanager
def mongodb_shared(settings: Settings) -> Iterator[Settings]:
    """Yield settings that name a MongoDB, for work beside a server: its embedded one where it runs, else one of our own."""
    with contextlib.ExitStack() as stack:
        try:
            found, mongod = stack.enter_context(mongodb(settings))
            if mongod is not None:
                mongod.wait()
        except DataDirectoryInUseError:
            found = _with_master_key(settings.model_copy(update={"mongodb_uri": running_uri(settings.data_dir)}))
        yield found


def _with_master_key(settings: Settings) -> Settings:
    """Return settings that name a master key: beside the embedded MongoDB a file, made when it is first needed."""
    if settings.master_key or settings.master_key_file or settings.key_service:
        return settings
    path = settings.data_dir / KEY_FILE
    make_key_file(path)
    return settings.model_copy(update={"master_key_file": path})


@contextlib.contextmanager
def bind(settings: Settings) -> Iterator[socket.socket]:
    """Yield a socket that is bound but does not listen yet.

    Raises:
        RefusedError: the port is in use, also after the time that a server which was killed may take to end.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    deadline = time.monotonic() + BIND_SECONDS
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        while True:
            try:
                listener.bind((settings.host, settings.port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                raise RefusedError(
                    f"Can not listen on {settings.host}, port {settings.port}: {error.strerror}. "
                    "Choose another port with --port, or 0 for a free one."
                ) from error
            yield listener
            return
