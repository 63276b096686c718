"""Random requests: paths, headers and query parameters that a FHIR server may meet, and some that it hopefully does not."""
# ruff: noqa: E501 - long tables of odd values read best as they are.

from urllib.parse import quote

from hypothesis import strategies as st

from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.search.registry import BUILTIN
from tests.fuzz.asgi import RawHeaders
from tests.fuzz.json_mutations import ODD_TEXTS

MODIFIERS = (
    "", "", "", ":missing", ":exact", ":contains", ":text", ":not", ":in", ":not-in", ":above", ":below", ":of-type", ":identifier", ":Patient", ":Group",
    ":iterate", ":", "::", ":no-such", ":Patient.name", ":exact:missing", ".name", ".identifier:not", ".organization.name", ":Patient.organization.partof.name",
    ".", "..", ".$where", ":$where",
)  # fmt: skip
PREFIXES = ("", "", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap", "xx", "-", "+", "~")
VALUES = (
    "", ",", ",,", "|", "||", "|||", "a|", "|a", "a|b", "a|b|c", "a$b", "a$b$c", "$", "\\", "\\,", "\\|", "\\$", "\\\\", "a\\", "true", "false", "TRUE", "2020",
    "2020-01", "2020-02-30", "2020-01-01T00:00:00Z", "2020-01-01T00:00Z", "2020-01-01T24:00", "0000", "0001-01-01", "9999-12-31", "9999-12-31T23:59:59.999Z",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "99999", "1e400", "1e-400", "-1e6111", "NaN", "Infinity", "1", "-1", "0", "1.0", "9" * 40,
    "5.4|http://unitsofmeasure.org|mg", "5.4||mg", "5|u", "1|http://unitsofmeasure.org|[", "1e-10||kg", "1||m/s", "1||10*400", "Patient/example", "Patient/",
    "/Patient", "Patient/a b", "http://test/fhir/Patient/example", "http://test/fhir/Patient/example/_history/1", "urn:uuid:x", "#x", "Patient/../x",
    ".*", "^a", "a$", "(", "[", "(a+)+$", '{"$gt":""}', "{$where:1}", "$where", "a" * 3000, "a," * 300 + "a", "-12.3|45.6|7|km", "91|181", "1|2|x|y", "|||",
    "Patient:identifier=a|b", "Patient?name=x", "*", "Patient", "Patient,Observation", "Patient:organization", "Patient:*", "Patient:subject:Group",
    "*:*", "Observation:subject:Patient:x", "name", "-name", "--name", "-", "name,-birthdate,_lastUpdated,_id", "_score", "nothing", "count", "none", "accurate",
    'name eq "x"', "name co", "(name eq x", "not (birthdate gt 2000)", "name eq x or", "(" * 500, 'subject.name eq "a" and status eq final',
    "subject[type eq x].name eq y", 'given eq "' + "x" * 2000 + '"', "\u0130\u0131\u017f", "\U0001f600", "e\u0301", "\ufffd", "\ud800",
)  # fmt: skip
RESULT_PARAMETERS = (
    "_sort", "_count", "_include", "_revinclude", "_include:iterate", "_revinclude:iterate", "_include:recurse", "_summary", "_total", "_elements", "_contained",
    "_containedType", "_cursor", "_format", "_pretty", "_explain", "_since", "_at", "_type", "_query", "_list", "_text", "_content", "_filter", "_profile", "_tag",
    "_security", "_source", "_id", "_lastUpdated", "_has", "_has:Observation:patient:code", "_has:Observation:subject:_has:Group:member:_id", "_has:", "_has:::",
    "_has:Patient", "_has:X:y:z", "_has:Observation:code:code", "_has:Observation:patient:date:missing", "", "_", "__", "&", "=",
)  # fmt: skip

values: st.SearchStrategy[str] = st.one_of(
    st.sampled_from(VALUES),
    st.builds(str.__add__, st.sampled_from(PREFIXES), st.sampled_from(VALUES)),
    st.sampled_from(ODD_TEXTS),
    st.text(max_size=12),
    st.lists(st.sampled_from(VALUES[:40]), min_size=2, max_size=4).map(",".join),
    st.binary(max_size=80).map(lambda data: __import__("base64").urlsafe_b64encode(data).decode()),
)


def _encoded(text: str) -> bytes:
    return quote(text.encode("utf-8", "surrogatepass"), safe=":,|$*()~").encode()


_BY_TYPE: dict[str, tuple[str, ...]] = {
    "string": ("a", "Holm", "\u0130", "e\u0301", "a\\,b", "x" * 300, "\U0001f600", "1"),
    "token": ("a", "urn:x|a", "|a", "urn:x|", "true", "male", "final", "http://loinc.org|29463-7"),
    "date": (
        "2020",
        "gt0001-01-01",
        "lt9999-12-31",
        "ap2020-01",
        "sa2015-02-07T13:28:17.239+02:00",
        "eb9999",
        "ne0001",
        "ge0001-01-01T00:00:00%2B14:00",
    ),
    "number": ("1", "gt-1e6111", "lt1e400", "ap0", "eq0.000", "1E-6143", "ne5.40", "9" * 34),
    "quantity": (
        "1",
        "gt1|http://unitsofmeasure.org|mg",
        "ap0||kg",
        "5.4|http://unitsofmeasure.org|mm[Hg]",
        "1e400||m",
        "lt1e-400|http://unitsofmeasure.org|Cel",
    ),
    "reference": (
        "Patient/example",
        "example",
        "http://x/Patient/1",
        "urn:uuid:x",
        "Patient/example/_history/1",
        "http://test/fhir/Patient/example",
    ),
    "uri": ("urn:x", "http://x/y", "http://[", "a"),
    "composite": ("a$1", "http://loinc.org|8480-6$lt60", "a|b$gt2020", "x$y$z"),
    "special": ("1|2|3|km", "x", "59.3|18.0"),
}
_PLAIN_MODIFIERS: dict[str, tuple[str, ...]] = {
    "string": ("", "", ":exact", ":contains", ":missing"),
    "token": ("", "", ":not", ":text", ":in", ":of-type", ":missing", ":above"),
    "reference": ("", "", ":Patient", ":identifier", ":missing", ".name", ".identifier", ":Patient.birthdate"),
    "uri": ("", ":above", ":below", ":missing"),
}


@st.composite
def likely(draw: st.DrawFn, type_: str) -> tuple[str, str]:
    """Return a parameter of the type with a value that it may well have."""
    found = BUILTIN.of(type_ if type_ in RESOURCE_TYPES else "Patient")
    code = draw(st.sampled_from(sorted(found)))
    of = found[code].type
    modifier = draw(st.sampled_from(_PLAIN_MODIFIERS.get(of, ("", "", ":missing"))))
    value = "true" if modifier == ":missing" else draw(st.sampled_from(_BY_TYPE.get(of, ("x",))))
    return code + modifier, value


def names(type_: str) -> st.SearchStrategy[str]:
    """Return names of parameters of a type, with modifiers and chains that they may or may not have."""
    codes = sorted(BUILTIN.of(type_ if type_ in RESOURCE_TYPES else "Patient"))
    own = st.builds(str.__add__, st.sampled_from(codes), st.sampled_from(MODIFIERS))
    return st.one_of(own, own, st.sampled_from(RESULT_PARAMETERS), st.text(max_size=5))


@st.composite
def queries(draw: st.DrawFn, type_: str, most: int = 4) -> bytes:
    """Return a query, now and then with garbage of percent signs and bytes in it."""
    well_behaved = draw(st.booleans())
    pairs = draw(st.lists(likely(type_) if well_behaved else st.tuples(names(type_), values), min_size=1, max_size=most))
    query = b"&".join(_encoded(name) + b"=" + _encoded(value) for name, value in pairs)
    garbage = draw(
        st.sampled_from(
            [b""] * 12 + [b"&%", b"&a=%zz", b"&a=%ff", b"&a=%00", b"&a=%ed%a0%80", b"&=&&;;", b"&a=\xff", b"?a=b", b"#a", b"+%2B"]
        )
    )
    return query + garbage


ids: st.SearchStrategy[str] = st.sampled_from(
    [
        "example",
        "example",
        "none",
        "",
        "a" * 64,
        "a" * 65,
        ".",
        "..",
        "...",
        "-",
        "%2e%2e",
        "a%2Fb",
        "%00",
        "é",
        "a b",
        "$x",
        "_history",
        "_search",
        "*",
        "a;b",
        "%",
    ]
)
MEMBERS = (
    "", "/", "_history", "_history/1", "_history/0", "_history/99999999999999999999", "_history/x", "_history/1/2", "_search", "$validate", "$everything", "$",
    "$nothing", "Observation", "*", "Observation/_search", "Observation/x", "..", "%2e%2e/metadata", "$everything/x", "metadata", "//",
)  # fmt: skip


@st.composite
def paths(draw: st.DrawFn, types: st.SearchStrategy[str]) -> tuple[str, bytes]:
    """Return a type and a path below the server's root."""
    type_ = draw(
        st.one_of(
            types,
            types,
            types,
            st.sampled_from(["", "Pat", "patient", "Resource", "metadata", "_history", "_search", "$validate", "openapi.json"]),
        )
    )
    parts = [type_, draw(ids) if draw(st.booleans()) else "", draw(st.sampled_from(MEMBERS)) if draw(st.booleans()) else ""]
    prefix = draw(st.sampled_from([b"/fhir/"] * 12 + [b"/fhir//", b"/fhir/../fhir/", b"/fhir/./"]))
    return type_, prefix + "/".join(part for part in parts if part).encode()


HEADERS: dict[bytes, tuple[bytes, ...]] = {
    b"accept": (
        b"application/fhir+json", b"application/fhir+xml", b"*/*", b"", b"text/html", b"image/png", b"application/fhir+json;fhirVersion=5.0", b"a", b";;;q=",
        b"application/fhir+xml;q=2,application/json;q=nan", b"application/json;q=-1", b"\xff", b"," * 500,
    ),
    b"prefer": (
        b"return=minimal", b"return=representation", b"return=OperationOutcome", b"handling=strict", b"handling=lenient", b"respond-async", b"return=",
        b"\xff=;,=", b"return=minimal;handling=strict",
    ),
    b"if-match": (b'W/"1"', b'"1"', b"1", b"*", b"", b'W/"', b"\xff", b'W/"99999999999999999999"', b'W/"1", W/"2"', b"W/" * 2000),
    b"if-none-match": (b'W/"1"', b"*", b"", b"x", b"\xff"),
    b"if-modified-since": (
        b"Wed, 21 Oct 2015 07:28:00 GMT", b"Fri, 31 Dec 9999 23:59:59 -2359", b"Mon, 01 Jan 0001 00:00:00 +2359", b"x", b"", b"1", b"\xff", b"Mon, 99 Foo 1",
        b"Mon, 01 Jan 99999999999 00:00:00 GMT", b"0 0 0 0", b"Wed, 21 Oct 2015 07:28:00 +99999999999",
    ),
    b"if-none-exist": (
        b"identifier=urn:x|1", b"?identifier=a", b"Patient?identifier=b", b"", b"=", b"&", b"_id=%00", b"_sort=name", b"name:exact=x", b"\xff=\xfe", b"name=%ff",
        b"nothing=1", b"_filter=name", b"%", b"birthdate=gt2020&name=x",
    ),
    b"accept-encoding": (b"gzip", b"br", b"gzip;q=0", b"\xff"),
    b"x-request-id": (b"abc", b"a b", b"\xff", b"x" * 200, b"a\tb"),
    b"content-length": (b"0", b"99999999999999999999", b"-1", b"x", b"\xb2", b"\xd9\xa3"),
    b"host": (b"", b"a b", b"evil.example", b"[::1]:80", b"\xff", b"x" * 300, b"test:99999"),
    b"x-forwarded-host": (b"evil", b"\xff"),
}  # fmt: skip


@st.composite
def headers(draw: st.DrawFn) -> RawHeaders:
    """Return a few headers, each with a value that it may have or one that it may not."""
    chosen = draw(st.lists(st.sampled_from(sorted(HEADERS)), max_size=3))
    return tuple((name, draw(st.sampled_from(HEADERS[name]))) for name in chosen)


CONTENT_TYPES = (
    b"application/fhir+json", b"application/json", b"application/fhir+xml", b"text/xml", b"application/json-patch+json", b"application/x-www-form-urlencoded",
    b"application/fhir+json; charset=utf-16", b"application/fhir+json;charset=", b"application/fhir+json; fhirVersion=3.0", b"multipart/form-data", b"", b"\xff",
    b"application/octet-stream", b"text/plain", b"application/xml; charset=iso-8859-1",
)  # fmt: skip
