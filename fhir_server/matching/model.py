"""The matching model: what each agreement or disagreement is worth, and what makes a grade.

Weights are in bits, log2 of how much likelier a level is for two records of one person than for two of different persons
(Fellegi and Sunter). `model.json` has those that are used unless a tenant has others; docs/matching.md says how they were set.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fhir_server.matching.compare import LEVELS

Bits = Annotated[float, Field(ge=-60, le=60, allow_inf_nan=False)]
DEFAULT = "default"


class ModelError(ValueError):
    """A file of models that can not be used, and why."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Grades(_Strict):
    """How many bits make a grade at least."""

    certain: Bits
    probable: Bits
    possible: Bits

    @model_validator(mode="after")
    def _descend(self) -> Self:
        if not self.possible < self.probable < self.certain:
            raise ValueError("the grades must ascend: possible < probable < certain")
        return self


class Model(_Strict):
    """A model, whole and checked."""

    weights: Mapping[str, Mapping[str, Bits]]
    """By field and level (`fhir_server.matching.compare.LEVELS`)."""
    household_cap: Bits
    """What family name, phone and address are worth together at most: relatives share them."""
    least_address: Bits
    """What a wholly other address is worth at least: people move, and then all parts differ at once."""
    other_given: Bits
    """Added where given names disagree, though family, phone or address agree: relatives, twins."""
    other_birth: Bits
    """Added where dates of birth disagree as well as one of given name and gender."""
    prior: Bits
    """log2 of the odds that two patients that share a blocking key are one person."""
    grades: Grades
    exclusive_identifiers: tuple[str, ...]
    """Systems of identifiers of which a person has one only, so that two different ones speak against a match."""
    candidates: Annotated[int, Field(ge=1, le=2000)]
    """So many candidates are compared at most."""

    @model_validator(mode="after")
    def _has_all_weights(self) -> Self:
        for field, levels in LEVELS.items():
            found = self.weights.get(field, {})
            if missing := [level for level in levels if level not in found]:
                raise ValueError(f"weights.{field} lacks {', '.join(missing)}")
            if unknown := sorted(set(found) - set(levels)):
                raise ValueError(f"weights.{field} has no level {', '.join(unknown)}")
        if unknown := sorted(set(self.weights) - set(LEVELS)):
            raise ValueError(f"weights has no field {', '.join(unknown)}")
        return self


@lru_cache(1)
def default_model() -> Model:
    """Return the model that is used where nothing else is configured."""
    return Model.model_validate(_default())


def _default() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((files("fhir_server.matching") / "model.json").read_text("utf-8"))
    return found


def models(path: Path | None) -> Mapping[str, Model]:
    """Return the models by tenant, with `default` for all others.

    The file is a JSON object; its members are tenants, or `default`, and their values what differs from the default model.

    Raises:
        ModelError: the file can not be read, or a model in it is wrong; the message says where.
    """
    return _models(path, path.stat().st_mtime_ns if path is not None and path.exists() else 0)


@lru_cache(8)
def _models(path: Path | None, _changed: int) -> Mapping[str, Model]:
    if path is None:
        return {DEFAULT: default_model()}
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"The matching models in {path} can not be read: {error}") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path} is no JSON object of tenants and what their matching models change.")
    base = _merged(_default(), found.get(DEFAULT, {}))
    every: dict[str, Any] = {DEFAULT: {}} | found
    return {tenant: _checked(path, tenant, _merged(base, changes)) for tenant, changes in every.items()}


def _checked(path: Path, tenant: str, model: Any) -> Model:
    try:
        return Model.model_validate(model)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in (tenant, *problem["loc"]))
        raise ModelError(f"{path}, {where}: {problem['msg']}") from None


def _merged(base: Any, changes: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return base | {name: _merged(base.get(name), value) for name, value in changes.items()}


def model_of(path: Path | None, tenant: str) -> Model:
    """Return the model of a tenant.

    Raises:
        ModelError: see `models`.
    """
    found = models(path)
    return found.get(tenant) or found[DEFAULT]
