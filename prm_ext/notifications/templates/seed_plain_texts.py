"""What built-in templates say of appointments of which only the time is known, with neither a practitioner nor a place."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from prm_ext.notifications.templates.seed_texts import TEXTS

SUFFIX: Final = "_plain"
"""After the name of the template that it stands in for."""

_BODIES: Final[Mapping[str, Mapping[str, str]]] = {
    "appointment_confirmed": {
        "en": "✅ Your appointment is confirmed for {appointment_date} at {appointment_time}. See you then!",
        "es": "✅ Su cita está confirmada para el {appointment_date} a las {appointment_time}. ¡Le esperamos!",
        "pt": "✅ A sua consulta está confirmada para {appointment_date} às {appointment_time}. Até lá!",
        "fr": "✅ Votre rendez-vous est confirmé pour le {appointment_date} à {appointment_time}. À bientôt !",
        "de": "✅ Ihr Termin ist bestätigt: {appointment_date} um {appointment_time}. Bis dann!",
    },
    "appointment_reminder_24h": {
        "en": "Hi {patient_name}! Reminder: You have an appointment tomorrow at {appointment_time}. "
        "Reply CONFIRM to confirm or CANCEL to cancel.",
        "es": "¡Hola, {patient_name}! Recordatorio: tiene una cita mañana a las {appointment_time}. "
        "Responda CONFIRM para confirmar o CANCEL para cancelar.",
        "pt": "Olá, {patient_name}! Lembrete: tem uma consulta amanhã às {appointment_time}. "
        "Responda CONFIRM para confirmar ou CANCEL para cancelar.",
        "fr": "Bonjour {patient_name} ! Rappel : vous avez rendez-vous demain à {appointment_time}. "
        "Répondez CONFIRM pour confirmer ou CANCEL pour annuler.",
        "de": "Hallo {patient_name}! Erinnerung: Sie haben morgen um {appointment_time} einen Termin. "
        "Antworten Sie mit CONFIRM, um zuzusagen, oder mit CANCEL, um abzusagen.",
    },
    "appointment_reminder_1h": {
        "en": "Hi {patient_name}! Your appointment is in one hour, at {appointment_time}. Reply CANCEL if you cannot come.",
        "es": "¡Hola, {patient_name}! Su cita es dentro de una hora, a las {appointment_time}. "
        "Responda CANCEL si no puede venir.",
        "pt": "Olá, {patient_name}! A sua consulta é daqui a uma hora, às {appointment_time}. Responda CANCEL se não puder vir.",
        "fr": "Bonjour {patient_name} ! Votre rendez-vous est dans une heure, à {appointment_time}. "
        "Répondez CANCEL si vous ne pouvez pas venir.",
        "de": "Hallo {patient_name}! Ihr Termin ist in einer Stunde, um {appointment_time}. "
        "Antworten Sie mit CANCEL, wenn Sie nicht kommen können.",
    },
    "appointment_cancelled": {
        "en": "Hi {patient_name}, your appointment on {appointment_date} at {appointment_time} has been cancelled. "
        "Please contact us to book another one.",
        "es": "Hola, {patient_name}: su cita del {appointment_date} a las {appointment_time} ha sido cancelada. "
        "Póngase en contacto con nosotros para pedir otra.",
        "pt": "Olá, {patient_name}. A sua consulta de {appointment_date} às {appointment_time} foi cancelada. "
        "Entre em contato conosco para marcar outra.",
        "fr": "Bonjour {patient_name}, votre rendez-vous du {appointment_date} à {appointment_time} est annulé. "
        "Contactez-nous pour en prendre un autre.",
        "de": "Hallo {patient_name}, Ihr Termin am {appointment_date} um {appointment_time} ist abgesagt. "
        "Bitte melden Sie sich bei uns für einen neuen Termin.",
    },
}


def plain_texts() -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Return them as the other texts are: by name, with the subjects of those that they stand in for."""
    return {name + SUFFIX: (_plain(TEXTS[name][-1], bodies),) for name, bodies in _BODIES.items()}


def _plain(full: Mapping[str, Any], bodies: Mapping[str, str]) -> Mapping[str, Any]:
    description = f"{full['description'].rstrip('.')}, where neither practitioner nor place is known."
    return {**full, "title": f"{full['title']} (time only)", "description": description, "bodies": bodies}
