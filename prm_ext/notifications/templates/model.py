"""A template as it is rendered: texts by language and channel, variables, and approved WhatsApp templates."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from prm_ext.notifications.channels.channel import Channel
from prm_ext.notifications.templates.text import compiled
from prm_ext.notifications.templates.values import Variable

Status = Literal["draft", "active", "retired"]
Place = tuple[str, str]
"""Language and channel; the channel "" stands for all that have no text of their own."""


@dataclass(frozen=True, slots=True)
class ContentTemplate:
    """A template that WhatsApp has approved: https://www.twilio.com/docs/content."""

    sid: str
    variables: Mapping[str, str] = field(default_factory=dict)
    """By its place, such as `1`, the name of the variable whose value goes there; empty: in the order of the text."""


@dataclass(frozen=True, slots=True)
class Template:
    """One version of a template."""

    name: str
    language: str
    """Of the texts that everybody gets for whom there is none in their own."""
    bodies: Mapping[Place, str]
    subjects: Mapping[Place, str] = field(default_factory=dict)
    contents: Mapping[str, ContentTemplate] = field(default_factory=dict)
    """By language."""
    variables: Mapping[str, Variable] = field(default_factory=dict)
    """Those that it declares."""
    channel: Channel | None = None
    """The channel that it is for; None: any."""
    category: str = "message"
    """One of `codes.KINDS`."""
    title: str = ""
    description: str = ""
    status: Status = "active"
    id: str = ""
    url: str = ""
    version: str = "1"
    built_in: bool = False
    updated: str = ""
    created: str = ""
    revision: str = ""
    """The version of the ActivityDefinition, for `If-Match`."""

    @property
    def canonical(self) -> str:
        """What stands for exactly this version: https://hl7.org/fhir/R4/references.html#canonical."""
        url = self.url or f"ActivityDefinition/{self.id}"
        return f"{url}|{self.version}" if self.version else url

    def texts(self) -> Iterable[str]:
        """Return all texts."""
        return (*self.bodies.values(), *self.subjects.values())

    def names(self) -> tuple[str, ...]:
        """Return the names of the variables that its texts use, in the order in which they first appear."""
        used = [name for text in self.texts() for name in compiled(text).names]
        used += [name for one in self.contents.values() for name in one.variables.values()]
        return tuple(dict.fromkeys(used))

    def languages(self, channel: str) -> tuple[str, ...]:
        """Return the languages that there is a text in for a channel."""
        return tuple(dict.fromkeys(language for language, only in self.bodies if only in ("", channel)))

    def body(self, language: str, channel: str) -> str:
        """Return the text for a channel in a language that there is one in."""
        return self._text(self.bodies, language, channel)

    def subject(self, language: str, channel: str) -> str:
        """Return the subject, that of the default language where the language has none; perhaps nothing."""
        return self._text(self.subjects, language, channel)

    def _text(self, texts: Mapping[Place, str], language: str, channel: str) -> str:
        places = ((language, channel), (language, ""), (self.language, channel), (self.language, ""))
        return next((texts[place] for place in places if place in texts), "")
