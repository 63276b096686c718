"""Reading XML that others wrote, or tampered with."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.outcome import FhirError
from fhir_server.fhir.xml import from_xml, to_xml

NS = 'xmlns="http://hl7.org/fhir"'


def patient(inner: str) -> str:
    """Return a Patient whose content begins on a line of its own."""
    return f"<Patient {NS}>\n{inner}\n</Patient>"


def refused(xml: str | bytes, **options: int) -> tuple[str, tuple[str, ...]]:
    """Return why a document is refused, and the FHIRPath of the place."""
    with pytest.raises(FhirError) as caught:
        from_xml(xml if isinstance(xml, bytes) else xml.encode(), **options)
    assert caught.value.status == 400
    assert caught.value.issues[0].code == "structure"
    return caught.value.issues[0].diagnostics, caught.value.issues[0].expression


@pytest.mark.parametrize(
    ("xml", "why", "place", "path"),
    [
        ('<name>\n <familly value="x"/></name>', "HumanName has no element familly", (3, 2), "Patient.name[0]"),
        (
            '<name><family value="x"/></name><name><given><x/></given></name>',
            "string has no element x",
            (2, 46),
            "Patient.name[1].given[0]",
        ),
        ('<active value="yes"/>', "'yes' is no boolean; it must be true or false", (2, 1), "Patient.active"),
        ('<active value="True"/>', "'True' is no boolean; it must be true or false", (2, 1), "Patient.active"),
        ('<multipleBirthInteger value="1.0"/>', "'1.0' is no whole number", (2, 1), "Patient.multipleBirthInteger"),
        ('<multipleBirthInteger value="007"/>', "'007' is no whole number", (2, 1), "Patient.multipleBirthInteger"),
        (
            '<extension url="u"><valueDecimal value="1,5"/></extension>',
            "'1,5' is no decimal number",
            (2, 20),
            "Patient.extension[0].valueDecimal",
        ),
        (
            '<extension url="u"><valueDecimal value="NaN"/></extension>',
            "'NaN' is no decimal number",
            (2, 20),
            "Patient.extension[0].valueDecimal",
        ),
        (
            '<extension url="u"><valueDecimal value="1e9999"/></extension>',
            "the number 1e9999 has more than 34 digits or an exponent beyond ±6111",
            (2, 20),
            "Patient.extension[0].valueDecimal",
        ),
        ('<active value="true" foo="1"/>', "the attribute foo is not allowed on active", (2, 1), "Patient.active"),
        (
            '<active value="true" xmlns:x="urn:x" x:value="1"/>',
            "the attribute value is not allowed on active",
            (2, 1),
            "Patient.active",
        ),
        ('<name value="x"/>', "the attribute value is not allowed on name", (2, 1), "Patient.name[0]"),
        ('<name url="x"/>', "the attribute url is not allowed on name", (2, 1), "Patient.name[0]"),
        ('<contained id="x"/>', "the attribute id is not allowed on contained", (2, 1), "Patient.contained[0]"),
        ('<active value=""/>', "the attribute value of active is empty", (2, 1), "Patient.active"),
        ('<name id=""/>', "the attribute id of name is empty", (2, 1), "Patient.name[0]"),
        ("<name/>", "name is empty; an element must have a value, a child or both", (2, 8), "Patient.name[0]"),
        ("<active></active>", "active is empty; an element must have a value, a child or both", (2, 9), "Patient.active"),
        ("<name><!-- x --></name>", "name is empty; an element must have a value, a child or both", (2, 17), "Patient.name[0]"),
        ("<contained/>", "contained is empty; an element must have a value, a child or both", (2, 13), "Patient.contained[0]"),
        ('<active value="true"/>\n<active value="true"/>', "active may stand only once in Patient", (3, 1), "Patient"),
        ('<birthDate id="x"/><birthDate value="2000"/>', "birthDate may stand only once in Patient", (2, 20), "Patient"),
        ("hello", "the text 'hello' is not allowed here; values stand in the attribute value", (2, 1), "Patient"),
        ("<name>a</name>", "the text 'a' is not allowed here; values stand in the attribute value", (2, 7), "Patient.name[0]"),
        ("<![CDATA[x]]>", "the text 'x' is not allowed here; values stand in the attribute value", (2, 10), "Patient"),
        (
            "<name>&#65;</name>",
            "the text 'A' is not allowed here; values stand in the attribute value",
            (2, 7),
            "Patient.name[0]",
        ),
        ('<Name><family value="x"/></Name>', "Patient has no element Name", (2, 1), "Patient"),
        ('<resourceType value="Patient"/>', "Patient has no element resourceType", (2, 1), "Patient"),
        ('<_birthDate value="x"/>', "Patient has no element _birthDate", (2, 1), "Patient"),
        ('<deceased value="x"/>', "Patient has no element deceased", (2, 1), "Patient"),
        (
            '<extension><url value="u"/></extension>',
            "url of Extension is an attribute, not an element",
            (2, 12),
            "Patient.extension[0]",
        ),
        ('<name><id value="u"/></name>', "id of HumanName is an attribute, not an element", (2, 7), "Patient.name[0]"),
        (
            '<name xmlns="urn:x"/>',
            "{urn:x}name is not an element of Patient; elements are in the namespace http://hl7.org/fhir",
            (2, 1),
            "Patient",
        ),
        (
            '<name xmlns=""/>',
            "name without a namespace is not an element of Patient; elements are in the namespace http://hl7.org/fhir",
            (2, 1),
            "Patient",
        ),
        (
            "<text><div>x</div></text>",
            "div is not an element of Narrative; elements are in the namespace http://www.w3.org/1999/xhtml",
            (2, 7),
            "Patient.text",
        ),
        (
            '<div xmlns="http://www.w3.org/1999/xhtml"/>',
            "{http://www.w3.org/1999/xhtml}div is not an element of Patient; elements are in the namespace http://www.w3.org/1999/xhtml",
            (2, 1),
            "Patient",
        ),
        (
            '<text><div xmlns="http://www.w3.org/1999/xhtml">x</div><div xmlns="http://www.w3.org/1999/xhtml">x</div></text>',
            "div may stand only once in Narrative",
            (2, 56),
            "Patient.text",
        ),
        (
            "<contained><Foo/></contained>",
            "what contained holds must be a resource type of FHIR R4 in the namespace http://hl7.org/fhir, not Foo",
            (2, 12),
            "Patient.contained[0]",
        ),
        (
            '<contained><Patient><id value="1"/></Patient><Patient/></contained>',
            "contained must hold one resource",
            (2, 46),
            "Patient.contained[0]",
        ),
    ],
)
def test_what_is_no_fhir_is_refused_with_line_column_and_path(xml: str, why: str, place: tuple[int, int], path: str) -> None:
    line, column = place
    assert refused(patient(xml)) == (f"Malformed XML: {why} (line {line}, column {column}).", (path,))


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        ("", "no element found (line 1, column 1)"),
        ("  ", "no element found (line 1, column 3)"),
        ("abc", "syntax error (line 1, column 1)"),
        (f"<Patient {NS}>", "no element found (line 1, column 38)"),
        (f"<Patient {NS}>\n</Patien>", "mismatched tag (line 2, column 3)"),
        (f"<Patient {NS}/><Patient/>", "junk after document element (line 1, column 39)"),
        (f"<Patient {NS} {NS}/>", "duplicate attribute (line 1, column 38)"),
        ("<x:Patient/>", "unbound prefix; a prefix needs its xmlns declaration (line 1, column 1)"),
        (
            "<Patient/>",
            (
                "the root must be a resource type of FHIR R4 in the namespace http://hl7.org/fhir,"
                " not Patient without a namespace (line 1, column 1)"
            ),
        ),
        (
            f"<HumanName {NS}/>",
            "the root must be a resource type of FHIR R4 in the namespace http://hl7.org/fhir, not HumanName (line 1, column 1)",
        ),
        (patient('<id value="a\x00b"/>'), "not well-formed (invalid token) (line 2, column 13)"),
        (patient('<id value="&#0;"/>'), "reference to invalid character number (line 2, column 12)"),
        (patient('<id value="&#x1F;"/>'), "reference to invalid character number (line 2, column 12)"),
        (patient('<id value="&#xD800;"/>'), "reference to invalid character number (line 2, column 12)"),
        (patient('<id value="a<b"/>'), "not well-formed (invalid token) (line 2, column 13)"),
    ],
)
def test_malformed_xml_is_refused_with_line_and_column(xml: str, why: str) -> None:
    assert refused(xml)[0] == f"Malformed XML: {why}."


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE Patient SYSTEM "http://127.0.0.1/x.dtd">',
        '<!DOCTYPE x [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>',
        "<!DOCTYPE Patient>",
    ],
)
def test_a_doctype_and_so_every_entity_is_refused(doctype: str) -> None:
    assert refused(doctype + patient('<name><family value="&e;"/></name>'))[0].startswith(
        "Malformed XML: a DOCTYPE is not allowed (line 1"
    )


def test_an_entity_that_xml_does_not_know_is_refused_with_a_hint() -> None:
    why, _ = refused(patient('<name><family value="a&nbsp;b"/></name>'))
    assert (
        why == "Malformed XML: undefined entity; XML itself knows only &amp; &lt; &gt; &quot; &apos;,"
        " write others as numbers, such as &#160; (line 2, column 7)."
    )


def test_comments_processing_instructions_and_schema_locations_are_ignored() -> None:
    schema = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://hl7.org/fhir patient.xsd"'
    inner = '<!-- c --><?x?><name><!-- c --><family value="x"/></name>'
    xml = f'<?xml version="1.0"?><?x y?><!-- c --><Patient {NS} {schema}>{inner}</Patient><!-- c -->'
    assert from_xml(xml.encode()) == {"resourceType": "Patient", "name": [{"family": "x"}]}


def test_prefixes_may_be_chosen_freely() -> None:
    contained = f'<f:contained><Patient {NS}><id value="1"/></Patient></f:contained>'
    xml = f'<f:Patient xmlns:f="http://hl7.org/fhir">{contained}</f:Patient>'
    assert from_xml(xml.encode()) == {"resourceType": "Patient", "contained": [{"resourceType": "Patient", "id": "1"}]}


def test_white_space_in_values_is_kept_as_xml_has_it() -> None:
    xml = patient('<name><family value=" a&#10;b\nc&#9;d "/></name>')
    assert from_xml(xml.encode())["name"] == [{"family": " a\nb c\td "}]


@pytest.mark.parametrize(("text", "value"), [("+2", 2), ("0", 0), ("-17", -17)])
def test_a_whole_number_may_have_a_sign(text: str, value: int) -> None:
    assert from_xml(patient(f'<multipleBirthInteger value="{text}"/>').encode())["multipleBirthInteger"] == value


@pytest.mark.parametrize(("text", "value"), [("5", 5), ("5.0", Decimal("5.0")), ("-1e-7", Decimal("-1E-7"))])
def test_a_decimal_is_read_as_json_reads_it(text: str, value: Any) -> None:
    xml = f'<Observation {NS}><valueQuantity><value value="{text}"/></valueQuantity></Observation>'
    assert repr(from_xml(xml.encode())["valueQuantity"]["value"]) == repr(value)


def test_nesting_is_accepted_up_to_the_limit_and_refused_beyond() -> None:
    def nested(levels: int) -> str:
        return patient('<extension url="u">' * levels + '<valueString value="x"/>' + "</extension>" * levels)

    assert from_xml(nested(31).encode(), max_depth=64)
    for deeper in (32, 1000, 100_000):
        assert "nested deeper than 64 levels (line 2, column " in refused(nested(deeper), max_depth=64)[0]


def test_a_narrative_has_a_limit_of_nesting_too() -> None:
    xml = patient(f'<text><div xmlns="http://www.w3.org/1999/xhtml">{"<b>" * 100}{"</b>" * 100}</div></text>')
    assert "the narrative is nested deeper than 64 levels" in refused(xml)[0]


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-8", ' encoding="UTF-8"'),
        ("utf-8-sig", ' encoding="utf-8"'),
        ("utf-16", ""),
        ("utf-16", ' encoding="UTF-16"'),
        ("utf-16-le", ' encoding="UTF-16LE"'),
        ("utf-16-be", ' encoding="utf-16be"'),
        ("utf-32", ""),
        ("iso-8859-1", ' encoding="ISO-8859-1"'),
        ("cp1252", " encoding='windows-1252'"),
        ("gb18030", ' encoding="GB18030"'),
    ],
)
def test_the_declared_encoding_is_honoured(encoding: str, declared: str) -> None:
    xml = f'<?xml version="1.0"{declared}?>' + patient('<name><family value="Müller"/></name>')
    assert from_xml(xml.encode(encoding))["name"] == [{"family": "Müller"}]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'<?xml version="1.0" encoding="zlib"?><x/>', "the encoding 'zlib' is not known; use UTF-8."),
        (b'<?xml version="1.0" encoding="unicode_escape"?><x/>', "the encoding 'unicode_escape' is not known; use UTF-8."),
        (b'<?xml version="1.0" encoding="us-ascii"?><x>\xff</x>', "the document is not in the encoding us-ascii at byte 44."),
        (b"\xff\xfe<\x00x", "the document is not in the encoding utf-16 at byte 4."),
        (patient("<x>").encode() + b"\xff", "Patient has no element x (line 2, column 1)."),
        (b"<\xff/>", "not well-formed (invalid token) (line 1, column 2)."),
    ],
)
def test_what_is_not_in_its_encoding_is_refused(data: bytes, why: str) -> None:
    assert refused(data)[0] == f"Malformed XML: {why}"


_PIECES = st.sampled_from(
    [
        "<name>",
        "</name>",
        "<name/>",
        '<family value="x"/>',
        "<family>",
        "</family>",
        '<active value="true"/>',
        "text",
        "&amp;",
        "&x;",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<?x?>",
        "<contained>",
        "</contained>",
        f"<Patient {NS}>",
        "</Patient>",
        '<extension url="u">',
        "</extension>",
        '<text><div xmlns="http://www.w3.org/1999/xhtml">',
        "<b>",
        "</b>",
        "</div>",
        "</text>",
        "<!DOCTYPE x>",
        'xmlns:x="y"',
        "\x00",
        "\ud7ff",
        "<div>",
        '<given id="g"/>',
    ]
)


@given(st.lists(_PIECES, max_size=12).map("".join) | st.text(), st.booleans())
def test_no_document_raises_anything_but_a_fhir_error(text: str, wrapped: bool) -> None:
    data = (patient(text) if wrapped else text).encode()
    try:
        resource = from_xml(data)
    except FhirError as error:
        assert error.status == 400
    else:
        assert from_xml(to_xml(resource)) == resource


@given(st.binary())
def test_no_bytes_raise_anything_but_a_fhir_error(data: bytes) -> None:
    with pytest.raises(FhirError):
        from_xml(data)
