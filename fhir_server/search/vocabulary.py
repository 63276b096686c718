"""The vocabulary of a tenant: each word that stands in a name.

docs/decisions/0014-words-of-names.md

    _words       {_id: "{tenant}/{word}", t: tenant, k: ["lindqvist", "indqvist", "ndqvist", …]}
    _words_less  {_id: "{tenant}/{what is left}", w: ["lindqvist", …]}

A word is in it before a resource that has it (`fhir_server.store.companions`). `k` has what follows from each of its letters
on. `_words_less` lists the words of whose first seven letters a text is left when none, one or two of them are left out.
There are few words, however many people bear them: what a text may mean is looked up here, and the words that are found are
looked up among the entries of the resources.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from pymongo import ASCENDING, IndexModel

from fhir_server.search.access import NOTHING, Access
from fhir_server.search.fuzzy import keys
from fhir_server.search.parameter import SearchParameter
from fhir_server.search.sort import Filter, all_of
from fhir_server.search.types import string
from fhir_server.search.types.common import END as AFTER_ALL
from fhir_server.search.types.common import any_of
from fhir_server.store.search import Search

COLLECTION: Final = "_words"
LESS: Final = "_words_less"
ONE_LESS: Final = "-"
"""Marks what is left of a word without at most one letter."""
TWO_LESS: Final = "="
SHORTEST_TWO_LESS: Final = 5
"""Of shorter words too little is left without two letters."""
LONGEST_END: Final = 32
SHORTEST_END: Final = 2
BEGINNING: Final = 7
"""So many letters of a word are taken for what is left of it when some are left out."""
MOST_WORDS: Final = 500
"""More words than these are not looked up one by one."""
FEW: Final = 1000
"""Not more resources than these are listed by their keys."""
OLD_INDEX: Final = "t_1_s.name:ends_1"
"""What a collection has while some of its resources may have words that are not in the vocabulary."""


class Words:
    """The companions of resources with names."""

    collection = COLLECTION
    lists = LESS
    indexes = (IndexModel([("t", ASCENDING), ("k", ASCENDING)], name="keys"),)

    def keys(self, tenant: str, type_: str, index: Mapping[str, Any]) -> Iterable[str]:
        """Return the words of a resource's names, with the tenant."""
        return [f"{tenant}/{word}" for word in words_of(index)] if type_ in string.NAMED else ()

    def document(self, key: str) -> dict[str, Any]:
        """Return a word with what it is found by."""
        tenant, _, word = key.partition("/")
        ends = {word[start : start + LONGEST_END] for start in range(max(1, len(word) - SHORTEST_END + 1))}
        return {"_id": key, "t": tenant, "k": sorted(ends)}

    def listed(self, key: str) -> Iterator[tuple[str, str]]:
        """Return the lists that a word stands in."""
        tenant, _, word = key.partition("/")
        one, two = shortened(word)
        for text in one:
            yield f"{tenant}/{ONE_LESS}{text}", word
        for text in two if len(word) >= SHORTEST_TWO_LESS else ():
            yield f"{tenant}/{TWO_LESS}{text}", word


WORDS: Final = Words()


def words_of(index: Mapping[str, Any]) -> set[str]:
    """Return the words of the names among index entries, and those of their pairs, which have no hyphens and the like."""
    return string.words(index.get("name", ())).union(keys.words_of(index.get(keys.FIELD, ())))


def shortened(word: str) -> tuple[set[str], set[str]]:
    """Return the beginning of a word with at most one of its letters left out, and with two."""
    start = word[:BEGINNING]
    one, two = ({"".join(letters) for letters in combinations(start, max(1, len(start) - left))} for left in (1, 2))
    one.add(start)
    return one, two - one


async def containing(access: Access, parameter: SearchParameter, values: Sequence[str]) -> Filter:
    """Return the filter for resources that have a name which contains one of the values.

    Raises:
        FhirError: 400, an empty value.
    """
    texts = string.folded_values(values, parameter)
    if not await access.repo.database.lacks(parameter.resource_type, OLD_INDEX):
        return any_of(string.containing(parameter.field, text) for text in texts)
    return any_of([await _containing(access, parameter, text) for text in texts])


async def _containing(access: Access, parameter: SearchParameter, text: str) -> Filter:
    words = await _words_around(access, text)
    if words is None:
        return string.containing(parameter.field, text)
    if not words:
        return NOTHING
    having = string.having_words(parameter.field, words)
    # MongoDB plans rare and common words alike, by what it learned of the last ones: few resources are therefore listed. If
    # they are many, a page is soon full, and one pattern is tested faster than all words.
    few = await access.read(parameter.resource_type, having, {"_id": 1}, limit=FEW + 1)
    anywhere = string.containing(parameter.field, text)
    if len(few) > FEW:
        return anywhere
    return all_of([{"_id": {"$in": [document["_id"] for document in few]}}, anywhere])


async def _words_around(access: Access, text: str) -> list[str] | None:
    """Return words of which every name that contains a text has one; None if they would be too many."""
    fragments = text.split(" ")
    if len(fragments) == 1:
        return await _look_up(access, _by_key(text)) if len(text) >= SHORTEST_END else None
    first, *whole, last = fragments
    if whole:
        return [next(string.split(max(whole, key=len)))]
    if len(last) >= max(len(first), SHORTEST_END):
        return await _look_up(access, {"_id": {"$regex": f"^{access.repo.tenant}/{re.escape(last[:LONGEST_END])}"}})
    if len(first) < SHORTEST_END:
        return None
    return await _look_up(access, {"k": first} if len(first) < LONGEST_END else _by_key(first))


def _by_key(text: str) -> Filter:
    return {"k": {"$regex": f"^{re.escape(text[:LONGEST_END])}"}}


async def _look_up(access: Access, condition: Filter) -> list[str] | None:
    tenant = access.repo.tenant
    search = Search(COLLECTION, {"t": tenant, **condition}, {"_id": 1}, (), MOST_WORDS + 1, access.remaining_ms())
    with access.in_time():
        # Not within the transaction: what it writes itself has its words outside of it.
        found = await access.repo.database.find(search)
    return [document["_id"][len(tenant) + 1 :] for document in found] if len(found) <= MOST_WORDS else None


async def words_left(access: Access, texts: Iterable[str]) -> set[str]:
    """Return the words of which one of the texts, each with its mark, is left."""
    names = sorted(f"{access.repo.tenant}/{text}" for text in texts)
    if not names:
        return set()
    search = Search(LESS, {"_id": {"$in": names}}, {"_id": 0, "w": 1}, (), len(names), access.remaining_ms())
    with access.in_time():
        found = await access.repo.database.find(search)
    return {word for document in found for word in document["w"]}


async def words_from(access: Access, start: str, limit: int) -> list[str]:
    """Return the first `limit` words, in alphabetical order, that start with a folded text."""
    begins = {"$gte": f"{access.repo.tenant}/{start}", "$lt": f"{access.repo.tenant}/{start}{AFTER_ALL}"}
    search = Search(COLLECTION, {"_id": begins}, {"_id": 1}, (("_id", ASCENDING),), limit, access.remaining_ms())
    with access.in_time():
        found = await access.repo.database.find(search)
    return [document["_id"][len(access.repo.tenant) + 1 :] for document in found]
