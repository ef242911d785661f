"""Base images for ordinary repositories: nginx, Node.js, Python, PHP, Ruby and Hugo.

No registry is needed: apt downloads the distribution's packages, and one image is made of their
files. On it are small images that have the names, and the settings, of those that everybody uses.
Nothing is installed on this machine. The engine keeps the images, so that this takes place once.
"""

import fcntl
import hashlib
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import docker

from tests.images import own_path

PACKAGES = (
    "base-files",
    "base-passwd",
    "bash",
    "busybox",
    "coreutils",
    "cron",
    "grep",
    "gunicorn",
    "hugo",
    "nginx",
    "nodejs",
    "php-cli",
    "puma",
    "python3-django",
)
# Each is a public image, with the lines of its Dockerfile that concern who builds on it.
IMAGES = {
    "nginx:1.29": ("EXPOSE 80", "STOPSIGNAL SIGQUIT", 'CMD ["nginx", "-g", "daemon off;"]'),
    "node:24": ('CMD ["node"]',),
    "python:3.13": ('CMD ["python3"]',),
    "hugomods/hugo:0.152": ("WORKDIR /src",),
    "php:8.4-cli": ('CMD ["php", "-a"]',),
    "ruby:3.4": ('CMD ["irb"]',),
}
_NGINX = """\
server {
    listen 80;
    location / {
        root /usr/share/nginx/html;
        index index.html;
    }
}
"""
# What no program needs, a third of all.
_LEFT_OUT = (
    "./usr/share/doc",
    "./usr/share/i18n",
    "./usr/share/locale",
    "./usr/share/man",
    "./usr/lib/*/gconv",
)
_WITHIN_S = 240


def local_names(dockerfile: str) -> str:
    """Give a Dockerfile in which the public images have their names on this machine."""
    for name in IMAGES:
        dockerfile = re.sub(rf"((?:FROM |--from=){re.escape(name)})(?!\S)", _localise, dockerfile)
    return dockerfile


def _localise(found: re.Match[str]) -> str:
    before, end = re.split(r"(?<=[ =])", found[1], maxsplit=1)
    return before + _tag(end)


def _tag(name: str) -> str:
    """Name an image after what is in it."""
    told = Path(__file__).read_text() + platform.freedesktop_os_release()["PRETTY_NAME"]
    ours = "debian-" + re.sub(r"\W", "-", name.partition(":")[0])
    return f"keystone-tests/{ours}:{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def ensure_images(client: docker.DockerClient) -> None:
    """Make the images unless the engine has them."""
    with _alone():
        if not client.images.list(_tag("base")):
            _make_base(client)
        for name, lines in IMAGES.items():
            if not client.images.list(_tag(name)):
                dockerfile = "\n".join([f"FROM {_tag('base')}", *lines, ""])
                client.images.build(fileobj=BytesIO(dockerfile.encode()), tag=_tag(name), rm=True)


@contextmanager
def _alone() -> Iterator[None]:
    """Wait for other tests of this user that make the same images."""
    with own_path("debian-image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_base(client: docker.DockerClient) -> None:
    with tempfile.TemporaryDirectory(dir=own_path("."), ignore_cleanup_errors=True) as folder:
        root = Path(folder) / "root"
        _unpack(_download(Path(folder)), root)
        _configure(root)
        archive = Path(folder) / "root.tar"
        owners = ("--numeric-owner", "--owner=0", "--group=0")
        _run("tar", "-C", str(root), *owners, "-cf", str(archive), ".")
        repository, _, tag = _tag("base").partition(":")
        client.api.import_image_from_file(str(archive), repository=repository, tag=tag)


def _download(folder: Path) -> list[Path]:
    """Download the packages with all that they depend on, as for an empty machine."""
    assert shutil.which("apt-get"), "the test images are made of packages, which apt-get downloads"
    options = {
        "Dir::Cache": folder / "apt",
        "Dir::State::status": "/dev/null",
        "Debug::NoLocking": "true",
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
    }
    lists = {"Dir::State::lists": folder / "lists"}
    (folder / "apt/archives/partial").mkdir(parents=True)
    (folder / "lists/partial").mkdir(parents=True)
    install = ("install", "--download-only", *PACKAGES)
    if _apt(options, *install):
        # This machine's own lists are old or missing; only root could renew them.
        for command in (("update",), install):
            assert not (told := _apt(options | lists, *command)), told
    return sorted((folder / "apt/archives").glob("*.deb"))


def _apt(options: Mapping[str, object], *arguments: str) -> str:
    """Run apt-get, and give what it complains about; empty if it succeeds."""
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    command = ["apt-get", "--yes", *words, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_WITHIN_S, check=False)
    return (done.stderr or f"apt-get failed: {done.returncode}") if done.returncode else ""


def _unpack(packages: list[Path], root: Path) -> None:
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    left_out = [f"--exclude={path}" for path in _LEFT_OUT]
    for package in packages:
        files = root.with_name("files.tar")
        with files.open("wb") as out:
            subprocess.run(
                ["dpkg-deb", "--fsys-tarfile", package], stdout=out, timeout=_WITHIN_S, check=True
            )
        _run("tar", "-C", str(root), "--skip-old-files", *left_out, "-xf", str(files))


def _configure(root: Path) -> None:
    """Do what the packages' own scripts would do, as far as the repositories need it."""
    (php,) = (root / "usr/bin").glob("php[0-9]*")
    links = {"usr/bin/sh": "bash", "usr/bin/php": php.name, "usr/bin/python": "python3"}
    logs = {"var/log/nginx/access.log": "/dev/stdout", "var/log/nginx/error.log": "/dev/stderr"}
    for path, target in (links | logs).items():
        (root / path).unlink(missing_ok=True)
        (root / path).symlink_to(target)
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
    (root / "etc/nginx/conf.d/default.conf").write_text(_NGINX)
    for kind in ("account", "auth", "password", "session", "session-noninteractive"):
        rule = f"{kind.partition('-')[0]} required pam_permit.so\n"
        (root / f"etc/pam.d/common-{kind}").write_text(rule)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_WITHIN_S, check=False)
    assert done.returncode == 0, done.stderr
