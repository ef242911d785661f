"""An in-memory GitHub with statuses and webhooks."""

from datetime import datetime

from pydantic import SecretStr

from jobs.errors import GitHubError
from jobs.rules.repository_values import StatusPost
from tests.fakes.hooks import FakeHooks
from tests.fakes.scripted import Scripted


class FakeForge(Scripted, FakeHooks):
    """GitHub's statuses and webhooks.

    Tests can set `errors`, which the next posts of statuses raise one after the other, the
    attributes of `FakeHooks`, and an act for each method.
    """

    def __init__(self, journal: list[str] | None = None) -> None:
        Scripted.__init__(self, journal)
        FakeHooks.__init__(self)
        self.errors: list[GitHubError] = []
        self.posts: list[StatusPost] = []
        self.token_expires_at: datetime | None = None

    def post_status(self, post: StatusPost, token: SecretStr) -> datetime | None:
        """Store the status."""
        with self._lock:
            self._called("post_status", f"{post.context} {post.state}")
            if self.errors:
                raise self.errors.pop(0)
            self.posts.append(post)
            self.tokens.append(token.get_secret_value())
            return self.token_expires_at
