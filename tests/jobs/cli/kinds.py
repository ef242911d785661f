"""What each command may do: read, change, or found a Keystone. A new one has to be decided on here.

Arguments are for the Keystone whose rows are those of `tests.jobs.released_rows`.
"""

from collections.abc import Iterator

from typer.core import TyperGroup

from jobs.cli.main import CONTENTS, load

Arguments = tuple[str, ...]

APPS_FILE = "apps.toml"
APPS = """
[apps.web]
memory_mb = 300
token = { env = "WEB_TOKEN" }

[apps.other]
repository = "octo/other"

[apps.other.env]
LEVEL = "info"
"""

# They look at the machine and the settings, and need no Keystone.
LOOKS: dict[str, list[Arguments]] = {
    "config": [(), ("--json",)],
    "doctor": [(), ("--json",)],
    "systemd show": [()],
}
READS: dict[str, list[Arguments]] = {
    "app list": [(), ("--json",)],
    "app show": [("web",)],
    "apply": [(APPS_FILE, "--dry-run"), (APPS_FILE, "--dry-run", "--json")],
    "audit": [(), ("--actor", "user:ada", "--json")],
    "certificate list": [()],
    "deliveries": [(), ("--outcome", "queued")],
    "env list": [("web",), ("web", "--json")],
    "logs": [("31",), ("31", "-f"), ("web",)],
    "releases": [("web",)],
    "repository list": [(), ("--json",)],
    "router": [("--print",)],
    "status": [(), ("web",), ("--json",)],
    "token list": [()],
    "user list": [()],
    "user sessions": [("ada",)],
    "webhook-secret show": [("web",)],
}
CHANGES: dict[str, list[Arguments]] = {
    "app add": [("other", "--repository", "octo/other")],
    "app remove": [("web", "--yes")],
    "app set": [("web", "--memory-mb", "300")],
    "apply": [(APPS_FILE, "--yes")],
    "backup": [("backup.tar.gz",), ("backup.tar.gz", "--without-key")],
    "cancel": [("31",)],
    "certificate remove": [("www.example.com",)],
    "certificate set": [("www.example.com", "--certificate", "chain.pem", "--key", "key.pem")],
    "deploy": [("web",)],
    "env import": [("web", ".env.web")],
    "env set": [("web", "LEVEL=info"), ("web", "LEVEL", "--secret")],
    "env unset": [("web", "API_KEY")],
    "hook install": [("web",)],
    "repository remove": [("octo/web", "--yes")],
    "repository set": [("octo/web", "--github-id", "5")],
    "rollback": [("web",)],
    "rotate-key": [(), ("--drop-old",)],
    "token create": [("robot", "--role", "viewer")],
    "token revoke": [("ci",)],
    "user add": [("bob", "--role", "viewer")],
    "user disable": [("ada",)],
    "user enable": [("ada",)],
    "user log-out": [("ada",)],
    "user remove": [("ada",)],
    "user set-password": [("ada",)],
    "user set-role": [("ada", "--role", "viewer")],
    "webhook-secret drop": [("web",)],
    "webhook-secret finish": [("web",)],
    "webhook-secret rotate": [("web",)],
    "webhook-secret set": [("web",)],
    "router": [("--write",)],
}
FOUNDS = (
    "up",
    "demo",
    "migrate",
    "restore",
    "web",
    "worker",
    "quick-worker",
    "watcher",
    "firewall",
    "router",
    "redis",
)
# They change the machine: `tests/jobs/cli/test_systemd_unit.py` tries them on a folder that stands
# for it.
OF_THE_MACHINE = ("systemd install", "systemd remove", "down", "upgrade")
# With an option that makes it another kind.
OF_TWO_KINDS = {"apply", "router"}


def every_command() -> Iterator[str]:
    """Give every command there is, with its group."""
    for name in CONTENTS:
        command = load(name)
        if isinstance(command, TyperGroup):
            yield from (f"{name} {sub}" for sub in command.commands)
        else:
            yield name


def calls(kind: dict[str, list[Arguments]]) -> list[Arguments]:
    """Give every way in which the commands of a kind are called."""
    return [(*name.split(), *given) for name, ways in kind.items() for given in ways]
