"""What short replies mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prm_ext.notifications.answers import LANGUAGES, texts_of
from prm_ext.notifications.keywords import meaning, number_in

TWILIO_STOP = ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "OPTOUT", "REVOKE"]
TWILIO_START = ["START", "YES", "UNSTOP"]
TWILIO_HELP = ["HELP", "INFO"]


@pytest.mark.parametrize(("words", "expected"), [(TWILIO_STOP, "stop"), (TWILIO_START, "start"), (TWILIO_HELP, "help")])
def test_the_words_of_twilio_mean_what_they_mean_there(words: list[str], expected: str):
    for word in words:
        for text in (word, word.lower(), word.title(), f" {word} ", f"{word}.", f'"{word}"!!'):
            assert meaning(text, awaiting_reply=False) == expected, text


def test_cancel_and_yes_are_about_the_appointment_that_was_asked_about():
    assert meaning("CANCEL", awaiting_reply=True) == "cancel"
    assert meaning("YES", awaiting_reply=True) == "confirm"
    assert {meaning(word, awaiting_reply=True) for word in TWILIO_STOP if word != "CANCEL"} == {"stop"}
    assert meaning("START", awaiting_reply=True) == "start"


def test_who_wants_to_cancel_messages_does_not_cancel_an_appointment():
    assert meaning("cancel messages", awaiting_reply=True) == "stop"
    assert meaning("cancel my appointment", awaiting_reply=True) == "cancel"
    assert meaning("Cancelar los mensajes", awaiting_reply=True) == "stop"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Confirm", "confirm"),
        ("Yes, confirm", "confirm"),
        ("yes please!", "confirm"),
        ("✅ CONFIRM ✅", "confirm"),
        ("👍🏽", "confirm"),
        ("✔️", "confirm"),
        ("ok", "confirm"),
        ("OK thank you 🙏", "confirm"),
        ("I confirm my appointment, thanks", "confirm"),
        ("C", "confirm"),
        ("confirm 2", "confirm"),
        ("I will be there", "confirm"),
        ("X", "cancel"),
        ("❌", "cancel"),
        ("Please cancel", "cancel"),
        ("yes, cancel it", "cancel"),
        ("cancel 1", "cancel"),
        ("Stop please", "stop"),
        ("stop texting me", "stop"),
        ("STOP ALL", "stop"),
        ("opt-out", "stop"),
        ("help me", "help"),
        ("ＣＯＮＦＩＲＭ", "confirm"),  # noqa: RUF001 -- as phones write it
        ("c o n f i r m", None),
        ("confirm or cancel?", None),
        ("confirm cancel", None),
        ("don't cancel", None),
        ("no", None),
        ("I can't confirm", None),
        ("Please stop by the office", None),
        ("Can I come at 3 instead?", None),
        ("the end of the week is fine", None),
        ("help confirm", None),
        ("start confirm", None),
        ("", None),
        ("   ", None),
        ("🙂", None),
        ("2", None),
        ("stop " * 40, None),
        ("yes " * 11, None),
    ],
)
def test_a_reply_means_something_when_it_says_nothing_else(text: str, expected: str | None):
    assert meaning(text, awaiting_reply=True) == expected


@pytest.mark.parametrize("text", ["ok", "👍", "C", "x", "Y", "gracias", "c."])
def test_what_answers_no_question_means_nothing(text: str):
    assert meaning(text, awaiting_reply=False) is None


def test_words_for_appointments_mean_them_also_where_nothing_was_asked():
    assert meaning("CONFIRM", awaiting_reply=False) == "confirm"
    assert meaning("absagen", awaiting_reply=False) == "cancel"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sí, confirmo", "confirm"),
        ("CONFIRMAR", "confirm"),
        ("cancelar mi cita", "cancel"),
        ("Parar", "stop"),
        ("BAJA", "stop"),
        ("ayuda por favor", "help"),
        ("Oui", "confirm"),
        ("d'accord", "confirm"),
        ("Je confirme", "confirm"),
        ("J’annule", "cancel"),  # noqa: RUF001 -- as phones write it
        ("ARRÊT", "stop"),
        ("arret", "stop"),
        ("Ja, ich bestätige", "confirm"),
        ("STOPP", "stop"),
        ("Ich sage ab", "cancel"),
        ("Sim", "confirm"),
        ("SAIR", "stop"),
        ("Confermo", "confirm"),
        ("disdire", "cancel"),
        ("确认", "confirm"),
        ("确认预约，谢谢", "confirm"),  # noqa: RUF001 -- as phones write it
        ("取消预约", "cancel"),
        ("退订", "stop"),
        ("確認します", None),
        ("確認しました。", "confirm"),
        ("取消し", "cancel"),
        ("予約をキャンセルお願いします", "cancel"),
        ("配信停止", "stop"),
        ("Xác nhận", "confirm"),
        ("xac nhan", "confirm"),
        ("Hủy hẹn", "cancel"),
        ("dừng", "stop"),
        ("đúng", "confirm"),
        ("dung", None),
        ("Có", "confirm"),
        ("نعم، أؤكد", None),
        ("نعم", "confirm"),
        ("تأكيد الموعد", "confirm"),
        ("إلغاء", "cancel"),
        ("الغاء", "cancel"),
        ("إيقاف", "stop"),
        ("مساعده", "help"),
        ("Да, подтверждаю", "confirm"),
        ("отмена", "cancel"),
        ("СТОП", "stop"),
        ("네", "confirm"),
        ("예약 취소", "cancel"),
        ("예약취소", "cancel"),
        ("수신거부", "stop"),
        ("Oo, kumpirma po", "confirm"),
        ("itigil", "stop"),
    ],
)
def test_replies_are_understood_in_the_languages_of_patients(text: str, expected: str | None):
    assert meaning(text, awaiting_reply=True) == expected


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_words_that_texts_ask_for_are_understood(language: str):
    for expected, word in texts_of(language).words.items():
        assert meaning(word, awaiting_reply=True) == expected
        assert meaning(word.lower() + ".", awaiting_reply=True) == expected
        if expected in ("confirm", "cancel"):
            assert meaning(f"{word} 1", awaiting_reply=True) == expected


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2", 2),
        ("CONFIRM 2", 2),
        ("confirm #2!", 2),
        ("٢", 2),
        ("第２", None),
        ("２", 2),  # noqa: RUF001 -- as phones write it
        ("1 and 2", None),
        ("confirm", None),
        ("2nd", None),
        ("1" * 200, None),
    ],
)
def test_the_number_that_a_reply_names_is_read(text: str, number: int | None):
    assert number_in(text) == number


@given(text=st.text(max_size=200), awaiting=st.booleans())
def test_any_text_has_a_meaning_or_none(text: str, awaiting: bool):
    assert meaning(text, awaiting_reply=awaiting) in ("stop", "start", "help", "confirm", "cancel", None)


@given(word=st.sampled_from([*TWILIO_STOP, *TWILIO_START, *TWILIO_HELP]), around=st.text("!?.,;:-()\"' \n\t🙂", max_size=6))
def test_punctuation_and_pictures_around_a_word_change_nothing(word: str, around: str):
    assert meaning(f"{around}{word}{around}", awaiting_reply=False) == meaning(word, awaiting_reply=False)


@given(
    rest=st.sampled_from(["tomorrow", "at three", "because I am ill", "why", "by the desk"]), word=st.sampled_from(TWILIO_STOP)
)
def test_a_word_within_a_sentence_means_nothing(rest: str, word: str):
    assert meaning(f"{word} {rest}", awaiting_reply=False) is None
