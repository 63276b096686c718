"""A template with values: what is sent.

Nothing of a value has a meaning here: it is text that is put where its variable stands. What is compiled and looked up
is kept, so that rendering takes some tens of microseconds.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Any, Final, Literal

from fhir_server.fhir.outcome import FhirError, Issue, unprocessable
from prm_ext.notifications.channels.channel import Channel
from prm_ext.notifications.templates.html import marked, to_html, unmarked
from prm_ext.notifications.templates.languages import locale_of, lookup
from prm_ext.notifications.templates.model import Template
from prm_ext.notifications.templates.text import Slot, compiled
from prm_ext.notifications.templates.values import Setting, ValueProblemError, Variable, clean, formatted
from prm_ext.notifications.templates.wellknown import WELL_KNOWN

LONGEST: Final[Mapping[str, int]] = {"sms": 1600, "whatsapp": 1600, "voice": 4000, "email": 100_000}
"""Characters of a body that the providers take."""
LONGEST_SUBJECT: Final = 200


@dataclass(frozen=True, slots=True)
class Rendered:
    """A message that is ready to be sent."""

    subject: str = field(repr=False)
    body: str = field(repr=False)
    html: str = field(repr=False)
    """Of emails; else empty."""
    language: str
    """The language that was chosen."""
    template: str
    """`url|version`."""
    content_sid: str = ""
    content_variables: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Reader:
    """For whom a template is rendered."""

    language: str = ""
    """BCP 47; empty: the template's own."""
    zone: tzinfo = UTC


def render_template(template: Template, channel: Channel | Literal[""], reader: Reader, values: Mapping[str, Any]) -> Rendered:
    """Return what a template says with these values; the channel "" is any that has no text of its own.

    Raises:
        FhirError: 422, which names every variable that has no value or one that does not fit.
    """
    language = language_of(template, channel, reader.language)
    body, subject = template.body(language, channel), template.subject(language, channel)
    content = template.contents.get(language) if channel == "whatsapp" else None
    ordered = content.variables or _in_order(body) if content is not None else {}
    used = dict.fromkeys((*compiled(body).names, *compiled(subject).names, *ordered.values()))
    shown = Formatted(template, Setting(locale_of(language, reader.language), reader.zone)).of(used, values)
    # What stands for an address of a page is no value of which it is unknown what it says.
    links = frozenset(name for name in used if variable_of(template, name).type == "url")
    text = substituted(body, shown, links)
    title = _subject(substituted(subject, shown)) or (template.title if channel == "email" else "")
    found = Rendered(
        subject=title,
        body=unmarked(text),
        html=to_html(text, language, title) if channel == "email" else "",
        language=language,
        template=template.canonical,
        content_sid=content.sid if content is not None else "",
        content_variables={place: clean(shown[name]) for place, name in ordered.items()},
    )
    _check_length(template, channel, found)
    return found


def language_of(template: Template, channel: str, wanted: str) -> str:
    """Return the language that a person who wants one gets."""
    return lookup(wanted, template.languages(channel), template.language) if wanted else template.language


def variable_of(template: Template, name: str) -> Variable:
    """Return a variable of a template, or the well-known one of that name.

    Raises:
        KeyError: there is none.
    """
    return template.variables.get(name) or WELL_KNOWN[name]


class Formatted:
    """The values of a template's variables, for somebody."""

    def __init__(self, template: Template, setting: Setting) -> None:
        self._template = template
        self._setting = setting

    def of(self, names: Collection[str], values: Mapping[str, Any]) -> dict[str, str]:
        """Return values as they read, by name; all problems are told at once."""
        found, missing, wrong = {}, [], []
        for name in names:
            variable = self._template.variables.get(name) or WELL_KNOWN.get(name)
            value = values.get(name)
            if value in (None, "") and variable is not None:
                value = variable.default
            if variable is None or value in (None, ""):
                missing.append(name)
                continue
            try:
                shown = formatted(variable, value, self._setting)
            except ValueProblemError as error:
                wrong.append(Issue("value", f"The value of {{{name}}} does not fit: {error}.", (name,)))
                continue
            if shown:
                found[name] = shown
            else:
                missing.append(name)
        if missing or wrong:
            raise FhirError(422, (*(self._missing(name) for name in missing), *wrong))
        return found

    def _missing(self, name: str) -> Issue:
        text = f"The template {self._template.name!r} has no value for {{{name}}}: give it one, or a default."
        return Issue("required", text, (name,))


def substituted(text: str, values: Mapping[str, str], links: Collection[str] = ()) -> str:
    """Return a text with its values, which are marked but for links."""
    return "".join(
        (values[part.name] if part.name in links else marked(values[part.name])) if isinstance(part, Slot) else part
        for part in compiled(text).parts
    )


def _in_order(body: str) -> Mapping[str, str]:
    return {str(place): name for place, name in enumerate(compiled(body).names, start=1)}


def _subject(text: str) -> str:
    # A line break would begin another header: RFC 5322, section 2.2.
    return clean(unmarked(text))


def _check_length(template: Template, channel: str, found: Rendered) -> None:
    for what, length, longest in (
        ("message", len(found.body), LONGEST.get(channel, max(LONGEST.values()))),
        ("subject", len(found.subject), LONGEST_SUBJECT),
    ):
        if length > longest:
            possible = f"over {channel} {longest} are possible"
            text = f"With these values the {what} of {template.name!r} has {length} characters; {possible}."
            raise unprocessable(text, code="too-long")
