"""The templates that are there without anybody having made them.

A tenant's own template of the same name takes the place of one. What queued messages refer to must stay what it was:
whoever changes a text here adds a new version, and keeps the old one.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, cast

from prm_ext.notifications.channels.channel import Channel
from prm_ext.notifications.templates.model import Place, Template
from prm_ext.notifications.templates.seed_plain_texts import SUFFIX, plain_texts
from prm_ext.notifications.templates.seed_texts import TEXTS
from prm_ext.notifications.templates.values import Variable

URL: Final = "urn:prm:template:built-in:"
LANGUAGE: Final = "en"


@cache
def seeds() -> Mapping[str, Sequence[Template]]:
    """Return the versions of built-in templates by name, the latest last."""
    texts = {**TEXTS, **plain_texts()}
    return {name: tuple(_template(name, one) for one in versions) for name, versions in texts.items()}


def seed_named(name: str) -> Template | None:
    """Return the latest version of a built-in template."""
    found = seeds().get(name)
    return found[-1] if found else None


def stand_in(template: Template) -> Template | None:
    """Return the built-in template that says the same with less, for where a built-in one lacks values."""
    return seed_named(template.name + SUFFIX) if template.built_in else None


def seed_of_url(url: str, version: str) -> Template | None:
    """Return a version of a built-in template, the latest where none is named."""
    versions = seeds().get(url.removeprefix(URL), ()) if url.startswith(URL) else ()
    return next((one for one in reversed(versions) if version in ("", one.version)), None)


def seed_of_id(id_: str) -> Template | None:
    """Return a built-in template by its id."""
    return next((versions[-1] for versions in seeds().values() if versions[-1].id == id_), None)


def _template(name: str, values: Mapping[str, Any]) -> Template:
    bodies: dict[Place, str] = {(language, ""): text for language, text in values["bodies"].items()}
    subjects: dict[Place, str] = {(language, ""): text for language, text in values["subjects"].items()}
    return Template(
        name=name,
        language=LANGUAGE,
        bodies=bodies,
        subjects=subjects,
        variables={one: Variable(one, description="Text.", sample=sample) for one, sample in values.get("variables", {}).items()},
        channel=cast("Channel | None", values.get("channel")),
        category=values["category"],
        title=values["title"],
        description=values["description"],
        id=f"built-in.{name.replace('_', '-')}",
        url=URL + name,
        version=values.get("version", "1"),
        built_in=True,
    )
