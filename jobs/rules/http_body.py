"""Finds the line of an HTTP answer's body that says what is wrong. Pure.

The body may be cut anywhere, and its sender may be hostile: the caller bounds the bytes, masks
secrets and removes characters that cannot be seen.
"""

import html
import re

_FIELD = re.compile(rb"^([A-Za-z-]{1,40})[ \t]*:[ \t]*([^\r\n]*)", re.MULTILINE)
_LAST_CHUNK = b"0\r\n\r\n"
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[^\r\n]*\r?\n")
_UNFINISHED = re.compile(rb"(?<!\S)\S+\Z")
_NOT_SHOWN = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style|head)\b.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL
)
_TITLE = re.compile(r"<title\b[^>]*>([^<]*)", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>?")
_MARKUP = re.compile(
    r"\s*(?:<!--|<!doctype\b|<\?xml\b|<html\b|<head\b|<body\b|<h[1-6]\b)", re.IGNORECASE
)


def is_whole(head: bytes, body: bytes) -> bool:
    """Whether all of a body has arrived, as far as the head of its answer says."""
    fields = _fields(head)
    if b"transfer-encoding" in fields:
        return body == _LAST_CHUNK or body.endswith(b"\r\n" + _LAST_CHUNK)
    length = fields.get(b"content-length", b"")
    return length.isdigit() and len(body) >= int(length[:9])


def said(head: bytes, body: bytes, *, is_cut: bool = False) -> str:
    """Give the first line of a body with text on it; of HTML its title, else its first text.

    Args:
        is_cut: whether the body goes on. Its last word is left out then: half a secret would not be
            recognised and masked.

    Returns:
        Empty when the body has no text, or is compressed.
    """
    fields = _fields(head)
    if fields.get(b"content-encoding", b"identity").lower() != b"identity":
        return ""
    if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
        body = _joined(body)
    if is_cut:
        body = _UNFINISHED.sub(b"", body)
    text = body.decode(errors="replace")
    is_html = b"html" in fields.get(b"content-type", b"").lower() or _MARKUP.match(text)
    return next(
        filter(None, map(str.strip, (_text_of(text) if is_html else text).splitlines())), ""
    )


def _fields(head: bytes) -> dict[bytes, bytes]:
    return {found[1].lower(): found[2].strip() for found in _FIELD.finditer(head)}


def _joined(body: bytes) -> bytes:
    """Join the chunks of a body; what follows a malformed or cut one is left out."""
    found, place = b"", 0
    while (size := _CHUNK.match(body, place)) is not None and int(size[1], 16):
        end = size.end() + int(size[1], 16)
        found += body[size.end() : end]
        # A line end follows each chunk.
        place = end + (2 if body[end : end + 2] == b"\r\n" else 1)
    return found


def _text_of(page: str) -> str:
    title = _TITLE.search(page)
    if title is not None and title[1].strip():
        return " ".join(html.unescape(title[1]).split())
    return html.unescape(_TAG.sub("", _NOT_SHOWN.sub("", page)))
