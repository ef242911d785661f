"""Asking the application directly: any peer, any header; a stream is let go of when it begins."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import anyio
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Scope

ANSWER_WITHIN_S = 60
Header = tuple[bytes, bytes]


@dataclass(frozen=True)
class Asked:
    """A request as it reaches the application."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    body: bytes = b""
    peer: str = "192.0.2.1"

    def scope(self) -> Scope:
        """Give the ASGI scope."""
        headers = {"host": "testserver", **self.headers}
        return {
            "type": "http",
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": self.query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": (self.peer, 50_000),
            "server": ("testserver", 80),
        }


@dataclass
class Answered:
    """What came back, byte for byte."""

    status: int = 0
    headers: list[Header] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str:
        """Give a header; empty when it is not there."""
        return dict(self.headers).get(name.encode(), b"").decode()

    @property
    def code(self) -> str:
        """Give the code of an error; empty when it is none."""
        if self.header("content-type") != "application/json" or self.status < 400:
            return ""
        return str(json.loads(self.body).get("error", {}).get("code", ""))


def ask(client: TestClient, asked: Asked) -> Answered:
    """Ask an application that a test client has started."""
    assert client.portal is not None, "use the fixture `client`, which is started"
    return client.portal.call(_ask, client.app, asked)


async def _ask(app: ASGIApp, asked: Asked) -> Answered:
    answered = Answered()
    pending = [{"type": "http.request", "body": asked.body, "more_body": False}]

    with anyio.fail_after(ANSWER_WITHIN_S), anyio.CancelScope() as enough:

        async def receive() -> Message:
            if pending:
                return pending.pop()
            await anyio.sleep_forever()
            raise AssertionError

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered.status, answered.headers = message["status"], message["headers"]
                if answered.header("content-type").startswith("text/event-stream"):
                    enough.cancel()
            else:
                answered.body += message.get("body", b"")

        await app(asked.scope(), receive, send)
    return answered
