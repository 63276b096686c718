"""The templates that are there without anybody having made them."""

import pytest

from fhir_server.fhir.validate import validate
from prm_ext.notifications.codes import KINDS
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.templates.checks import issues_of
from prm_ext.notifications.templates.rendering import Reader, render_template
from prm_ext.notifications.templates.resource import from_resource, to_resource
from prm_ext.notifications.templates.seeds import seed_named, seed_of_id, seed_of_url, seeds, stand_in
from prm_ext.notifications.templates.text import compiled
from prm_ext.notifications.templates.wellknown import WELL_KNOWN

ALL = [version for versions in seeds().values() for version in versions]
SAMPLES = {name: variable.sample for name, variable in WELL_KNOWN.items()} | {"tip": "Drink water."}


def test_the_examples_of_the_product_are_word_for_word():
    assert seed_named("appointment_reminder_24h").bodies["en", ""] == (
        "Hi {patient_name}! Reminder: You have an appointment tomorrow at {appointment_time} with Dr. {practitioner_name} at "
        "{location_name}. Reply CONFIRM to confirm or CANCEL to cancel."
    )
    assert seed_named("appointment_confirmed").bodies["en", ""] == (
        "✅ Your appointment is confirmed for {appointment_date} at {appointment_time} with Dr. {practitioner_name}. "
        "Location: {location_address}. See you then!"
    )
    assert {seed_named(name).channel for name in ("appointment_reminder_24h", "appointment_confirmed")} == {"whatsapp"}


def test_all_that_the_settings_name_are_there():
    settings = NotificationSettings(_env_file=None)
    for name in seeds():
        assert seed_named(name) is not None
    assert all(
        f'"{name}"' in settings.reminders for name in seeds() if name.startswith("appointment_") and not name.endswith("_plain")
    )


def test_those_of_appointments_have_a_twin_that_needs_the_time_only():
    full = [name for name in seeds() if name.startswith("appointment_") and not name.endswith("_plain")]
    assert len(full) == 4
    for name in full:
        twin = stand_in(seed_named(name))
        assert set(twin.names()) <= {"patient_name", "appointment_date", "appointment_time"}
        assert twin.subjects == seed_named(name).subjects
    assert stand_in(seed_named("health_tip")) is None


@pytest.mark.parametrize("seed", ALL, ids=lambda seed: seed.canonical)
def test_each_can_be_stored_and_sent_in_all_its_languages_over_all_channels(seed):
    assert issues_of(seed) == []
    assert seed.category in KINDS
    resource = to_resource(seed)
    assert validate(resource) == []
    assert from_resource(resource, built_in=True) == seed
    assert set(seed.languages("email")) == {"en", "es", "pt", "fr", "de"}
    for language in seed.languages("email"):
        for channel in ("whatsapp", "sms", "voice", "email"):
            found = render_template(seed, channel, Reader(language), SAMPLES)
            assert (found.language, "{" in found.body) == (language, False)


@pytest.mark.parametrize("seed", ALL, ids=lambda seed: seed.canonical)
def test_each_says_the_same_with_the_same_variables_in_all_languages(seed):
    for texts in (seed.bodies, seed.subjects):
        assert len({frozenset(compiled(text).names) for text in texts.values()}) == 1
        for word in ("CONFIRM", "CANCEL", "STOP"):
            assert len({word in text for text in texts.values()}) == 1


def test_a_version_is_found_by_its_url_and_by_its_id():
    seed = seed_named("health_tip")
    assert seed_of_url(seed.url, "1") == seed
    assert seed_of_url(seed.url, "") == seed
    assert seed_of_url(seed.url, "99") is None
    assert seed_of_url("urn:prm:template:built-in:none", "1") is None
    assert seed_of_id("built-in.health-tip") == seed
    assert seed_of_id("none") is None
