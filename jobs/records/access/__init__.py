"""Who may come in: users and their passwords, the sessions of browsers, the tokens of programs.

Passwords are stored as argon2id, everything random as SHA-256; a value is never read back.
"""

from jobs.accounts import (
    SESSION_IDLE,
    SESSION_LONGEST,
    sessions_of,
    token_state,
    token_view,
    user_view,
)
from jobs.records.access.logins import (
    MOST_SESSIONS,
    SEEN_RESOLUTION,
    OpenedSession,
    close_session,
    end_sessions,
    find_session,
    note_failed_login,
    open_session,
    touch_session,
)
from jobs.records.access.shown import session_view
from jobs.records.access.tokens import (
    DEFAULT_DAYS,
    LONGEST_DAYS,
    create_token,
    find_token,
    revoke_token,
    touch_token,
)
from jobs.records.access.users import (
    add_user,
    change_user,
    check_password,
    find_user,
    hash_password,
    is_as_it_was,
    remove_user,
    set_password,
)

# isort: split
# Two files of this room have the names of these, and would take their place.
from jobs.accounts import tokens, users

__all__ = [
    "DEFAULT_DAYS",
    "LONGEST_DAYS",
    "MOST_SESSIONS",
    "SEEN_RESOLUTION",
    "SESSION_IDLE",
    "SESSION_LONGEST",
    "OpenedSession",
    "add_user",
    "change_user",
    "check_password",
    "close_session",
    "create_token",
    "end_sessions",
    "find_session",
    "find_token",
    "find_user",
    "hash_password",
    "is_as_it_was",
    "note_failed_login",
    "open_session",
    "remove_user",
    "revoke_token",
    "session_view",
    "sessions_of",
    "set_password",
    "token_state",
    "token_view",
    "tokens",
    "touch_session",
    "touch_token",
    "user_view",
    "users",
]
