"""The policy of a tenant: what each role may do, as a YAML file that people can read.

docs/security/policy.md describes the format. A policy is `<tenant>.yaml` in `FHIR_POLICY_DIR`, else `default.yaml` there, else
the one that comes with the server.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qsl

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from fhir_server.exchange import Params
from fhir_server.fhir.definitions import RESOURCE_TYPES, TYPES
from fhir_server.security.scopes import ALL, LETTERS, parse

WORDS: Final = {"create": "c", "read": "r", "update": "u", "delete": "d", "search": "s"}
KEPT: Final = frozenset({"resourceType", "id", "meta", "implicitRules"})
"""Elements that can not be hidden: without them a resource is none."""
LABELS: Final = ("R", "V")
"""Codes of http://terminology.hl7.org/CodeSystem/v3-Confidentiality that need a clearance."""


def members(type_: str, element: str) -> frozenset[str]:
    """Return the JSON members that an element of a resource type may have: `value` of Observation has many."""
    return frozenset(name for name, found in TYPES[type_].elements.items() if element in (name, found.choice))


class PolicyError(Exception):
    """A policy can not be used; the message says where and why."""


def _letters(value: Any) -> Any:
    """Read `cruds` as well as `[read, search]`."""
    if isinstance(value, list):
        unknown = [word for word in value if word not in WORDS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(WORDS)}")
        value = "".join(WORDS[word] for word in value)
    if not isinstance(value, str) or not value or not set(value) <= set(LETTERS):
        raise ValueError(f"{value!r} is neither some of the letters {LETTERS!r} nor a list of {', '.join(WORDS)}")
    return "".join(letter for letter in LETTERS if letter in value)


def _criteria(value: Any) -> Any:
    """Read `status=active&category=x`."""
    if not isinstance(value, str):
        return value
    found = tuple(parse_qsl(value, keep_blank_values=True))
    if not found or not all(text for _, text in found):
        raise ValueError(f"{value!r} is not of the form parameter=value")
    return found


def _known_type(name: str) -> str:
    if name not in RESOURCE_TYPES and name != ALL:
        raise ValueError(f"{name!r} is no resource type of R4")
    return name


def _known_scopes(text: str) -> str:
    unknown = [scope for scope in text.split() if parse(scope) is None]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no SMART scope about resources")
    return text


TypeName = Annotated[str, AfterValidator(_known_type)]
Label = Literal["R", "V"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rule(_Model):
    """What one rule of a role allows."""

    types: tuple[TypeName, ...]
    excluding: tuple[TypeName, ...] = ()
    """Types that `*` does not mean here."""
    allow: Annotated[str, BeforeValidator(_letters)]
    where: Annotated[Params, BeforeValidator(_criteria)] = ()
    """Search parameters that a resource has to match."""
    own_record: bool = False
    """Only what is in the compartment of the patient that the person is."""

    def covers(self, type_: str) -> bool:
        """Tell whether the rule is about a resource type."""
        return (type_ in self.types or ALL in self.types) and type_ not in self.excluding


class BreakGlass(_Model):
    """What a role gets in an emergency, with a reason."""

    labels: tuple[Label, ...] = LABELS
    allow: tuple[Rule, ...] = ()
    """Rules beside those of the role."""


class Role(_Model):
    """What a role may do: whatever one of its rules allows."""

    description: str = ""
    rules: tuple[Rule, ...] = ()
    hide: Mapping[TypeName, tuple[str, ...]] = Field(default_factory=dict)
    """Elements that are neither shown nor searched, by resource type."""
    identifiers: Literal["full", "masked", "hidden"] = "full"
    """How protected identifiers such as social security numbers are shown."""
    labels: tuple[Label, ...] = ()
    """Confidentiality labels that the role is cleared for."""
    break_glass: BreakGlass | None = None
    operator: bool = False
    """Whether it may ask how the server works: `_explain`, operations on the whole system."""

    @model_validator(mode="after")
    def _check_hidden(self) -> "Role":
        for type_, names in self.hide.items():
            if type_ == ALL:
                raise ValueError("hide: name a resource type, not '*'")
            for name in names:
                if name in KEPT or not members(type_, name):
                    raise ValueError(f"hide: {type_}.{name} is no element that can be hidden")
        return self


class Client(_Model):
    """A client that is known by its id, or by the subject of its certificate."""

    roles: tuple[str, ...] = ()
    """Roles that bound what its `system/` scopes give."""
    scopes: Annotated[str, AfterValidator(_known_scopes)] = ""
    """The scopes of a client that is known by its certificate."""
    tenant: str = ""


class Policy(_Model):
    """A whole policy."""

    version: Literal[1]
    roles: Mapping[str, Role]
    clients: Mapping[str, Client] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_clients(self) -> "Policy":
        for name, client in self.clients.items():
            unknown = [role for role in client.roles if role not in self.roles]
            if unknown:
                raise ValueError(f"clients: {name} has the role {unknown[0]!r}, which is not among the roles")
        return self


def read(text: str, name: str = "policy") -> Policy:
    """Return the policy that a YAML text holds.

    Raises:
        PolicyError: it holds none, with the place of each mistake.
    """
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise PolicyError(f"{name}{where}: not YAML: {getattr(error, 'problem', error)}.") from None
    if not isinstance(found, dict):
        raise PolicyError(f"{name}: a policy is a mapping with `version` and `roles`.")
    try:
        return Policy.model_validate(found)
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in problem['loc']) or 'policy'}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False, include_input=False)
        ]
        raise PolicyError(f"{name}: " + "; ".join(problems) + ".") from None


@cache
def built_in() -> Policy:
    """Return the policy that comes with the server."""
    return read(files(__package__).joinpath("default_policy.yaml").read_text(encoding="utf-8"), "default_policy.yaml")


def path_of(directory: Path | None, tenant: str) -> Path | None:
    """Return the file with the policy of a tenant; None: the one that comes with the server."""
    for name in (tenant, "default"):
        path = directory / f"{name}.yaml" if directory is not None else None
        if path is not None and path.is_file():
            return path
    return None
