"""How Python values and BSON meet."""

from datetime import UTC
from decimal import Decimal
from typing import Any

from bson.codec_options import CodecOptions, TypeCodec, TypeDecoder, TypeRegistry
from bson.decimal128 import Decimal128
from bson.int64 import Int64


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


class LongDecoder(TypeDecoder):
    """Numbers beyond 32 bits are plain `int`s in Python too, as those that a client sent."""

    bson_type = Int64

    def transform_bson(self, value: Int64) -> int:
        """Return the Python form."""
        return int(value)


CODECS: tuple[TypeCodec | TypeDecoder, ...] = (DecimalCodec(), LongDecoder())
CODEC_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(type_registry=TypeRegistry(CODECS), tz_aware=True, tzinfo=UTC)
"""What is encrypted stays so; `fhir_server.store.cipher` has the options that decrypt."""
