"""Search over plain resources in memory, one obvious step after the other.

It knows the few parameters of `population` by hand and shares no code with the server.
"""

import unicodedata
from calendar import monthrange
from collections.abc import Callable, Iterable
from typing import Any

Resource = dict[str, Any]
World = dict[str, list[Resource]]


def fold(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))


def _names(resource: Resource) -> Iterable[Resource]:
    name = resource.get("name", [])
    return name if isinstance(name, list) else []


def _references(*members: str) -> Callable[[Resource], list[str]]:
    def find(resource: Resource) -> list[str]:
        found = []
        for member in members:
            value = resource.get(member, [])
            found += [one["reference"] for one in (value if isinstance(value, list) else [value])]
        return found

    return find


def _only(type_: str, find: Callable[[Resource], list[str]]) -> Callable[[Resource], list[str]]:
    return lambda resource: [reference for reference in find(resource) if reference.startswith(type_ + "/")]


STRINGS: dict[tuple[str, str], Callable[[Resource], list[str]]] = {
    ("Organization", "name"): lambda r: [r["name"]],
    **{
        (type_, code): find
        for type_ in ("Patient", "Practitioner")
        for code, find in {
            "family": lambda r: [name["family"] for name in _names(r)],
            "given": lambda r: [given for name in _names(r) for given in name["given"]],
            "name": lambda r: [part for name in _names(r) for part in [name["family"], *name["given"]]],
        }.items()
    },
}
TOKENS: dict[tuple[str, str], Callable[[Resource], list[tuple[str, str]]]] = {
    ("Patient", "gender"): lambda r: [("", r["gender"])] if "gender" in r else [],
    ("Patient", "active"): lambda r: [("", str(r["active"]).lower())] if "active" in r else [],
    ("Patient", "identifier"): lambda r: [(one["system"], one["value"]) for one in r.get("identifier", [])],
    ("Practitioner", "gender"): lambda r: [("", r["gender"])] if "gender" in r else [],
    ("Organization", "active"): lambda r: [("", str(r["active"]).lower())] if "active" in r else [],
    ("Encounter", "status"): lambda r: [("", r["status"])],
    ("Encounter", "class"): lambda r: [(r["class"]["system"], r["class"]["code"])],
    ("Observation", "status"): lambda r: [("", r["status"])],
    ("Observation", "code"): lambda r: [(one["system"], one["code"]) for one in r["code"]["coding"]],
}
DATES: dict[tuple[str, str], Callable[[Resource], list[str]]] = {
    ("Patient", "birthdate"): lambda r: [r["birthDate"]] if "birthDate" in r else [],
    ("Observation", "date"): lambda r: [r["effectiveDateTime"]] if "effectiveDateTime" in r else [],
}
REFERENCES: dict[tuple[str, str], Callable[[Resource], list[str]]] = {
    ("Organization", "partof"): _references("partOf"),
    ("Patient", "organization"): _references("managingOrganization"),
    ("Patient", "general-practitioner"): _references("generalPractitioner"),
    ("Encounter", "subject"): _references("subject"),
    ("Encounter", "patient"): _only("Patient", _references("subject")),
    ("Encounter", "service-provider"): _references("serviceProvider"),
    ("Observation", "subject"): _references("subject"),
    ("Observation", "patient"): _only("Patient", _references("subject")),
    ("Observation", "encounter"): _references("encounter"),
    ("Observation", "performer"): _references("performer"),
    ("Observation", "has-member"): _references("hasMember"),
}


def bounds(date: str) -> tuple[str, str]:
    """Return the first and the last day that a date may mean."""
    if len(date) == 4:
        return f"{date}-01-01", f"{date}-12-31"
    if len(date) == 7:
        return f"{date}-01", f"{date}-{monthrange(int(date[:4]), int(date[5:]))[1]}"
    return date, date


def _date_matches(stored: str, value: str) -> bool:
    prefix, text = (value[:2], value[2:]) if value[0].isalpha() else ("eq", value)
    (low, high), (first, last) = bounds(stored), bounds(text)
    inside = first <= low and high <= last
    return {
        "eq": inside,
        "ne": not inside,
        "gt": high > last,
        "lt": low < first,
        "ge": high > last or low >= first,
        "le": low < first or high <= last,
        "sa": low > last,
        "eb": high < first,
    }[prefix]


def _token_matches(stored: tuple[str, str], value: str) -> bool:
    system, bar, code = value.rpartition("|")
    if not bar:
        return stored[1] == code
    return (not code or stored[1] == code) and stored[0] == system


def _string_matches(stored: str, value: str, modifier: str) -> bool:
    if modifier == "exact":
        return stored == value
    if modifier == "contains":
        return fold(value) in fold(stored)
    return fold(stored).startswith(fold(value))


def _reference_matches(stored: str, value: str) -> bool:
    return stored == value or stored.partition("/")[2] == value


