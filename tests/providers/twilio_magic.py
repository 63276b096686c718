"""Numbers with which Twilio behaves as a test needs it, and what it says then."""

# https://www.twilio.com/docs/iam/test-credentials
INVALID = "+15005550001"
OPTED_OUT = "+15005550004"
LANDLINE = "+15005550009"

# Our own: what those of Twilio do not cover.
OUTSIDE_WINDOW = "+15005556316"
TOO_MANY = "+15005550429"
FAILING = "+15005550500"
NEVER = "+15005550508"
"""Not accepted, not answered."""
LOST_AND_CUT = "+15005550509"
"""Accepted; then the connection is cut."""
LOST_AND_HANG = "+15005550510"
"""Accepted, not answered."""

MESSAGES = {
    INVALID: 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    OPTED_OUT: 21610,
    LANDLINE: 21614,
    OUTSIDE_WINDOW: 63016,
    TOO_MANY: 20429,
    FAILING: 20500,
}
CALLS = {INVALID: 21217, "+15005550002": 21214, "+15005550003": 21215, "+15005550004": 21216, TOO_MANY: 20429, FAILING: 20500}
SENDERS = {"+15005550001": 21212, "+15005550007": 21606, "+15005550008": 21611}

LATER = {"+15005553003": 30003, "+15005553005": 30005, "+15005553007": 30007, "+15005553008": 30008, "+15005556324": 63024}
"""Accepted; what the report says in the end."""
CALLS_FAIL = {"+15005550486": "busy", "+15005550480": "no-answer", "+15005550404": "failed"}

TEXTS = {
    20003: "Authenticate",
    20404: "The requested resource was not found",
    20429: "Too Many Requests",
    20500: "Internal Server Error",
    20503: "Service is temporarily unavailable",
    21201: "No 'To' number is specified",
    21205: "Url parameter is required.",
    21211: "The 'To' number +15005550001 is not a valid phone number.",
    21212: "The 'From' number +15005550001 is not a valid phone number, shortcode, or alphanumeric sender ID.",
    21213: "'From' phone number is required",
    21214: "'To' phone number cannot be reached",
    21215: "Account not authorized to call +15005550003. Perhaps you need to enable some international permissions",
    21216: "Account not allowed to call +15005550004.",
    21217: "Phone number does not appear to be valid",
    21408: "Permission to send an SMS has not been enabled for the region indicated by the 'To' number: +15005550003.",
    21603: "A 'From' phone number is required.",
    21604: "A 'To' phone number is required.",
    21606: "The From phone number +15005550007 is not a valid, SMS-capable inbound phone number or short code for your account.",
    21610: "Attempt to send to unsubscribed recipient",
    21611: "This 'From' number has exceeded the maximum number of queued messages",
    21612: "The 'To' phone number: +15005550002, is not currently reachable using the 'From' phone number via SMS.",
    21614: "'To' number: +15005550009, is not a valid mobile number",
    21617: "The concatenated message body exceeds the 1600 character limit.",
    21619: "A text message body or media urls must be specified.",
    30003: "Unreachable destination handset",
    30005: "Unknown destination handset",
    30007: "Message filtered",
    30008: "Unknown error",
    63016: "Failed to send freeform message because you are outside the allowed window. Please use a Template.",
    63024: "Invalid message recipient",
}
