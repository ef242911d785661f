"""Which requests are deliveries."""

import pytest

from receiver.webhook_path import is_delivery


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/webhooks/github", True),
        ("POST", "/webhooks/github/", True),
        ("POST", "/webhooks/github//", True),
        ("POST", "//webhooks/github", False),
        ("GET", "/webhooks/github", False),
        ("POST", "/webhooks/gitlab", False),
    ],
)
def test_which_paths_are_the_webhooks(method: str, path: str, *, expected: bool) -> None:
    assert is_delivery({"method": method, "path": path}) is expected