def values_of(resource: Resource, code: str) -> list[Any]:
    """Return what a parameter finds in a resource."""
    if code == "_id":
        return [resource["id"]]
    for table in (STRINGS, TOKENS, DATES, REFERENCES):
        if (resource["resourceType"], code) in table:
            return list(table[resource["resourceType"], code](resource))
    raise KeyError(code)


def holds(world: World, resource: Resource, name: str, value: str) -> bool:
    """Tell whether one parameter of a search holds for a resource."""
    type_ = resource["resourceType"]
    if name.startswith("_has:"):
        _, source, code, rest = name.split(":", 3)
        own = f"{type_}/{resource['id']}"
        return any(own in REFERENCES[source, code](one) and holds(world, one, rest, value) for one in world[source])
    head, dot, rest = name.partition(".")
    code, _, modifier = head.partition(":")
    if dot:
        return any(_leads_to(world, reference, modifier, rest, value) for reference in values_of(resource, code))
    found = values_of(resource, code)
    if modifier == "missing":
        return (value == "true") == (not found)
    values = value.split(",")
    if modifier == "not":
        return not any(_token_matches(stored, one) for stored in found for one in values)
    return any(_matches(type_, code, modifier, stored, one) for stored in found for one in values)


def _leads_to(world: World, reference: str, wanted: str, rest: str, value: str) -> bool:
    type_, _, id_ = reference.partition("/")
    if wanted not in ("", type_):
        return False
    target = next((one for one in world.get(type_, []) if one["id"] == id_), None)
    try:
        return target is not None and holds(world, target, rest, value)
    except KeyError:
        return False  # The parameter is one of the other types that the reference may lead to.


def _matches(type_: str, code: str, modifier: str, stored: Any, value: str) -> bool:
    if code == "_id":
        return bool(stored == value)
    if (type_, code) in STRINGS:
        return _string_matches(stored, value, modifier)
    if (type_, code) in TOKENS:
        return _token_matches(stored, value)
    if (type_, code) in DATES:
        return _date_matches(stored, value)
    return _reference_matches(stored, value)


def included(world: World, type_: str, ids: list[str], includes: list[tuple[str, str, bool]]) -> set[str]:
    """Return what comes along with these matches, by includes `Type:code`, each forward or `_rev`, iterating or not."""
    matches = {f"{type_}/{id_}" for id_ in ids}
    everything = {f"{one['resourceType']}/{one['id']}": one for some in world.values() for one in some}
    found: set[str] = set()
    news, wanted = set(matches), includes
    while news:
        step = {to for name, path, _ in wanted for to in _led_to(everything, news, name, path)}
        news = (step & everything.keys()) - matches - found
        found |= news
        wanted = [one for one in includes if one[2]]
    return found


def _led_to(everything: dict[str, Resource], sources: set[str], name: str, path: str) -> set[str]:
    source, code = path.split(":")
    find = REFERENCES[source, code]
    if name == "_include":
        return {to for one in sources if one.startswith(source + "/") for to in find(everything[one])}
    return {one for one, resource in everything.items() if one.startswith(source + "/") and sources & set(find(resource))}


def search(world: World, type_: str, params: list[tuple[str, str]], sort: str = "") -> list[str]:
    """Return the ids of the resources that match, in their order."""
    return [name.partition("/")[2] for name in search_all(world, [type_], params, sort)]


def search_all(world: World, types: list[str], params: list[tuple[str, str]], sort: str = "") -> list[str]:
    """Return type and id of the resources of several types that match, in one order."""
    found = [one for type_ in types for one in world[type_] if all(holds(world, one, name, value) for name, value in params)]
    keys = [key for key in sort.split(",") if key]
    found.sort(key=lambda one: (one["resourceType"], one["id"]), reverse=bool(keys) and keys[-1].startswith("-"))
    for key in reversed(keys):
        if key.lstrip("-") != "_id":
            found = _sorted(found, key.removeprefix("-"), descending=key.startswith("-"))
    return [f"{one['resourceType']}/{one['id']}" for one in found]


def _sorted(resources: list[Resource], code: str, *, descending: bool) -> list[Resource]:
    choose = max if descending else min
    valued = [
        (choose(keys), one) for one in resources if (keys := [_sort_key(one, code, value) for value in values_of(one, code)])
    ]
    valued.sort(key=lambda pair: pair[0], reverse=False)
    if descending:  # Stable: of equal keys the order before is kept.
        groups: dict[Any, list[Resource]] = {}
        for key, one in valued:
            groups.setdefault(key, []).append(one)
        ordered = [one for key in sorted(groups, reverse=True) for one in groups[key]]
    else:
        ordered = [one for _, one in valued]
    return ordered + [one for one in resources if not values_of(one, code)]


def _sort_key(resource: Resource, code: str, value: Any) -> Any:
    if (resource["resourceType"], code) in STRINGS:
        return fold(value), "" if fold(value) == value else value
    if (resource["resourceType"], code) in TOKENS:
        return f"{value[1]}|{value[0]}"
    return bounds(value)[0] if (resource["resourceType"], code) in DATES else value
