"""Who a patient is: birth, gender, race, language, marital status, death, photo, practitioner.

Race, ethnicity and birth sex are the extensions of US Core: https://hl7.org/fhir/us/core/STU3.1.1/StructureDefinition-us-core-race.html
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from prm_ext.patients.fields.field import (
    Field,
    Resource,
    codings,
    drop_item,
    index_of,
    is_member,
    objects,
    set_or_drop,
    text_or_none,
)

US_CORE: Final = "http://hl7.org/fhir/us/core/StructureDefinition/"
RACE: Final = f"{US_CORE}us-core-race"
ETHNICITY: Final = f"{US_CORE}us-core-ethnicity"
BIRTH_SEX: Final = f"{US_CORE}us-core-birthsex"
CDC: Final = "urn:oid:2.16.840.1.113883.6.238"
NULL_FLAVOR: Final = "http://terminology.hl7.org/CodeSystem/v3-NullFlavor"
MARITAL: Final = "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus"
LANGUAGES: Final = "urn:ietf:bcp:47"

RACES: Final[Mapping[str, tuple[str, str]]] = {
    "American Indian or Alaska Native": (CDC, "1002-5"),
    "Asian": (CDC, "2028-9"),
    "Black or African American": (CDC, "2054-5"),
    "Native Hawaiian or Other Pacific Islander": (CDC, "2076-8"),
    "White": (CDC, "2106-3"),
    "Asked but no answer": (NULL_FLAVOR, "ASKU"),
    "Unknown": (NULL_FLAVOR, "UNK"),
}
ETHNICITIES: Final[Mapping[str, tuple[str, str]]] = {
    "Hispanic or Latino": (CDC, "2135-2"),
    "Not Hispanic or Latino": (CDC, "2186-5"),
}
MARITAL_STATUSES: Final[Mapping[str, tuple[str, str]]] = {
    "annulled": ("A", "Annulled"),
    "common_law": ("C", "Common Law"),
    "divorced": ("D", "Divorced"),
    "domestic_partner": ("T", "Domestic partner"),
    "interlocutory": ("I", "Interlocutory"),
    "legally_separated": ("L", "Legally Separated"),
    "married": ("M", "Married"),
    "polygamous": ("P", "Polygamous"),
    "single": ("S", "Never Married"),
    "unmarried": ("U", "unmarried"),
    "widowed": ("W", "Widowed"),
}
_SEPARATOR: Final = re.compile(r"\s*[,;]\s*")


def _element_field(name: str, member: str) -> Field:
    def write(resource: Resource, value: str | None) -> None:
        set_or_drop(resource, member, value)

    return Field(name, f"Patient.{member}", lambda found: text_or_none(found.get(member)), write, lambda _: [member])


def _extension(resource: Resource, url: str) -> int | None:
    return index_of(objects(resource, "extension"), is_member("url", url))


def _extension_places(url: str) -> Any:
    def places(resource: Resource) -> list[str]:
        place = _extension(resource, url)
        return [] if place is None else [f"extension[{place}]"]

    return places


def _category_field(name: str, url: str, known: Mapping[str, tuple[str, str]]) -> Field:
    """Return the field of a US Core extension with categories and a text; words of the text that are known are coded."""
    by_word = {word.casefold(): (word, code) for word, code in known.items()}

    def read(resource: Resource) -> str | None:
        place = _extension(resource, url)
        if place is None:
            return None
        parts = objects(resource["extension"][place], "extension")
        text = next((part.get("valueString") for part in parts if part.get("url") == "text"), None)
        shown = [
            part["valueCoding"].get("display") or part["valueCoding"].get("code", "") for part in parts if "valueCoding" in part
        ]
        return text_or_none(text) or ", ".join(word for word in shown if word) or None

    def write(resource: Resource, value: str | None) -> None:
        place = _extension(resource, url)
        if read(resource) == value:
            return
        if value is None:
            if place is not None:
                drop_item(resource, "extension", place)
            return
        extension = {"url": url, "extension": [*_categories(value, by_word), {"url": "text", "valueString": value}]}
        if place is None:
            resource.setdefault("extension", []).append(extension)
        else:
            resource["extension"][place] = extension

    return Field(name, f"Patient.extension('{url}')", read, write, _extension_places(url))


def _categories(value: str, by_word: Mapping[str, tuple[str, tuple[str, str]]]) -> list[dict[str, Any]]:
    """Return the codings of a text whose parts are all known; none else."""
    found = (
        [by_word.get(value.casefold())]
        if value.casefold() in by_word
        else [by_word.get(part.casefold()) for part in _SEPARATOR.split(value)]
    )
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return []
    return [
        {"url": "ombCategory", "valueCoding": {"system": system, "code": code, "display": word}} for word, (system, code) in known
    ]


def _read_birth_sex(resource: Resource) -> str | None:
    place = _extension(resource, BIRTH_SEX)
    return None if place is None else text_or_none(resource["extension"][place].get("valueCode"))


def _write_birth_sex(resource: Resource, value: str | None) -> None:
    place = _extension(resource, BIRTH_SEX)
    if value is None:
        if place is not None:
            drop_item(resource, "extension", place)
    elif place is None:
        resource.setdefault("extension", []).append({"url": BIRTH_SEX, "valueCode": value})
    else:
        resource["extension"][place]["valueCode"] = value


def _language(resource: Resource) -> int | None:
    """Return the place of the preferred language; of a single one it is taken to be that."""
    languages = objects(resource, "communication")
    preferred = index_of(languages, is_member("preferred", True))
    return 0 if preferred is None and len(languages) == 1 and "preferred" not in languages[0] else preferred


def _code(communication: Mapping[str, Any]) -> str:
    concept = communication.get("language")
    return next((coding["code"] for coding in codings(concept) if coding.get("code")), "") or (concept or {}).get("text", "")


def _read_language(resource: Resource) -> str | None:
    place = _language(resource)
    return None if place is None else _code(resource["communication"][place]) or None


def _write_language(resource: Resource, value: str | None) -> None:
    if _read_language(resource) == value:
        return
    for language in objects(resource, "communication"):
        if language.get("preferred"):
            language["preferred"] = False
    if value is None:
        place = _language(resource)
        if place is not None:
            resource["communication"][place]["preferred"] = False
        return
    known = index_of(objects(resource, "communication"), lambda one: _code(one) == value)
    if known is None:
        coding = {"system": LANGUAGES, "code": value}
        resource.setdefault("communication", []).append({"language": {"coding": [coding]}, "preferred": True})
    else:
        resource["communication"][known]["preferred"] = True


def _language_places(resource: Resource) -> list[str]:
    place = _language(resource)
    return [] if place is None else [f"communication[{place}]"]


def _read_marital(resource: Resource) -> str | None:
    concept = resource.get("maritalStatus")
    if not isinstance(concept, dict):
        return None
    codes = {coding.get("code") for coding in codings(concept) if coding.get("system") == MARITAL}
    word = next((word for word, (code, _) in MARITAL_STATUSES.items() if code in codes), None)
    first = next(iter(codings(concept)), {})
    return word or text_or_none(concept.get("text")) or text_or_none(first.get("display")) or text_or_none(first.get("code"))


def _write_marital(resource: Resource, value: str | None) -> None:
    if _read_marital(resource) == value:
        return
    if value is None:
        resource.pop("maritalStatus", None)
    elif value in MARITAL_STATUSES:
        code, display = MARITAL_STATUSES[value]
        resource["maritalStatus"] = {"coding": [{"system": MARITAL, "code": code, "display": display}]}
    else:
        resource["maritalStatus"] = {"text": value}


def _read_status(resource: Resource) -> str:
    if resource.get("deceasedBoolean") is True or "deceasedDateTime" in resource:
        return "deceased"
    return "inactive" if resource.get("active") is False else "active"


def _write_status(resource: Resource, value: str | None) -> None:
    """Who is active or inactive lives; who died keeps what `active` says."""
    if value is None or _read_status(resource) == value:
        return
    if value == "deceased":
        resource["deceasedBoolean"] = True
        return
    resource.pop("deceasedBoolean", None)
    resource.pop("deceasedDateTime", None)
    resource["active"] = value == "active"


def _write_deceased(resource: Resource, value: str | None) -> None:
    if value is not None:
        resource.pop("deceasedBoolean", None)
        resource["deceasedDateTime"] = value
    elif "deceasedDateTime" in resource:
        del resource["deceasedDateTime"]
        resource["deceasedBoolean"] = True


def _photo(resource: Resource) -> int | None:
    return index_of(objects(resource, "photo"), lambda one: bool(one.get("url")))


def _read_photo(resource: Resource) -> str | None:
    place = _photo(resource)
    return None if place is None else text_or_none(resource["photo"][place].get("url"))


def _write_photo(resource: Resource, value: str | None) -> None:
    place = _photo(resource)
    if _read_photo(resource) == value:
        return
    if place is not None:
        drop_item(resource, "photo", place)
    if value is not None:
        resource.setdefault("photo", []).insert(0, {"url": value})


def _read_practitioner(resource: Resource) -> str | None:
    first = next(iter(objects(resource, "generalPractitioner")), {})
    return (text_or_none(first.get("reference")) or "").removeprefix("Practitioner/") or None


def _write_practitioner(resource: Resource, value: str | None) -> None:
    if _read_practitioner(resource) == value:
        return
    if objects(resource, "generalPractitioner"):
        drop_item(resource, "generalPractitioner", 0)
    if value is not None:
        reference = value if "/" in value else f"Practitioner/{value}"
        resource.setdefault("generalPractitioner", []).insert(0, {"reference": reference})


FIELDS: Final = (
    _element_field("date_of_birth", "birthDate"),
    _element_field("gender", "gender"),
    Field(
        "birth_sex",
        f"Patient.extension('{BIRTH_SEX}').valueCode",
        _read_birth_sex,
        _write_birth_sex,
        _extension_places(BIRTH_SEX),
    ),
    _category_field("race", RACE, RACES),
    _category_field("ethnicity", ETHNICITY, ETHNICITIES),
    Field(
        "preferred_language",
        "Patient.communication.where(preferred=true).language",
        _read_language,
        _write_language,
        _language_places,
    ),
    Field("marital_status", "Patient.maritalStatus", _read_marital, _write_marital, lambda _: ["maritalStatus"]),
    Field(
        "primary_care_provider_id",
        "Patient.generalPractitioner[0]",
        _read_practitioner,
        _write_practitioner,
        lambda _: ["generalPractitioner[0]"],
    ),
    Field("photo_url", "Patient.photo.url", _read_photo, _write_photo, lambda _: ["photo"]),
    Field("status", "Patient.active, Patient.deceased", _read_status, _write_status, lambda _: ["active", "deceasedBoolean"]),
    Field(
        "deceased_at",
        "Patient.deceasedDateTime",
        lambda resource: text_or_none(resource.get("deceasedDateTime")),
        _write_deceased,
        lambda _: ["deceasedDateTime"],
    ),
)
