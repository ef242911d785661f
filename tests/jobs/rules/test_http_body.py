"""The line of an answer's body that says what is wrong."""

import pytest

from jobs.rules.http_body import said

PLAIN = b"HTTP/1.1 500 x\r\nContent-Type: text/plain"
CHUNKED = PLAIN + b"\r\nTransfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("head", "body", "told"),
    [
        (PLAIN, b"cannot read KEY=0123456", "cannot read"),
        (PLAIN, b"KEY=0123456", ""),
        (PLAIN, b"busy\nKEY=0123456", "busy"),
        (CHUNKED, b"18\r\ncannot read KEY=012345", "cannot read"),
    ],
)
def test_the_last_word_of_a_body_that_goes_on_is_left_out(
    head: bytes, body: bytes, told: str
) -> None:
    """Half a secret would not be masked."""
    assert said(head, body, is_cut=True) == told
