"""What is stored comes back as the codec of JSON made it."""

from decimal import Decimal
from typing import Any

import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.store.documents import CODEC_OPTIONS

NUMBERS = [
    0,
    -1,
    2**31 - 1,
    2**31,
    -(2**31) - 1,
    2**63 - 1,
    -(2**63),
    Decimal("1.00"),
    Decimal("1.000E-245"),
    Decimal("-0.0"),
    Decimal(10) ** 33,
]


@pytest.mark.parametrize("number", NUMBERS, ids=str)
async def test_a_number_keeps_its_type_and_its_digits(number: Any, database: AsyncDatabase[dict[str, Any]], tenant: str) -> None:
    collection = database["documents_test"].with_options(CODEC_OPTIONS)
    await collection.insert_one({"_id": f"{tenant}/{number}", "r": {"value": [number]}})
    found = await collection.find_one({"_id": f"{tenant}/{number}"})
    assert found is not None
    assert repr(found["r"]["value"]) == repr([number])
