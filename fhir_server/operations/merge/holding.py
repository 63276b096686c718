"""Transactions over many resources that others keep writing."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from fhir_server.store.repository import Repository
from fhir_server.store.versions import current_key

FREE_ATTEMPTS: Final = 2
"""So often a transaction is tried before it holds what it is going to write."""

T = TypeVar("T")
Key = tuple[str, str]


async def transact(repo: Repository, keys: Iterable[Key], work: Callable[[Repository], Awaitable[T]]) -> T:
    """Run `work` in a transaction (see `Repository.transact`) that is about these resources.

    Between its look at the resources and its writes a transaction takes a while, in which somebody who writes one of
    them again and again would always be faster. So after some attempts it begins with a change of a field that means
    nothing: from then on others wait for it.
    """
    attempts, known = 0, list(keys)

    async def attempt(inner: Repository) -> T:
        nonlocal attempts
        attempts += 1
        if attempts > FREE_ATTEMPTS:
            await _hold(inner, known)
        return await work(inner)

    return await repo.transact(attempt)


async def _hold(repo: Repository, keys: Iterable[Key]) -> None:
    by_type: dict[str, list[str]] = {}
    for type_, id_ in keys:
        by_type.setdefault(type_, []).append(current_key(repo.tenant, id_))
    for type_, found in sorted(by_type.items()):
        await repo.collection(type_).update_many({"_id": {"$in": found}}, {"$inc": {"held": 1}}, session=repo.session)
