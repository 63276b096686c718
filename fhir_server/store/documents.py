"""How Python values and BSON meet."""

from datetime import UTC
from decimal import Decimal
from typing import Any

from bson.codec_options import CodecOptions, TypeCodec, TypeRegistry
from bson.decimal128 import Decimal128


class DecimalCodec(TypeCodec):
    """`Decimal` in Python is `Decimal128` in BSON: both keep their digits."""

    python_type = Decimal
    bson_type = Decimal128

    def transform_python(self, value: Decimal) -> Decimal128:
        """Return the BSON form."""
        return Decimal128(value)

    def transform_bson(self, value: Decimal128) -> Decimal:
        """Return the Python form."""
        return value.to_decimal()


CODEC_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(type_registry=TypeRegistry([DecimalCodec()]), tz_aware=True, tzinfo=UTC)
