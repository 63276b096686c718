"""Small builders of FHIR elements, ids and points in time."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Any

from fhir_server.demo.places import City

Resource = dict[str, Any]
Element = dict[str, Any]

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
UCUM = "http://unitsofmeasure.org"
THO = "http://terminology.hl7.org/CodeSystem/"
US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"
DEMO = "https://demo.example.org/"
"""Base of the identifier systems and code systems that the demonstration makes up."""


def make_id(seed: int, kind: str, *numbers: object) -> str:
    """Return a stable id, such as `demo-patient-7`; seeds other than 1 keep apart from each other."""
    prefix = "demo" if seed == 1 else f"demo{seed}"
    return "-".join([prefix, kind, *(str(number) for number in numbers)])


def coding(system: str, code: str, display: str = "") -> Element:
    """Return a Coding."""
    return {"system": system, "code": code, "display": display} if display else {"system": system, "code": code}


def concept(system: str, code: str, display: str, text: str = "") -> Element:
    """Return a CodeableConcept with one coding."""
    return {"coding": [coding(system, code, display)], "text": text or display}


def status(system: str, code: str) -> Element:
    """Return a CodeableConcept of a HL7 status such as `condition-clinical`, without texts."""
    return {"coding": [coding(THO + system, code)]}


def reference(resource: Resource, display: str = "") -> Element:
    """Return a Reference to a resource."""
    return link(resource["resourceType"], resource["id"], display)


def link(type_: str, id_: str, display: str = "") -> Element:
    """Return a Reference."""
    target = {"reference": f"{type_}/{id_}"}
    if display:
        target["display"] = display
    return target


def quantity(value: Decimal | int, unit: str, code: str = "") -> Element:
    """Return a Quantity in UCUM units."""
    return {"value": value, "unit": unit, "system": UCUM, "code": code or unit}


def extension(name: str, **value: Any) -> Element:
    """Return an Extension of US Core."""
    return {"url": US_CORE + name, **value}


def decimal_between(rng: Random, low: float, high: float, digits: int = 1) -> Decimal:
    """Return a number with exactly so many digits after the point."""
    scale = 10**digits
    return Decimal(rng.randint(round(low * scale), round(high * scale))).scaleb(-digits)


def generated(text: str) -> Element:
    """Return a Narrative of one paragraph; `text` must hold no markup."""
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{text}</p></div>'}


def workday(day: date) -> date:
    """Return the day itself, or the Monday after it."""
    return day + timedelta(days=(0, 0, 0, 0, 0, 2, 1)[day.weekday()])


def later_workdays(day: date, count: int) -> Iterable[date]:
    """Return the first days after `day` on which a clinic is open."""
    found = 0
    while found < count:
        day += timedelta(days=1)
        if day.weekday() < 5:
            found += 1
            yield day


def moment(city: City, day: date, hour: int, minute: int = 0) -> datetime:
    """Return a time by the clocks of a city."""
    hours = city.offset + (1 if city.summer and _has_summer_time(day) else 0)
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=timezone(timedelta(hours=hours)))


def _has_summer_time(day: date) -> bool:
    """From the second Sunday of March to the first Sunday of November."""
    begin = date(day.year, 3, 14)
    end = date(day.year, 11, 7)
    return begin - timedelta(days=(begin.weekday() + 1) % 7) <= day < end - timedelta(days=(end.weekday() + 1) % 7)


def years_before(day: date, years: int) -> date:
    """Return the same day, years earlier; 29 February becomes the 28th."""
    leap = day.month == 2 and day.day == 29
    return day.replace(year=day.year - years, day=28 if leap else day.day)


def age_on(birth: date, day: date) -> int:
    """Return the age in whole years."""
    return day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day))
