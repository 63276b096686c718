"""Looks at what the server stands on, and says how to mend what is wrong."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Final

from pymongo.errors import PyMongoError

from fhir_server.blobs.examining import examine_media
from fhir_server.config import Settings
from fhir_server.extension import ExtensionError, load
from fhir_server.search.index import index_models
from fhir_server.search.reindex import PROGRESS
from fhir_server.search.vocabulary import WORDS
from fhir_server.security.authorization.collections import USERS
from fhir_server.security.grants import criteria_problems
from fhir_server.security.policy import PolicyError
from fhir_server.security.policy import read as read_policy
from fhir_server.store.database import Database, Document, connect

OLDEST: Final = (6, 0)
NEWEST: Final = (8, 99)
SCRATCH: Final = "_doctor"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `mend` says what to do where it is not `ok`."""

    subject: str
    ok: bool
    found: str
    mend: str = ""


def examine_policies(settings: Settings) -> Iterable[Finding]:
    """Yield what is wrong with the files in the directory of policies, one finding for each file."""
    if settings.policy_dir is None:
        return
    if not settings.policy_dir.is_dir():
        yield Finding("Policies", ok=False, found=f"{settings.policy_dir} is no directory", mend="Correct FHIR_POLICY_DIR.")
        return
    for path in sorted(settings.policy_dir.glob("*.yaml")):
        try:
            problems = criteria_problems(read_policy(path.read_text(encoding="utf-8"), path.name), settings)
        except (PolicyError, OSError, UnicodeDecodeError) as error:
            problems = [str(error)]
        yield Finding(
            f"Policy {path.name}",
            ok=not problems,
            found="; ".join(problems) or "is one that can be used",
            mend="Correct the file; until then the policy that was in force before stays so, or nobody is let in.",
        )


