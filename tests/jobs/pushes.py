"""A push of the app's branch, and the rule of an app that deploys it: to be changed by tests."""

from jobs.rules.triggers import Push, Rule

PUSH = Push(
    github_id=1,
    full_name="octo/web",
    ref="refs/heads/main",
    before="a" * 40,
    commit_sha="b" * 40,
    deleted=False,
    message="Change something",
    author="Ada",
    sender="octocat",
    pushed_at=1_700_000_000,
)
RULE = Rule(app="web", branch="main", auto_deploy=True)
