"""Messages to and from patients: CommunicationRequests, Communications on four channels, replies, follow-up Tasks."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from fhir_server.demo.appointments import COMING, Booking
from fhir_server.demo.build import DEMO, THO, Element, Resource, coding, concept, moment, reference
from fhir_server.demo.person import Person


@dataclass(frozen=True, slots=True)
class Channel:
    """A way to reach a patient: v3-ParticipationMode, and how it is called among people."""

    key: str
    mode: str
    display: str


CHANNELS = (
    Channel("sms", "SMSWRIT", "SMS message"),
    Channel("whatsapp", "APPWRIT", "Application"),
    Channel("email", "EMAILWRIT", "email"),
    Channel("voice", "PHONE", "telephone"),
)
_CHANNEL_WEIGHTS = (55, 20, 18, 7)
_TOPIC = THO + "communication-topic"
_CATEGORY = THO + "communication-category"

_FAILURES = (
    ("not-done", "invalid-phone-number", "Invalid Phone Number", "30003"),
    ("not-done", "recipient-unavailable", "Recipient Unavailable", "30005"),
    ("stopped", "system-error", "System Error", "30001"),
)

_REMINDERS = {
    "en": "Reminder: {given}, you have an appointment with {staff} on {day} at {time}. Reply C to confirm or X to cancel.",
    "es": "Recordatorio: {given}, tiene una cita con {staff} el {day} a las {time}. Responda C para confirmar o X para cancelar.",
    "zh": "提醒：{given}，您预约了 {day} {time} 与 {staff} 见面。回复 C 确认，回复 X 取消。",  # noqa: RUF001 -- Chinese punctuation
    "vi": "Nhắc hẹn: {given}, quý vị có hẹn với {staff} vào {day} lúc {time}. Trả lời C để xác nhận hoặc X để hủy.",
    "ar": "تذكير: {given}، لديك موعد مع {staff} يوم {day} الساعة {time}. أرسل C للتأكيد أو X للإلغاء.",
    "fr": "Rappel : {given}, vous avez rendez-vous avec {staff} le {day} à {time}. Répondez C pour confirmer ou X pour annuler.",
}


def reminder_text(person: Person, booking: Booking) -> str:
    """Return the reminder in the patient's language, where there is a text in it."""
    template = _REMINDERS.get(person.culture.language[0][:2], _REMINDERS["en"])
    return template.format(
        given=person.given[0],
        staff=booking.staff.name,
        day=f"{booking.start:%Y-%m-%d}",
        time=f"{booking.start:%H:%M}",
    )


def reminders_of(person: Person, bookings: list[Booking]) -> Iterator[Resource]:
    """Return the reminder of each appointment, and what became of it."""
    for booking in bookings:
        if booking.status == "cancelled":
            continue
        channel = person.rng.choices(CHANNELS, _CHANNEL_WEIGHTS)[0]
        due = booking.start - timedelta(hours=24)
        waiting = booking.status in COMING and due.date() > person.today
        request = _request(person, booking.key, channel, due, "active" if waiting else "completed")
        request["about"] = [booking.reference]
        request["payload"] = [{"contentString": reminder_text(person, booking)}]
        yield request
        if not waiting:
            yield from _deliver(person, booking, request, channel, due)


def _deliver(person: Person, booking: Booking, request: Resource, channel: Channel, due: datetime) -> Iterator[Resource]:
    rng = person.rng
    message = _message(person, booking.key, channel, due, request)
    if rng.random() < 0.08:
        _fail(message, rng.randrange(len(_FAILURES)))
        yield message
        retry = _message(person, f"{booking.key}-retry", CHANNELS[2], due + timedelta(minutes=20), request)
        retry["partOf"] = [reference(message)]
        yield retry
        yield _call_back(person, message, due)
        return
    yield message
    if channel.key in ("sms", "whatsapp") and rng.random() < 0.6:
        yield _reply(person, booking, message, channel, due + timedelta(minutes=rng.randint(2, 240)))


def _request(person: Person, key: str, channel: Channel, due: datetime, status: str) -> Resource:
    return {
        "resourceType": "CommunicationRequest",
        "id": person.new_id("commreq", key),
        "identifier": [{"system": DEMO + "idempotency-key", "value": f"{person.id}-{key}"}],
        "status": status,
        "category": [concept(_CATEGORY, "reminder", "Reminder")],
        "priority": "routine",
        "medium": [_medium(channel)],
        "subject": person.reference,
        "occurrenceDateTime": due.isoformat(),
        "authoredOn": (due - timedelta(days=10)).isoformat(),
        "requester": person.clinic.reference,
        "recipient": [person.reference],
        "sender": person.clinic.reference,
    }


