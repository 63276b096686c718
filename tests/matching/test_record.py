"""Records: what of a Patient is compared."""

from hypothesis import given
from hypothesis import strategies as st

from fhir_server.matching import match_keys, record_of
from fhir_server.matching.record import Address, Name, Record, birth_date, email_address, phone_digits, postcode

PATIENT = {
    "resourceType": "Patient",
    "name": [
        {"family": "de la Cruz", "given": ["María José", "L."], "suffix": ["MD", "III"]},
        {"use": "maiden", "family": "Ruiz"},
    ],
    "birthDate": "1984-03-07",
    "gender": "female",
    "telecom": [
        {"system": "phone", "value": "+1 (415) 555-0134 ext. 12"},
        {"system": "fax", "value": "+1 415 555 9999"},
        {"system": "email", "value": " Maria@Example.ORG "},
    ],
    "address": [{"line": ["Apartment 3", "12 Harbour Street"], "city": "San José", "postalCode": "94607-1234"}],
}


def test_a_patient_has_a_normal_form():
    assert record_of(PATIENT, ["7|http://example.org"]) == Record(
        names=(Name(("maria", "jose", "l"), "delacruz", ("cruz",)), Name((), "ruiz", ("ruiz",))),
        generation="3",
        birth="19840307",
        gender="female",
        phones=("14155550134",),
        emails=("maria@example.org",),
        addresses=(Address("3", "apt 12 harbour st", "sanjose", "94607"),),
        identifiers=frozenset({"7|http://example.org"}),
    )


def test_an_empty_patient_has_an_empty_record():
    assert record_of({"resourceType": "Patient"}) == Record()
    assert match_keys(Record()) == []


def test_a_name_that_is_one_text_is_read():
    for text in ("Cruz, Ana Maria", "Ana Maria Cruz"):
        (name,) = record_of({"name": [{"text": text}]}).names
        assert name == Name(("ana", "maria"), "cruz", ("cruz",))
    junior = record_of({"name": [{"text": "John Smith, Jr."}]})
    assert (junior.names[0].family, junior.generation) == ("smith", "2")


def test_primitives_that_are_missing_but_for_their_extension_are_left_out():
    found = record_of(
        {"name": [{"given": [None, "Ana"], "_given": [{"id": "x"}, None], "suffix": [None]}], "address": [{"line": [None]}]}
    )
    assert found == Record(names=(Name(("ana",)),))


def test_dates_that_stand_for_none_are_left_out():
    assert [birth_date(text) for text in ("1984-03-07", "1984-03", "1984", "1900-01-01", "", "07.03.1984")] == [
        "19840307",
        "198403",
        "1984",
        "",
        "",
        "",
    ]


def test_numbers_that_are_none_are_left_out():
    assert [phone_digits(text) for text in ("0049 30 1234567", "555-0134", "123", "0000000000", "x")] == [
        "49301234567",
        "5550134",
        "",
        "",
        "",
    ]


def test_addresses_that_stand_for_none_are_left_out():
    assert [email_address(text) for text in ("mailto:A@B.org", "none@none.com", "a@b", "noemail@x.org", "x")] == [
        "a@b.org",
        "",
        "",
        "",
        "",
    ]


def test_postal_codes_are_compared_without_ornaments():
    assert [postcode(text) for text in ("94607-1234", "SW1A 1AA", "D-10115")] == ["94607", "sw1a1aa", "d10115"]


def test_a_patient_is_found_by_few_keys():
    assert match_keys(record_of(PATIENT | {"address": [{"line": ["12 Harbour Street"], "postalCode": "94607"}]})) == [
        "amaria@example.org",
        "b55550134",
        "c12harb",
        "d12.94607",
        "e19840307",
        "fcru.mar",
        "gKRS.MR",
        "h94607harb",
    ]


def test_keys_do_not_tell_what_people_mix_up():
    one = {"name": [{"family": "Garcia", "given": ["Thomas"]}], "birthDate": "1984-03-07"}
    other = {"name": [{"family": "Thomas", "given": ["Garcia"]}], "birthDate": "1984-07-03"}
    assert match_keys(record_of(one)) == match_keys(record_of(other))


_TEXT = st.text(max_size=12)
_PATIENTS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.lists(
            st.fixed_dictionaries(
                {}, optional={"family": _TEXT, "given": st.lists(_TEXT | st.none(), max_size=3), "text": _TEXT}
            ),
            max_size=3,
        ),
        "birthDate": st.dates().map(str) | _TEXT,
        "telecom": st.lists(st.fixed_dictionaries({}, optional={"system": st.sampled_from(["phone", "email"]), "value": _TEXT})),
        "address": st.lists(
            st.fixed_dictionaries({}, optional={"line": st.lists(_TEXT | st.none()), "city": _TEXT, "postalCode": _TEXT}),
            max_size=3,
        ),
    },
)


@given(_PATIENTS)
def test_every_patient_has_a_record_and_at_most_sixteen_keys(patient):
    keys = match_keys(record_of(patient))
    assert keys == sorted(set(keys))
    assert len(keys) <= 16
    assert all(key[0] in "abcdefgh" and len(key) <= 48 for key in keys)
