"""The text of a template, and its form in FHIRPath."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fhir_server.fhir.fhirpath import compile_expression, evaluate, root
from prm_ext.notifications.templates.text import Slot, TextError, compiled, from_fhirpath, to_fhirpath, written


def _is_template(text: str) -> bool:
    try:
        compiled(text)
    except TextError:
        return False
    return True


LETTERS = st.characters(
    blacklist_categories=["Cs", "Cc", "Cn", "Co"],
    blacklist_characters="\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
)
PIECES = st.one_of(
    st.text(LETTERS, max_size=8), st.sampled_from(["{{", "}}", "{a}", "{name_2}", "'", "\\", "\n", "\t", "✅", "%a", "&", "\\n"])
)
TEXTS = st.lists(PIECES, max_size=8).map("".join).filter(_is_template)


def test_a_text_is_taken_apart_into_literals_and_variables():
    assert compiled("Hi {patient_name}! {{x}} {a}{patient_name}").parts == (
        "Hi ",
        Slot("patient_name"),
        "! {x} ",
        Slot("a"),
        Slot("patient_name"),
    )
    assert compiled("{b}{a}{b}").names == ("b", "a")
    assert compiled("{{{a}}}").parts == ("{", Slot("a"), "}")
    assert compiled("").parts == ()


BRACES = ["{", "}", "{a", "a}", "{}", "{a b}", "{a.b}", "{a[0]}", "{a!r}", "{a:>9}", "{1a}", "{_a}", "{ a }", "{a{b}}", "{é}"]
CONTROLS = ["\x00", "\x1b[0m", "\r", "a\u202eb", "\u2066", "\ufdd0", "\ud800"]


@pytest.mark.parametrize("text", [*BRACES, *CONTROLS, "{" + "a" * 65 + "}", "x" * 10_001])
def test_what_is_no_variable_and_what_controls_the_screen_is_refused(text):
    with pytest.raises(TextError):
        compiled(text)


@given(TEXTS)
def test_a_text_is_the_same_after_it_was_taken_apart(text):
    assert compiled(written(compiled(text).parts)) == compiled(text)


@given(TEXTS)
@example("{a}")
@example("it's {a}\n\\n '' & %b")
@example("")
def test_a_text_is_the_same_after_it_was_fhirpath(text):
    expression = to_fhirpath(text)
    back = from_fhirpath(expression)
    assert back is not None
    assert compiled(back).parts == compiled(text).parts


@given(TEXTS, st.text(LETTERS, max_size=8))
@example("\\{a}0", "x")
def test_fhirpath_says_what_the_template_says(text, value):
    found = compiled(text)
    variables = dict.fromkeys(found.names, value)
    (said,) = evaluate(compile_expression(to_fhirpath(text)), root({"resourceType": "Basic"}), variables)
    assert said == "".join(value if isinstance(part, Slot) else part for part in found.parts)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("'Hi ' & %name & '!'", "Hi {name}!"),
        ("'Hi '+%`name`", "Hi {name}"),
        ("  'a'\n&\t'b' ", "ab"),
        (r"'\u00e9 \'\" \` \/ \f{'", "é '\" ` / \f{{"),
    ],
)
def test_what_others_write_is_read(expression, text):
    assert from_fhirpath(expression) == text


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "name",
        "'a' & name",
        "'a' &",
        "& 'a'",
        "'a' 'b'",
        "'a",
        "%a.b",
        "upper('a')",
        "('a')",
        "1",
        "%`a b`",
        "'a' & (%b)",
        "'a' | 'b'",
    ],
)
def test_an_expression_that_is_more_than_texts_and_variables_is_no_template(expression):
    assert from_fhirpath(expression) is None


@given(st.text(max_size=30))
def test_any_text_is_either_a_template_or_refused(text):
    if _is_template(text):
        assert compiled(written(compiled(text).parts)) == compiled(text)


@given(st.text(alphabet="'%&+\\ abn`{}u0", max_size=20))
def test_any_expression_is_either_a_template_or_none(expression):
    found = from_fhirpath(expression)
    if found is not None:
        assert written(compiled(found).parts) == found