def _medium(channel: Channel) -> Element:
    return {
        "coding": [coding(THO + "v3-ParticipationMode", channel.mode, channel.display), coding(DEMO + "channel", channel.key)],
        "text": channel.key,
    }


def _message(person: Person, key: str, channel: Channel, sent: datetime, request: Resource) -> Resource:
    message: Resource = {
        "resourceType": "Communication",
        "id": person.new_id("communication", key),
        "identifier": [{"system": DEMO + f"provider/{channel.key}", "value": f"MSG{person.seed:02d}{person.number:07d}-{key}"}],
        "basedOn": [reference(request)],
        "status": "completed",
        "category": request["category"],
        "priority": "routine",
        "medium": [_medium(channel)],
        "subject": person.reference,
        "topic": concept(_TOPIC, "appointment-reminder", "Appointment Reminder"),
        "sent": sent.isoformat(),
        "received": (sent + timedelta(seconds=person.rng.randint(1, 90))).isoformat(),
        "recipient": [person.reference],
        "sender": person.clinic.reference,
        "payload": request["payload"],
    }
    if "about" in request:
        message["about"] = request["about"]
    return message


def _fail(message: Resource, failure: int) -> None:
    status, code, display, raw = _FAILURES[failure]
    del message["received"]
    if status == "not-done":
        del message["sent"]
    message["status"] = status
    message["statusReason"] = {
        "coding": [coding(THO + "communication-not-done-reason", code, display), coding(DEMO + "provider-status", raw)],
        "text": display,
    }


def _reply(person: Person, booking: Booking, message: Resource, channel: Channel, received: datetime) -> Resource:
    return {
        "resourceType": "Communication",
        "id": person.new_id("communication", booking.key, "reply"),
        "inResponseTo": [reference(message)],
        "status": "completed",
        "category": [concept(_CATEGORY, "notification", "Notification")],
        "medium": [_medium(channel)],
        "subject": person.reference,
        "about": [booking.reference],
        "sent": received.isoformat(),
        "received": received.isoformat(),
        "recipient": [person.clinic.reference],
        "sender": person.reference,
        "payload": [{"contentString": person.rng.choice(("C", "c", "Yes, confirm", "OK 👍", "C thank you"))}],
    }


def _call_back(person: Person, message: Resource, failed: datetime) -> Resource:
    nurse = person.clinic.staff[3]
    done = person.rng.random() < 0.5
    return {
        "resourceType": "Task",
        "id": person.new_id("task", message["id"].rsplit("-", 1)[1]),
        "status": "completed" if done else "requested",
        "intent": "order",
        "priority": "routine",
        "code": concept(THO + "task-code", "fulfill", "Fulfill the focal request", "Call the patient"),
        "description": "The reminder could not be delivered: check the telephone number and call the patient",
        "focus": reference(message),
        "for": person.reference,
        "authoredOn": failed.isoformat(),
        "lastModified": (failed + timedelta(hours=2 if done else 0)).isoformat(),
        "requester": person.clinic.reference,
        "owner": nurse.reference,
    }


def campaign_of(person: Person) -> Iterator[Resource]:
    """Return the message of a vaccination campaign, to about a third of the grown-up patients."""
    if person.deceased or person.age < 18 or person.rng.random() > 0.35:
        return
    sent = moment(person.clinic.city, person.today - timedelta(days=14), 10, person.number % 60)
    channel = person.rng.choices(CHANNELS[:3], _CHANNEL_WEIGHTS[:3])[0]
    request = _request(person, "flu", channel, sent, "completed")
    request["category"] = [concept(_CATEGORY, "notification", "Notification")]
    request["groupIdentifier"] = {"system": DEMO + "campaign", "value": f"flu-{person.today.year}"}
    request["payload"] = [{"contentString": "Flu vaccines are here. Call us or reply BOOK for a time that suits you."}]
    yield request
    message = _message(person, "flu", channel, sent, request)
    message["topic"] = {"text": "Flu vaccination"}
    yield message
