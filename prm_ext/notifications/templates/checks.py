"""What has to be true of a template before it is stored, so that it can not fail for reasons of its own when it is sent."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import Final

from babel import Locale

from fhir_server.fhir.outcome import Issue
from prm_ext.notifications.channels.channel import CHANNELS
from prm_ext.notifications.templates.languages import tidy
from prm_ext.notifications.templates.model import Place, Template
from prm_ext.notifications.templates.text import NAME, TextError, compiled
from prm_ext.notifications.templates.values import FORMATS, Setting, ValueProblemError, Variable, formatted
from prm_ext.notifications.templates.wellknown import WELL_KNOWN

SID: Final = re.compile(r"HX[0-9a-fA-F]{32}")
MOST_VARIABLES: Final = 100
MOST_PLACES: Final = 100
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_SETTING: Final = Setting(Locale("en"), UTC)


def issues_of(template: Template, places: Sequence[Place] = ()) -> list[Issue]:
    """Return all that is wrong; expressions are flat fields, in which `places` says which variant is which."""
    return [*_texts(template, places), *_variables(template), *_contents(template, places)]


def _field(template: Template, places: Sequence[Place], place: Place, name: str) -> str:
    if place == (template.language, ""):
        return name
    return f"variants[{places.index(place)}].{name}" if place in places else "variants"


def _texts(template: Template, places: Sequence[Place]) -> Iterator[Issue]:
    if len(template.bodies) > MOST_PLACES or len(template.subjects) > MOST_PLACES:
        yield Issue("too-costly", f"There are more than {MOST_PLACES} variants.", ("variants",))
        return
    for name, texts in (("body", template.bodies), ("subject", template.subjects)):
        for place, text in texts.items():
            field = _field(template, places, place, name)
            if tidy(place[0]) != place[0] or not place[0]:
                yield Issue("value", f"{place[0]!r} is not a language tag such as es or es-MX.", (field,))
            if place[1] not in ("", *CHANNELS):
                yield Issue("value", f"{place[1]!r} is no channel; there are {', '.join(CHANNELS)}.", (field,))
            yield from _text(template, text, field)
    if template.subjects and (template.language, "") not in template.subjects:
        yield Issue("required", "A variant has a subject, so the template needs one too.", ("subject",))


def _text(template: Template, text: str, field: str) -> Iterator[Issue]:
    if not text.strip():
        yield Issue("required", "It says nothing.", (field,))
        return
    try:
        names = compiled(text).names
    except TextError as error:
        yield Issue("value", str(error), (field,))
        return
    for name in names:
        if not _is_known(template, name):
            yield Issue("not-found", f"{{{name}}} is not known: declare it in `variables`, or correct its name.", (field,))


def _is_known(template: Template, name: str) -> bool:
    return name in template.variables or name in WELL_KNOWN


def _variables(template: Template) -> Iterator[Issue]:
    if len(template.variables) > MOST_VARIABLES:
        yield Issue("too-costly", f"There are more than {MOST_VARIABLES} variables.", ("variables",))
    for place, variable in enumerate(template.variables.values()):
        yield from _variable(variable, f"variables[{place}]")


def _variable(variable: Variable, field: str) -> Iterator[Issue]:
    if not NAME.fullmatch(variable.name):
        text = f"{variable.name!r} is no name of a variable: letters, digits and '_', a letter first, 64 at most."
        yield Issue("value", text, (f"{field}.name",))
    formats = FORMATS.get(variable.type)
    if formats is None:
        if variable.format and not _CURRENCY.fullmatch(variable.format):
            yield Issue("value", f"The format of money is a currency such as EUR, not {variable.format!r}.", (f"{field}.format",))
            return
    elif variable.format not in formats:
        named = ", ".join(filter(None, formats)) or "none"
        yield Issue("value", f"{variable.format!r} is no format of a {variable.type}; there are: {named}.", (f"{field}.format",))
        return
    for name, value in (("default", variable.default), ("sample", variable.sample)):
        if value:
            try:
                formatted(variable, value, _SETTING)
            except ValueProblemError as error:
                yield Issue("value", f"The {name} does not fit: {error}.", (f"{field}.{name}",))


def _contents(template: Template, places: Sequence[Place]) -> Iterator[Issue]:
    for language, content in template.contents.items():
        place = next((one for one in ((language, ""), (language, "whatsapp")) if one in places), (language, ""))
        field = _field(template, places, place, "content_sid")
        if not SID.fullmatch(content.sid):
            yield Issue(
                "value", f"{content.sid!r} is not the SID of a WhatsApp template: HX and 32 hexadecimal digits.", (field,)
            )
        if language not in template.languages("whatsapp"):
            yield Issue("required", f"There is a WhatsApp template in {language}, but no text.", (field,))
        variables = _field(template, places, place, "content_variables")
        for where, name in content.variables.items():
            if not where or not _is_known(template, name):
                text = f"{where!r}: {name!r} is no variable: declare it in `variables`, or correct its name."
                yield Issue("not-found", text, (variables,))
