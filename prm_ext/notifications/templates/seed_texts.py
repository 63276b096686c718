"""The texts of the built-in templates.

The words CONFIRM and CANCEL stay as they are in every language: people are told to type them, and both are understood.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

TEXTS: Final[Mapping[str, Sequence[Mapping[str, Any]]]] = {
    "appointment_confirmed": (
        {
            "channel": "whatsapp",
            "category": "appointment-confirmation",
            "title": "Appointment confirmed",
            "description": "Sent when an appointment is booked.",
            "subjects": {
                "en": "Your appointment on {appointment_date} is confirmed",
                "es": "Su cita del {appointment_date} está confirmada",
                "pt": "A sua consulta de {appointment_date} está confirmada",
                "fr": "Votre rendez-vous du {appointment_date} est confirmé",
                "de": "Ihr Termin am {appointment_date} ist bestätigt",
            },
            "bodies": {
                "en": "✅ Your appointment is confirmed for {appointment_date} at {appointment_time} with "
                "Dr. {practitioner_name}. Location: {location_address}. See you then!",
                "es": "✅ Su cita está confirmada para el {appointment_date} a las {appointment_time} con "
                "Dr. {practitioner_name}. Lugar: {location_address}. ¡Le esperamos!",
                "pt": "✅ A sua consulta está confirmada para {appointment_date} às {appointment_time} com "
                "Dr. {practitioner_name}. Local: {location_address}. Até lá!",
                "fr": "✅ Votre rendez-vous est confirmé pour le {appointment_date} à {appointment_time} avec "
                "Dr {practitioner_name}. Lieu : {location_address}. À bientôt !",
                "de": "✅ Ihr Termin ist bestätigt: {appointment_date} um {appointment_time} bei Dr. {practitioner_name}. "
                "Ort: {location_address}. Bis dann!",
            },
        },
    ),
    "appointment_reminder_24h": (
        {
            "channel": "whatsapp",
            "category": "appointment-reminder",
            "title": "Appointment tomorrow",
            "description": "Sent 24 hours before an appointment.",
            "subjects": {
                "en": "Reminder: your appointment tomorrow at {appointment_time}",
                "es": "Recordatorio: su cita de mañana a las {appointment_time}",
                "pt": "Lembrete: a sua consulta de amanhã às {appointment_time}",
                "fr": "Rappel : votre rendez-vous de demain à {appointment_time}",
                "de": "Erinnerung: Ihr Termin morgen um {appointment_time}",
            },
            "bodies": {
                "en": "Hi {patient_name}! Reminder: You have an appointment tomorrow at {appointment_time} with "
                "Dr. {practitioner_name} at {location_name}. Reply CONFIRM to confirm or CANCEL to cancel.",
                "es": "¡Hola, {patient_name}! Recordatorio: tiene una cita mañana a las {appointment_time} con "
                "Dr. {practitioner_name} en {location_name}. Responda CONFIRM para confirmar o CANCEL para cancelar.",
                "pt": "Olá, {patient_name}! Lembrete: tem uma consulta amanhã às {appointment_time} com "
                "Dr. {practitioner_name} em {location_name}. Responda CONFIRM para confirmar ou CANCEL para cancelar.",
                "fr": "Bonjour {patient_name} ! Rappel : vous avez rendez-vous demain à {appointment_time} avec "
                "Dr {practitioner_name}, {location_name}. Répondez CONFIRM pour confirmer ou CANCEL pour annuler.",
                "de": "Hallo {patient_name}! Erinnerung: Sie haben morgen um {appointment_time} einen Termin bei "
                "Dr. {practitioner_name}, {location_name}. Antworten Sie mit CONFIRM, um zuzusagen, oder mit CANCEL, "
                "um abzusagen.",
            },
        },
    ),
    "appointment_reminder_1h": (
        {
            "channel": "whatsapp",
            "category": "appointment-reminder",
            "title": "Appointment in an hour",
            "description": "Sent one hour before an appointment.",
            "subjects": {
                "en": "Your appointment today at {appointment_time}",
                "es": "Su cita de hoy a las {appointment_time}",
                "pt": "A sua consulta de hoje às {appointment_time}",
                "fr": "Votre rendez-vous d'aujourd'hui à {appointment_time}",
                "de": "Ihr Termin heute um {appointment_time}",
            },
            "bodies": {
                "en": "Hi {patient_name}! Your appointment with Dr. {practitioner_name} is in one hour, at {appointment_time}, "
                "at {location_name}. Reply CANCEL if you cannot come.",
                "es": "¡Hola, {patient_name}! Su cita con Dr. {practitioner_name} es dentro de una hora, a las "
                "{appointment_time}, en {location_name}. Responda CANCEL si no puede venir.",
                "pt": "Olá, {patient_name}! A sua consulta com Dr. {practitioner_name} é daqui a uma hora, às "
                "{appointment_time}, em {location_name}. Responda CANCEL se não puder vir.",
                "fr": "Bonjour {patient_name} ! Votre rendez-vous avec Dr {practitioner_name} est dans une heure, à "
                "{appointment_time}, {location_name}. Répondez CANCEL si vous ne pouvez pas venir.",
                "de": "Hallo {patient_name}! Ihr Termin bei Dr. {practitioner_name} ist in einer Stunde, um "
                "{appointment_time}, {location_name}. Antworten Sie mit CANCEL, wenn Sie nicht kommen können.",
            },
        },
    ),
    "appointment_cancelled": (
        {
            "channel": "whatsapp",
            "category": "appointment-cancellation",
            "title": "Appointment cancelled",
            "description": "Sent when an appointment is cancelled.",
            "subjects": {
                "en": "Your appointment on {appointment_date} is cancelled",
                "es": "Su cita del {appointment_date} está cancelada",
                "pt": "A sua consulta de {appointment_date} foi cancelada",
                "fr": "Votre rendez-vous du {appointment_date} est annulé",
                "de": "Ihr Termin am {appointment_date} ist abgesagt",
            },
            "bodies": {
                "en": "Hi {patient_name}, your appointment on {appointment_date} at {appointment_time} with "
                "Dr. {practitioner_name} has been cancelled. Please contact us to book another one.",
                "es": "Hola, {patient_name}: su cita del {appointment_date} a las {appointment_time} con "
                "Dr. {practitioner_name} ha sido cancelada. Póngase en contacto con nosotros para pedir otra.",
                "pt": "Olá, {patient_name}. A sua consulta de {appointment_date} às {appointment_time} com "
                "Dr. {practitioner_name} foi cancelada. Entre em contato conosco para marcar outra.",
                "fr": "Bonjour {patient_name}, votre rendez-vous du {appointment_date} à {appointment_time} avec "
                "Dr {practitioner_name} est annulé. Contactez-nous pour en prendre un autre.",
                "de": "Hallo {patient_name}, Ihr Termin am {appointment_date} um {appointment_time} bei "
                "Dr. {practitioner_name} ist abgesagt. Bitte melden Sie sich bei uns für einen neuen Termin.",
            },
        },
    ),
    "lab_results_ready": (
        {
            "category": "lab-results",
            "title": "Your results are ready",
            "description": "Sent when results may be seen; says nothing of what was tested.",
            "subjects": {
                "en": "Your results are ready",
                "es": "Sus resultados están disponibles",
                "pt": "Os seus resultados estão disponíveis",
                "fr": "Vos résultats sont disponibles",
                "de": "Ihre Befunde liegen vor",
            },
            "bodies": {
                "en": "Hi {patient_name}, your test results are ready. Please sign in to your patient portal to see them, "
                "or call us if you have questions.",
                "es": "Hola, {patient_name}: los resultados de sus pruebas están disponibles. Entre en su portal del paciente "
                "para verlos o llámenos si tiene preguntas.",
                "pt": "Olá, {patient_name}. Os resultados dos seus exames estão disponíveis. Entre no portal do paciente "
                "para vê-los ou ligue para nós se tiver perguntas.",
                "fr": "Bonjour {patient_name}, les résultats de vos examens sont disponibles. Connectez-vous à votre espace "
                "patient pour les consulter, ou appelez-nous si vous avez des questions.",
                "de": "Hallo {patient_name}, Ihre Befunde liegen vor. Sie finden sie in Ihrem Patientenportal. "
                "Bei Fragen rufen Sie uns bitte an.",
            },
        },
    ),
    "medication_reminder": (
        {
            "category": "medication-reminder",
            "title": "Time for your medication",
            "description": "Sent when a medication is to be taken; does not name it.",
            "subjects": {
                "en": "Time for your medication",
                "es": "Es hora de su medicación",
                "pt": "Está na hora do seu medicamento",
                "fr": "C'est l'heure de votre médicament",
                "de": "Zeit für Ihr Medikament",
            },
            "bodies": {
                "en": "Hi {patient_name}, this is a reminder to take your medication as prescribed.",
                "es": "Hola, {patient_name}: le recordamos que tome su medicación según lo prescrito.",
                "pt": "Olá, {patient_name}. Lembrete: tome o seu medicamento conforme prescrito.",
                "fr": "Bonjour {patient_name}, n'oubliez pas de prendre votre médicament comme prescrit.",
                "de": "Hallo {patient_name}, bitte denken Sie daran, Ihr Medikament wie verordnet einzunehmen.",
            },
        },
    ),
    "care_plan_milestone": (
        {
            "category": "care-plan",
            "title": "A step in your care plan",
            "description": "Sent when a step of a care plan is due or reached.",
            "subjects": {
                "en": "News about your care plan",
                "es": "Novedades de su plan de cuidados",
                "pt": "Novidades do seu plano de cuidados",
                "fr": "Des nouvelles de votre plan de soins",
                "de": "Neues zu Ihrem Behandlungsplan",
            },
            "bodies": {
                "en": "Hi {patient_name}, there is a new step in your care plan. Please sign in to your patient portal "
                "to see what comes next.",
                "es": "Hola, {patient_name}: hay un nuevo paso en su plan de cuidados. Entre en su portal del paciente "
                "para ver lo que sigue.",
                "pt": "Olá, {patient_name}. Há um novo passo no seu plano de cuidados. Entre no portal do paciente "
                "para ver o que vem a seguir.",
                "fr": "Bonjour {patient_name}, il y a une nouvelle étape dans votre plan de soins. Connectez-vous à votre "
                "espace patient pour voir la suite.",
                "de": "Hallo {patient_name}, in Ihrem Behandlungsplan steht ein neuer Schritt an. Im Patientenportal "
                "sehen Sie, wie es weitergeht.",
            },
        },
    ),
    "journey_milestone": (
        {
            "category": "journey",
            "title": "The next step of your journey",
            "description": "Sent when a patient comes to the next stage of a journey.",
            "subjects": {
                "en": "Your next step with us",
                "es": "Su próximo paso con nosotros",
                "pt": "O seu próximo passo conosco",
                "fr": "Votre prochaine étape avec nous",
                "de": "Ihr nächster Schritt bei uns",
            },
            "bodies": {
                "en": "Hi {patient_name}, you have reached the next step of your journey with us. "
                "We will be in touch; reply to this message if you have questions.",
                "es": "Hola, {patient_name}: ha llegado al siguiente paso de su recorrido con nosotros. "
                "Nos pondremos en contacto; responda a este mensaje si tiene preguntas.",
                "pt": "Olá, {patient_name}. Chegou ao próximo passo da sua jornada conosco. "
                "Entraremos em contato; responda a esta mensagem se tiver perguntas.",
                "fr": "Bonjour {patient_name}, vous avez atteint la prochaine étape de votre parcours avec nous. "
                "Nous vous contacterons ; répondez à ce message si vous avez des questions.",
                "de": "Hallo {patient_name}, Sie haben den nächsten Schritt Ihres Weges bei uns erreicht. "
                "Wir melden uns; bei Fragen antworten Sie einfach auf diese Nachricht.",
            },
        },
    ),
    "health_tip": (
        {
            "category": "health-tips",
            "title": "A health tip",
            "description": "A tip for patients who want them; `tip` is its text. Reply STOP to end them.",
            "subjects": {
                "en": "A health tip for you",
                "es": "Un consejo de salud para usted",
                "pt": "Uma dica de saúde para você",
                "fr": "Un conseil santé pour vous",
                "de": "Ein Gesundheitstipp für Sie",
            },
            "bodies": {
                "en": "Hi {patient_name}! {tip} Reply STOP if you no longer want health tips.",
                "es": "¡Hola, {patient_name}! {tip} Responda STOP si ya no quiere recibir consejos de salud.",
                "pt": "Olá, {patient_name}! {tip} Responda STOP se não quiser mais receber dicas de saúde.",
                "fr": "Bonjour {patient_name} ! {tip} Répondez STOP si vous ne voulez plus de conseils santé.",
                "de": "Hallo {patient_name}! {tip} Antworten Sie mit STOP, wenn Sie keine Gesundheitstipps mehr möchten.",
            },
            "variables": {"tip": "Drink a glass of water before each meal."},
        },
    ),
}
