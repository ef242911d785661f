"""Which variables look like secrets, and which secrets can be masked in logs. Pure.

A new variable whose kind nobody names is a secret if `looks_secret` says so. A secret that ordinary
logs hold anyway ("production", "8080") is not masked: masking it would hide the log and not the
secret. `is_masked` is the only place that decides this.
"""

import re


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# --- Names -------------------------------------------------------------------------------------

# A name with one of these words is that of a secret, whatever its value is.
SURE = _set(
    "CREDENTIAL CREDENTIALS DBPASS PASS PASSPHRASE PASSWD PASSWORD PASSWORDS PWD SECRET SECRETS"
)
# A name with one of these words is that of a secret, unless the value is a number or a switch.
LIKELY = _set("AUTH DSN KEY KEYS PAT PRIVATE SALT TOKEN TOKENS")
# The last word of names that say something about a secret (AUTH_URL, PASSWORD_FILE), and hold none.
ABOUT = _set(
    "ALGORITHM AUDIENCE DAYS DIR DOMAIN ENABLED ENDPOINT EXPIRY FILE FOLDER HEADER HOST HOURS "
    "ISSUER LENGTH METHOD MINUTES MODE NAME PATH PORT PROVIDER REALM REGION SECONDS SIZE TIMEOUT "
    "TTL TYPE URI URL USER USERNAME VERSION"
)
# Names with one of these words are of values that browsers are given (NEXT_PUBLIC_API_KEY).
PUBLIC = _set("PUBLIC PUBLISHABLE")
# Words that are often written without a sign before them: PGPASSWORD, ACCESSTOKEN.
ENDINGS = ("PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "APIKEY")

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SWITCH_OR_NUMBER = re.compile(
    r"(?:true|false|yes|no|on|off|none|null|enabled|disabled|-?[0-9.]{0,12})", re.IGNORECASE
)
_URL_WITH_PASSWORD = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s/?#@:]{0,500}:[^\s/?#@]{1,500}@"
)
_PASSWORD_IN_TEXT = re.compile(
    r"(?:^|[\s;?&])(?:password|passwd|pwd|accountkey|sharedaccesskey) ?= ?[^\s;&]", re.IGNORECASE
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY")


def looks_secret(name: str, value: str) -> bool:
    """Whether a variable is probably a secret, by its name, or by a password in its value."""
    if any(found.search(value) for found in (_URL_WITH_PASSWORD, _PASSWORD_IN_TEXT, _PRIVATE_KEY)):
        return True
    words = [word.upper() for word in _WORD.findall(name)]
    if not words or words[-1] in ABOUT or PUBLIC.intersection(words):
        return False
    if SURE.intersection(words) or any(word.endswith(ENDINGS) for word in words):
        return True
    return bool(LIKELY.intersection(words)) and not _SWITCH_OR_NUMBER.fullmatch(value)


# --- Values --------------------------------------------------------------------------------------

# Shorter values occur by chance in ordinary text.
SHORTEST_MASKED = 4
# Numbers of at most so many digits are ports, years, counts and sizes in ordinary text.
LONGEST_NUMBER = 5
# Words that ordinary logs hold, and that people nevertheless put into variables.
COMMON_WORDS = _set(
    "admin administrator always application automatic backend cache changeme client connection "
    "console database debug default demo deploy deployment develop developer development disable "
    "disabled docker email enable enabled error example false fatal file frontend github guest "
    "hidden http https info information internal json local localhost login mail main mariadb "
    "master memory message mongo mongodb mysql never nginx node none null oracle password "
    "postgres postgresql private prod production public python rabbitmq redis release required "
    "root ruby secret server service sqlite stage staging start stop strict system test testing "
    "text token trace true undefined user username utf-8 utf8 value verbose warn warning "
    "worker"
)


def is_masked(value: str) -> bool:
    """Whether logs mask a secret value, or one line of it; false for what occurs in every log."""
    plain = value.strip()
    if len(plain) < SHORTEST_MASKED or plain.casefold() in COMMON_WORDS:
        return False
    return not (len(plain) <= LONGEST_NUMBER and plain.isascii() and plain.isdigit())


def unmasked_note(name: str, value: str) -> str:
    """Say that logs will show a secret, because of its value; "" if they mask it."""
    if not value or any(is_masked(line) for line in value.splitlines()):
        return ""
    return (
        f"logs show the value of {name}: it is a common word, a short number, or has fewer than "
        f"{SHORTEST_MASKED} characters, and masking it would hide ordinary text; choose a longer, "
        "random value if it protects something"
    )
