"""Whatever is sent, the answer is one that FHIR knows: never a 500, never anything from inside the server."""
# ruff: noqa: E501 - long tables of odd values read best as they are.

from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st
from starlette.types import ASGIApp

from fhir_server.fhir.codec import decode, encode
from fhir_server.fhir.xml import to_xml
from tests.fuzz.asgi import Answer, Request, ask
from tests.fuzz.byte_mutations import Bytes, byte_edits, packings
from tests.fuzz.conftest import bounded, example_types, official_examples
from tests.fuzz.fuzz_requests import CONTENT_TYPES, headers, paths, queries
from tests.fuzz.json_mutations import Mutation, dumps, gentle_mutations, mutate, mutations, odd_values
from tests.fuzz.judge import judge
from tests.fuzz.xml_mutations import Text, xml_edits

JSON = (b"content-type", b"application/fhir+json")
XML = (b"content-type", b"application/fhir+xml")
examples = st.sampled_from(official_examples())
types = st.sampled_from(example_types())


def either(one: st.SearchStrategy[Any], other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return one or the other, each half of the time, whereas `one_of` counts the ways within them."""
    return st.booleans().flatmap(lambda first: one if first else other)


async def asked(app: ASGIApp, method: str, target: str | bytes, *more: tuple[bytes, bytes], body: bytes = b"") -> Answer:
    """Ask, judge and return the answer."""
    answer = await ask(app, Request(method, target.encode() if isinstance(target, str) else target, more, body))
    judge(answer)
    event(f"{method} {answer.status}")
    return answer


def _unstamped(resource: Any) -> Any:
    meta = {
        name: value for name, value in resource.get("meta", {}).items() if name.strip("_") not in ("versionId", "lastUpdated")
    }
    rest = {name: value for name, value in resource.items() if name not in ("meta", "id")}
    return rest | ({"meta": meta} if meta else {})


def _sorted(resource: Any) -> bytes:
    """Return the JSON of a resource whose members stand in the order of their names, as XML does not keep their order."""
    return encode(_in_order(_unstamped(resource)))


def _in_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _in_order(value[name]) for name in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


async def check_kept(app: ASGIApp, written: Answer, sent: Any = None) -> None:
    """Fail unless what was written is read as it was answered and, where known, as it was sent; also in XML."""
    if written.status not in (200, 201):
        return
    target = f"/fhir/{written.json['resourceType']}/{written.json['id']}"
    read = await asked(app, "GET", target)
    assert read.status == 200, read
    assert read.body == written.body, (read, written)
    if sent is not None:
        assert encode(_unstamped(read.json)) == encode(_unstamped(sent)), (read, written)
    as_xml = await asked(app, "GET", target, (b"accept", b"application/fhir+xml"))
    assert as_xml.status in (200, 406), as_xml
    if as_xml.status == 200:
        again = await asked(app, "PUT", target, XML, body=as_xml.body)
        assert again.status == 200, (again, as_xml)
        assert _sorted(again.json) == _sorted(read.json), (again, as_xml)


async def send_everywhere(app: ASGIApp, type_: str, body: bytes, content_type: tuple[bytes, bytes]) -> None:
    """Validate, create and update by a body."""
    judged = await asked(app, "POST", f"/fhir/{type_}/$validate", content_type, body=body)
    created = await asked(app, "POST", f"/fhir/{type_}", content_type, body=body)
    updated = await asked(app, "PUT", f"/fhir/{type_}/fuzzed", content_type, body=body)
    assert created.status != 201 or judged.status == 200, (judged, created)
    sent = decode(body) if created.status == 201 and content_type == JSON else None
    await check_kept(app, created, sent)
    await check_kept(app, updated, sent)


@bounded(250)
@given(st.sampled_from([0, 0, 1]), examples, either(gentle_mutations, mutations), st.booleans())
async def test_broken_json_resources(
    apps: tuple[ASGIApp, ASGIApp], which: int, example: bytes, mutation: Mutation, ascii_only: bool
) -> None:
    resource = decode(example)
    type_ = resource["resourceType"]
    resource.pop("id", None)
    text = dumps(mutate(resource, mutation), ascii_only=ascii_only)
    await send_everywhere(apps[which], type_, text.encode("utf-8", "surrogatepass"), JSON)


@bounded(150)
@given(examples, xml_edits)
async def test_broken_xml_resources(app: ASGIApp, example: bytes, edits: list[Text]) -> None:
    resource = decode(example)
    resource.pop("id", None)
    text = to_xml(resource).decode()
    for edit in edits:
        text = edit(text)
    await send_everywhere(app, resource["resourceType"], text.encode("utf-8", "surrogatepass"), XML)


@bounded(150)
@given(
    examples,
    st.lists(byte_edits, max_size=2),
    st.one_of(st.none(), packings),
    st.sampled_from(CONTENT_TYPES),
    headers(),
    st.booleans(),
)
async def test_broken_bytes(
    app: ASGIApp,
    example: bytes,
    edits: list[Bytes],
    packing: tuple[bytes, Bytes] | None,
    content_type: bytes,
    more: tuple[tuple[bytes, bytes], ...],
    as_xml: bool,
) -> None:
    resource = decode(example)
    body = to_xml(resource) if as_xml else example
    for edit in edits:
        body = edit(body)
    if packing is not None:
        encoding, pack = packing
        body = pack(body)
        more = (*more, (b"content-encoding", encoding))
    for target in (f"/fhir/{resource['resourceType']}", f"/fhir/{resource['resourceType']}/$validate", "/fhir/"):
        await asked(app, "POST", target, (b"content-type", content_type), *more, body=body)


@bounded(300)
@given(st.data())
async def test_random_requests(app: ASGIApp, data: st.DataObject) -> None:
    type_, path = data.draw(paths(types))
    query = data.draw(queries(type_))
    method = data.draw(st.sampled_from(["GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO", ""]))
    content_type = data.draw(st.sampled_from(CONTENT_TYPES))
    body = b"" if method in ("GET", "HEAD", "DELETE") else data.draw(st.one_of(examples, st.just(query), st.binary(max_size=30)))
    await asked(
        app, method, path + (b"?" + query if query else b""), (b"content-type", content_type), *data.draw(headers()), body=body
    )


@bounded(400)
@given(st.data())
async def test_random_searches(app: ASGIApp, data: st.DataObject) -> None:
    type_ = data.draw(types)
    query = data.draw(queries(type_))
    strict = data.draw(st.sampled_from([b"handling=strict", b"handling=lenient"]))
    form = (b"content-type", b"application/x-www-form-urlencoded")
    kind = data.draw(st.integers(0, 3))
    if kind == 0:
        await asked(app, "POST", f"/fhir/{type_}/_search", form, (b"prefer", strict), body=query)
    elif kind == 1:
        await asked(app, "GET", f"/fhir/Patient/example/{type_}?".encode() + query, (b"prefer", strict))
    elif kind == 2:
        await asked(app, "GET", b"/fhir/?" + query, (b"prefer", strict))
    else:
        await asked(app, "GET", f"/fhir/{type_}?".encode() + query, (b"prefer", strict))


@bounded(150)
@given(st.data())
async def test_broken_conditions(apps: tuple[ASGIApp, ASGIApp], data: st.DataObject) -> None:
    app = data.draw(st.sampled_from(apps))
    example = data.draw(examples)
    resource = decode(example)
    resource.pop("id", None)
    type_ = resource["resourceType"]
    query = data.draw(queries(type_, most=2))
    body = encode(resource)
    target = f"/fhir/{type_}?".encode() + query
    way = data.draw(st.sampled_from(["PUT", "PATCH", "DELETE", "POST"]))
    if way == "POST":
        await asked(app, "POST", f"/fhir/{type_}", JSON, (b"if-none-exist", query), body=body)
    elif way == "PUT":
        await asked(app, "PUT", target, JSON, *data.draw(headers()), body=body)
    elif way == "PATCH":
        patch = b'[{"op":"add","path":"/language","value":"en"}]'
        await asked(app, "PATCH", target, (b"content-type", b"application/json-patch+json"), body=patch)
    else:
        await asked(app, "DELETE", target)


POINTERS = (
    "", "/", "/id", "/meta", "/meta/versionId", "/resourceType", "/name", "/name/0", "/name/-", "/name/99999999999999999999", "/name/-1", "/name/01", "/~", "/~2",
    "/~0~1", "name", "/name/0/given/0", "/text/div", "/contained/-", "/extension/-", "/extension", "/_birthDate", "/birthDate", "/a/b/c/d", "/\u0000",
)  # fmt: skip
FHIRPATHS = (
    "Patient", "Patient.name", "Patient.name[0]", "Patient.name.given", "", "Patient.", "Patient.name[99999999999999]", "Patient.where(true)", "Patient.extension",
    "Patient.id", "Patient.meta.versionId", "Patient.descendants()", "Patient.name.first().family", "'x'", "1 / 0", "%resource", "Patient.birthDate", "((((",
    "Patient.name.where(family = 'x').given", "Patient.text.div", "$this", "Patient.name.all($this.given.count() > 0)", "iif(true, Patient, Patient)", "now()",
    "Patient.birthDate + 1 year", "Patient.name.repeat($this)", "'a'.toQuantity()", "1 'kg' = 1000 'g'", "@2020-02-30", "Patient.ofType(Patient)",
    "Patient is Patient", "Patient.name.trace('x')", "Patient.resolve()", "Patient.name.family.matches('(a+)+$')", "'a' * 5", "9" * 100, "\ud800",
)  # fmt: skip
names = st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "insert", "delete", "", "x"])
members = st.dictionaries(
    st.sampled_from(["op", "path", "from", "value", "x"]),
    st.one_of(names, st.sampled_from(POINTERS), odd_values),
)
likely_values = st.sampled_from(
    [
        "x",
        "2020-01-01",
        True,
        [],
        {"family": "y"},
        {"url": "urn:x", "valueString": "y"},
        [{"family": "z", "given": ["a"]}],
        {"text": "t"},
        "male",
    ]
)
likely_pointers = st.sampled_from(
    [
        "/name/0",
        "/name/-",
        "/name",
        "/name/0/given/0",
        "/name/0/given/-",
        "/name/0/family",
        "/birthDate",
        "/gender",
        "/extension",
        "/active",
        "/_birthDate",
    ]
)
likely_operations = st.builds(
    lambda op, path, start, value: {"op": op, "path": path, "from": start, "value": value},
    st.sampled_from(["add", "replace", "remove", "move", "copy"]),
    likely_pointers,
    likely_pointers,
    likely_values,
)
operations = st.one_of(
    st.builds(
        lambda op, path, start, value: {"op": op, "path": path, "from": start, "value": value},
        names,
        st.sampled_from(POINTERS),
        st.sampled_from(POINTERS),
        odd_values,
    ),
    members,
    odd_values,
)


async def _patched(app: ASGIApp, content_type: bytes, body: str) -> None:
    # The patches are those of an official example, which is put back when it was changed.
    patient = b'{"resourceType":"Patient","id":"patched","name":[{"family":"a","given":["b","c"]}],"birthDate":"1970-01-01"}'
    await asked(app, "PUT", "/fhir/Patient/patched", JSON, body=patient)
    data = body.encode("utf-8", "surrogatepass")
    answer = await asked(app, "PATCH", "/fhir/Patient/patched", (b"content-type", content_type), body=data)
    await check_kept(app, answer)


@bounded(150)
@given(either(st.lists(likely_operations, min_size=1, max_size=2), st.lists(operations, max_size=3)))
async def test_broken_json_patches(app: ASGIApp, found: list[Any]) -> None:
    await _patched(app, b"application/json-patch+json", dumps(found))


def _part(name: str, member: str, value: Any) -> dict[str, Any]:
    return {"name": name, member: value}


parts = st.one_of(
    st.builds(_part, st.just("type"), st.just("valueCode"), names),
    st.builds(_part, st.just("path"), st.just("valueString"), st.sampled_from(FHIRPATHS)),
    st.builds(
        _part,
        st.just("name"),
        st.just("valueString"),
        st.sampled_from(["name", "given", "family", "deceased", "id", "$x", "", "extension"]),
    ),
    st.builds(
        _part,
        st.sampled_from(["index", "source", "destination"]),
        st.just("valueInteger"),
        st.sampled_from([0, 1, -1, 99, 2**31]),
    ),
    st.builds(
        _part,
        st.just("value"),
        st.sampled_from(["valueString", "valueBoolean", "valueHumanName", "valueDate", "resource", "part", "valueX"]),
        odd_values,
    ),
    st.builds(_part, st.sampled_from(["x", "path", "value"]), st.sampled_from(["valueCode", "part", "resource"]), odd_values),
)
plausible = st.tuples(
    *(
        st.builds(_part, st.just(name), st.just(member), values)
        for name, member, values in (
            ("type", "valueCode", st.sampled_from(["add", "insert", "delete", "replace", "move"])),
            ("path", "valueString", st.sampled_from(FHIRPATHS)),
            ("name", "valueString", st.sampled_from(["name", "given", "family", "deceased", "extension", "birthDate"])),
            ("index", "valueInteger", st.sampled_from([0, 1, -1, 5])),
            ("value", "valueString", st.sampled_from(["x", "", "2020-01-01"])),
        )
    )
).map(list)


def _likely(kind: str, path: str, value: tuple[str, Any]) -> list[dict[str, Any]]:
    owner, _, name = path.rpartition(".")
    found = [_part("type", "valueCode", kind), _part("path", "valueString", owner if kind == "add" else path)]
    if kind == "add":
        found.append(_part("name", "valueString", name))
    if kind in ("insert", "move"):
        found += [_part(index, "valueInteger", 0) for index in ("index", "source", "destination")]
    return [*found, _part("value", *value)] if kind in ("add", "insert", "replace") else found


likely = st.builds(
    _likely,
    st.sampled_from(["add", "insert", "delete", "replace", "move"]),
    st.sampled_from(
        [
            "Patient.name",
            "Patient.name[0].given",
            "Patient.name[0].family",
            "Patient.birthDate",
            "Patient.deceased",
            "Patient.gender",
            "Patient.name[0].period.start",
        ]
    ),
    st.sampled_from(
        [
            *(
                ("valueString", "x"),
                ("valueCode", "male"),
                ("valueDate", "9999-12-31"),
                ("valueBoolean", True),
                ("valueDateTime", "0001-01-01T00:00:00+14:00"),
            ),
            *(
                ("valueHumanName", {"family": "y", "_family": {"extension": [{"url": "urn:x", "valueDecimal": 1}]}}),
                ("valuePeriod", {"start": "2020"}),
            ),
        ]
    ),
)


@bounded(200)
@given(st.lists(either(likely, st.one_of(plausible, st.lists(parts, max_size=6))), min_size=1, max_size=2))
async def test_broken_fhirpath_patches(app: ASGIApp, found: list[list[Any]]) -> None:
    resource = {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": part} for part in found]}
    await _patched(app, b"application/fhir+json", dumps(resource))


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    """Return an entry of a batch or transaction, often a wrong one."""
    resource = decode(draw(examples))
    type_ = resource["resourceType"]
    method = draw(st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "x"]))
    urls = [
        type_,
        f"{type_}/example",
        f"{type_}?identifier=urn:x|y",
        f"{type_}/example/_history/1",
        "metadata",
        "",
        "/",
        "..",
        f"{type_}?%ff",
        "_history",
        "$validate",
    ]
    entry: dict[str, Any] = {"request": {"method": method, "url": draw(st.sampled_from([urls[0], urls[1], *urls]))}}
    if draw(st.booleans()):
        resource.pop("id", None)
    if method in ("POST", "PUT") or draw(st.booleans()):
        entry["resource"] = resource
    if draw(st.booleans()):
        entry["fullUrl"] = draw(
            st.sampled_from(["urn:uuid:7b1ca8d7-5b9d-4ef1-ba0d-a4b9b8d84b9a", f"http://test/fhir/{type_}/example", "x", ""])
        )
    for name in draw(st.lists(st.sampled_from(["ifMatch", "ifNoneMatch", "ifNoneExist", "ifModifiedSince"]), max_size=2)):
        entry["request"][name] = draw(st.sampled_from(['W/"1"', "identifier=urn:x|y", "", "x", "2020-01-01T00:00:00Z", "\u0000"]))
    return entry


@bounded(120)
@given(
    st.sampled_from([0, 1]),
    st.sampled_from(["batch", "transaction", "transaction"]),
    st.lists(entries(), max_size=4),
    either(either(st.none(), gentle_mutations), mutations),
    headers(),
)
async def test_broken_bundles(
    apps: tuple[ASGIApp, ASGIApp],
    which: int,
    kind: str,
    found: list[Any],
    mutation: Mutation | None,
    more: tuple[tuple[bytes, bytes], ...],
) -> None:
    bundle = {"resourceType": "Bundle", "type": kind, "entry": found}
    if mutation is not None:
        mutate(bundle, mutation)
    answer = await asked(apps[which], "POST", "/fhir/", JSON, *more, body=dumps(bundle).encode("utf-8", "surrogatepass"))
    if answer.status == 200 and kind == "batch" and b"json" in answer.headers[b"content-type"]:
        for entry in answer.json.get("entry", ()):
            assert int(entry["response"]["status"][:3]) < 500, answer
