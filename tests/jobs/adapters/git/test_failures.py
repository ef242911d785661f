"""What git's complaints, as git 2.39 words them, mean for whoever deploys."""

import pytest

from jobs.adapters.git.failures import Attempt, explain, shown
from jobs.errors import CheckoutError, GitError, RepositoryDeniedError

ATTEMPT = Attempt(
    "octo/web",
    "the branch main",
    "the branch main does not exist in octo/web",
    has_token=True,
)
UNABLE = "fatal: unable to access 'https://github.com/octo/web.git/': "


@pytest.mark.parametrize(
    ("complaint", "sentence"),
    [
        ("fatal: could not read Username for 'https://x': terminal prompts disabled", "refused"),
        ("fatal: Authentication failed for 'https://x/'", "refused"),
        (UNABLE + "The requested URL returned error: 403", "refused"),
        ("fatal: repository 'https://github.com/octo/web.git/' not found", "was not found"),
        ("fatal: '/srv/web.git' does not appear to be a git repository", "was not found"),
        (UNABLE + "The requested URL returned error: 301", "has moved"),
        ("fatal: remote error: upload-pack: not our ref 1234", "does not exist in octo/web"),
        ("fatal: transport 'ssh' not allowed", "scheme not allowed"),
        ("error: object 12: hasDotdot\nfatal: fsck error in packed object", "as unsafe or damaged"),
    ],
)
def test_what_the_owner_can_mend_is_a_checkout_error(complaint: str, sentence: str) -> None:
    error = explain(complaint, ATTEMPT)
    assert isinstance(error, CheckoutError)
    assert sentence in str(error)


@pytest.mark.parametrize(
    "complaint",
    [
        UNABLE + "Could not resolve host: github.com",
        UNABLE + "The requested URL returned error: 503",
        UNABLE + "SSL certificate problem: unable to get local issuer certificate",
        "fatal: write error: No space left on device\nfatal: fetch-pack: invalid index-pack output",
        "fatal: the remote end hung up unexpectedly",
        "",
    ],
)
def test_anything_else_is_a_git_error_with_gits_own_words(complaint: str) -> None:
    error = explain(complaint, ATTEMPT)
    assert isinstance(error, GitError)
    assert str(error) == f"git could not fetch the branch main of octo/web: {shown(complaint)}"


def test_the_servers_own_words_come_along_when_it_denies() -> None:
    complaint = f"remote: Write access\nremote: not granted.\n{UNABLE}returned error: 403"
    error = explain(complaint, ATTEMPT)
    assert isinstance(error, RepositoryDeniedError)
    assert str(error).endswith('may not read the contents ("Write access not granted.")')
    assert not isinstance(explain("fatal: not our ref 12", ATTEMPT), RepositoryDeniedError)


def test_a_complaint_is_shown_short_and_printable() -> None:
    complaint = "remote: \x1b[31mhello\nfatal: it \x07broke" + "!" * 999
    assert shown(complaint) == ("it broke" + "!" * 999)[:300]
    assert shown("") == "it said nothing"
