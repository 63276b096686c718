"""What is answered to a reply, in the language of whoever wrote it."""

from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Final

from prm_ext.notifications.answers import language_like, texts_of
from prm_ext.notifications.templates.languages import locale_of
from prm_ext.notifications.templates.values import Setting, Variable, clean, formatted

_WHEN: Final = Variable("when", "datetime", format="medium")


@dataclass(frozen=True, slots=True)
class Saying:
    """Says things to somebody."""

    wanted: str
    """The language that they want, as a BCP 47 tag."""
    zone: tzinfo
    organisation: str = ""

    @property
    def language(self) -> str:
        """Return the language that there are texts in."""
        return language_like(self.wanted)

    def text(self, key: str, **values: str) -> str:
        """Return an answer; `values` stand where the text has their names."""
        texts = texts_of(self.language)
        known: dict[str, Any] = {**texts.words, "organisation": self.organisation or texts.page["us"], **values}
        return texts.answers[key].format_map(known)

    def when(self, moment: datetime) -> str:
        """Return a date with its time."""
        return formatted(_WHEN, moment, Setting(locale_of(self.language, self.wanted), self.zone))

    def line(self, number: int, moment: datetime | None, *more: str) -> str:
        """Return one of several things to choose from."""
        parts = [self.when(moment) if moment is not None else "", *more]
        return f"{number}: {', '.join(clean(part) for part in parts if part)}"
