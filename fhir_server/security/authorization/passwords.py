"""Passwords (argon2id) and one-time passwords (TOTP, RFC 6238).

Hashing costs tens of milliseconds and 64 MiB, so whoever serves others calls it in a thread.
"""

import time
from base64 import b64encode
from secrets import token_bytes
from typing import Final

import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import ARGON2_VERSION

SHORTEST: Final = 12
LONGEST: Final = 1024
"""In characters; argon2 would take any length, and time for it."""
ISSUER: Final = "FHIR server"
_hasher = PasswordHasher()
_STEP: Final = 30


class WeakPasswordError(ValueError):
    """The password is not taken; the message says why."""


def hashed(password: str, name: str = "") -> str:
    """Return the argon2id hash of a new password of the user `name`.

    Raises:
        WeakPasswordError: it is too short, too long, or says the user's name (NIST SP 800-63B asks for no more).
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise WeakPasswordError(f"A password has {SHORTEST} to {LONGEST} characters.")
    if len(set(password)) < SHORTEST // 3 or (name and name in password.casefold()):
        raise WeakPasswordError("The password is too easy to guess: it repeats few characters, or holds the login name.")
    return _hasher.hash(password)


def matches(hash_: str, password: str) -> bool:
    """Tell whether the password is the one of the hash, in the same time for an empty hash as for a wrong password."""
    if len(password) > LONGEST:
        return False
    try:
        right = _hasher.verify(hash_ or _of_nobody(), password)
    except (VerificationError, InvalidHashError):
        return False
    return right and bool(hash_)


def _of_nobody() -> str:
    """Return a hash like those of today, made up: it takes as long to check, and no time to make when the process starts."""
    salt, found = (b64encode(token_bytes(size)).rstrip(b"=").decode() for size in (_hasher.salt_len, _hasher.hash_len))
    costs = f"m={_hasher.memory_cost},t={_hasher.time_cost},p={_hasher.parallelism}"
    return f"$argon2id$v={ARGON2_VERSION}${costs}${salt}${found}"


def is_outdated(hash_: str) -> bool:
    """Tell whether the hash was made with weaker parameters than today's."""
    return _hasher.check_needs_rehash(hash_)


def new_totp_secret() -> str:
    """Return a secret for an authenticator app, in base32."""
    return pyotp.random_base32()


def totp_uri(secret: str, name: str) -> str:
    """Return the `otpauth:` URI that an authenticator app takes, as a QR code or by hand."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=ISSUER)


def totp_counter(secret: str, code: str, now: float | None = None) -> int | None:
    """Return the counter that a one-time password belongs to, one step of clock skew allowed; None when it is wrong."""
    current = int((time.time() if now is None else now) // _STEP)
    totp = pyotp.TOTP(secret)
    digits = code.replace(" ", "")
    for counter in (current, current - 1, current + 1):
        if len(digits) == totp.digits and pyotp.utils.strings_equal(totp.generate_otp(counter), digits):
            return counter
    return None
