"""Loads the demonstration population."""

from collections.abc import Callable

from fhir_server.config import Settings
from fhir_server.demo import population
from fhir_server.exchange import Call
from fhir_server.fhir.outcome import FhirError
from fhir_server.loading.engine import EngineTarget, engine_target
from fhir_server.loading.run import Bundle
from fhir_server.security.audit.own import commanded

DEFAULT_PATIENTS = 120
DEFAULT_SEED = 1


async def load_demo(
    settings: Settings,
    *,
    patients: int = DEFAULT_PATIENTS,
    seed: int = DEFAULT_SEED,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> int:
    """Load the population, unless all of it is there; return the number of resources that were sent.

    `progress` is told how many of how many Bundles are loaded.
    """
    bundles = list(population(patients, seed))
    if not bundles:
        return 0
    async with engine_target(settings) as target:
        if await _is_there(target, bundles[-1]):
            return 0
        stored = sum(len(bundle["entry"]) for bundle in bundles)
        async with commanded(target.database, "demo") as note:
            for number, bundle in enumerate(bundles, 1):
                await target.send(bundle)
                progress(number, len(bundles))
            note.result = f"{stored} resources"
    return stored


async def _is_there(target: EngineTarget, bundle: Bundle) -> bool:
    last = bundle["entry"][-1]["resource"]
    try:
        await target.handle(Call("read", type=last["resourceType"], id=last["id"]))
    except FhirError as error:
        if error.status in (404, 410):
            return error.status == 410  # noqa: PLR2004 -- Gone: it was there, and someone deleted it
        raise
    return True