def _examine_extensions(settings: Settings) -> Iterable[Finding]:
    try:
        checks = load(settings).checks
    except ExtensionError as error:
        yield Finding("Extensions", ok=False, found=str(error), mend="Correct FHIR_EXTENSIONS.")
        return
    for check in checks:
        yield from check()


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Yield what is found, in the order in which it should be mended; without MongoDB the rest is not looked at."""
    for finding in (*examine_settings(settings), *examine_policies(settings), *_examine_extensions(settings)):
        yield finding
    async with connect(settings.mongodb_uri, settings) as client:
        database = Database(client[settings.mongodb_database], settings, index_models, WORDS)
        try:
            hello = await client.admin.command("hello")
            build = await client.admin.command("buildInfo")
        except PyMongoError as error:
            yield Finding(
                "MongoDB",
                ok=False,
                found=f"does not answer ({type(error).__name__})",
                mend="Start it, or correct FHIR_MONGODB_URI; check the network between, the user and the password.",
            )
            return
        yield examine_version(build["version"])
        topology = examine_topology(hello)
        yield topology
        if not topology.ok:
            return
        yield await _examine_transactions(database)
        yield await _examine_reindex(database)
        async for seen in examine_media(settings):
            yield Finding(*seen)
        yield await _examine_keys(database)
        if settings.auth == "builtin":
            yield await _examine_users(database)
        for type_ in sorted(await database.existing_types()):
            yield await _examine_indexes(database, type_)


def examine_settings(settings: Settings) -> Iterable[Finding]:
    """Yield what stands out in the settings."""
    exposed = settings.allow_unauthenticated and not settings.asks_for_tokens
    yield Finding(
        "Access",
        ok=not exposed,
        found="everyone who reaches the port reads and writes all data"
        if exposed
        else "tokens are asked for"
        if settings.asks_for_tokens
        else f"no authentication, on {settings.host} only",
        mend="Unset FHIR_ALLOW_UNAUTHENTICATED, unless something in front of the server authenticates.",
    )
    proxied = bool(settings.base_url) or not settings.trusted_proxies
    yield Finding(
        "Base URL",
        ok=proxied,
        found=settings.base_url or "taken from each request",
        mend="Set FHIR_BASE_URL: behind a proxy the links in answers should not depend on what a request says.",
    )


def examine_version(version: str) -> Finding:
    """Judge the version of MongoDB."""
    numbers = tuple(int(part) for part in version.split(".")[:2])
    return Finding(
        "MongoDB version",
        ok=OLDEST <= numbers <= NEWEST,
        found=version,
        mend="Use MongoDB 6.0 to 8.x; older ones lack what transactions and change streams need here.",
    )


def examine_topology(hello: Document) -> Finding:
    """Judge whether transactions and change streams are possible: on a replica set or a sharded cluster."""
    if hello.get("msg") == "isdbgrid":
        return Finding("Topology", ok=True, found="sharded cluster")
    name = hello.get("setName", "")
    if name and hello.get("isWritablePrimary"):
        return Finding("Topology", ok=True, found=f"replica set {name}, primary {hello.get('me', '')}")
    found = f"replica set {name} without a primary in reach" if name else "a single server, no replica set"
    return Finding(
        "Topology",
        ok=False,
        found=found,
        mend="Start mongod with --replSet and run rs.initiate() once; name all members in FHIR_MONGODB_URI, with replicaSet=….",
    )


async def _examine_transactions(database: Database) -> Finding:
    mend = "The database user needs the role readWrite on the database, and the replica set a majority of its members."
    scratch = database.collection(SCRATCH)
    try:
        async with database.client.start_session() as session, await session.start_transaction():
            await scratch.update_one({"_id": 1}, {"$set": {"tried": True}}, upsert=True, session=session)
            await scratch.delete_one({"_id": 1}, session=session)
    except PyMongoError as error:
        return Finding("Transactions", ok=False, found=f"fail ({type(error).__name__})", mend=mend)
    return Finding("Transactions", ok=True, found="work, writes reach a majority")


async def _examine_keys(database: Database) -> Finding:
    """Look whether this server can decrypt what its tenants have encrypted."""
    keyring = database.keyring
    tenants = await keyring.tenants()
    shut = [one for one in tenants if len((await keyring.ready(one)).generations) < len(await keyring.generations(one))]
    if shut:
        mend = "Set FHIR_MASTER_KEY (or FHIR_MASTER_KEYS_PREVIOUS) to the key that `fhir-server keys list` names."
        return Finding("Master key", ok=False, found=f"does not open the keys of {', '.join(shut)}", mend=mend)
    if keyring.service is None and keyring.systems.names:
        mend = "Set FHIR_MASTER_KEY to what `fhir-server keys new` prints, and keep it apart from the database."
        return Finding("Master key", ok=False, found="there is none: protected identifiers are refused", mend=mend)
    return Finding("Master key", ok=True, found=f"opens the keys of {len(tenants)} tenants")


async def _examine_users(database: Database) -> Finding:
    count = await database.collection(USERS).count_documents({"active": True}, limit=1)
    return Finding(
        "Users",
        ok=bool(count),
        found="somebody can log in" if count else "nobody can log in",
        mend="Add people with `fhir-server auth users add`.",
    )


async def _examine_reindex(database: Database) -> Finding:
    open_types = [state["_id"] async for state in database.collection(PROGRESS).find()]
    return Finding(
        "Reindexing",
        ok=not open_types,
        found=f"interrupted at {', '.join(open_types)}" if open_types else "none is open",
        mend="Run `fhir-server reindex` to finish it.",
    )


async def _examine_indexes(database: Database, type_: str) -> Finding:
    existing = await database.collection(type_).index_information()
    declared = {model.document["name"] for model in index_models(type_)}
    missing = sorted(declared - set(existing))
    return Finding(
        f"Indexes of {type_}",
        ok=not missing,
        found=f"{', '.join(missing)} missing" if missing else f"all {len(declared)}",
        mend=f"Run `fhir-server reindex --type {type_}`, which makes them while the server runs.",
    )
