"""The encoding of an XML document: https://www.w3.org/TR/xml/#charencoding."""

import codecs
import re

from fhir_server.fhir.outcome import bad_request

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PATTERNS = ((b"<\x00?\x00", "utf-16-le"), (b"\x00<\x00?", "utf-16-be"))
_DECLARED = re.compile(rb"""\s*<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]{0,40})["']""")
_KNOWN = re.compile(
    r"(utf-?8|us-?ascii|ascii|utf-?16(-?[lb]e)?|iso-?8859-?\d{1,2}|latin-?1|windows-?125\d|cp125\d|koi8-[ru]|shift_jis|euc-(jp|kr)|gb2312|gbk|gb18030|big5)"
)


def as_utf8(data: bytes) -> bytes:
    """Return the document in UTF-8 and without a byte order mark.

    Raises:
        FhirError: 400, its encoding is not known, or it is not in the encoding that it declares.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :] if name == "utf-8" else _decoded(data, name)
    for start, name in _PATTERNS:
        if data.startswith(start):
            return _decoded(data, name)
    declared = _DECLARED.match(data[:300])
    name = declared[1].decode().lower() if declared else "utf-8"
    if name in {"utf-8", "utf8"}:
        return data
    if not _KNOWN.fullmatch(name):
        raise bad_request(f"Malformed XML: the encoding {name!r} is not known; use UTF-8.", code="structure")
    return _decoded(data, name)


def _decoded(data: bytes, name: str) -> bytes:
    try:
        return data.decode(name).encode()
    except (UnicodeError, LookupError) as error:
        where = f" at byte {error.start}" if isinstance(error, UnicodeDecodeError) else ""
        raise bad_request(f"Malformed XML: the document is not in the encoding {name}{where}.", code="structure") from None
