"""Source trees of tiny apps: images that start `FROM scratch` with one static binary.

No image registry is needed, and a whole build takes a fraction of a second.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from jobs.system.private_folder import ensure_private

WEB_SOURCE = Path(__file__).parent / "web.c"
DOCKERFILE = """\
FROM scratch
COPY web /web
COPY version.txt behaviour /
CMD ["/web"]
"""

AppFiles = dict[str, bytes | str]


def compile_web(folder: Path) -> Path:
    """Compile the test web server into a static binary in `folder`, unless it is there already.

    The source's first lines say what it can do. The file's name carries the source's hash.
    """
    digest = hashlib.sha256(WEB_SOURCE.read_bytes()).hexdigest()[:16]
    binary = folder / f"web-{digest}"
    if not binary.exists():
        compiler = shutil.which("gcc")
        assert compiler, "gcc is needed for the test images: apt-get install gcc libc6-dev"
        folder.mkdir(parents=True, exist_ok=True)
        # Compiled aside and renamed: tests that run at once never see half a binary.
        with tempfile.TemporaryDirectory(dir=folder) as draft:
            output = Path(draft) / "web"
            subprocess.run(
                [compiler, "-O2", "-Wall", "-static", "-pthread", "-s", "-o", output, WEB_SOURCE],
                check=True,
                timeout=120,
            )
            output.rename(binary)
    return binary


def web_binary() -> bytes:
    """Give the compiled test web server, from a cache in the temporary directory."""
    return compile_web(own_path("images")).read_bytes()


def own_path(name: str) -> Path:
    """Give a path below the temporary directory that stays, and that no other user can reach."""
    return ensure_private(Path(tempfile.gettempdir()) / f"keystone-tests-{os.getuid()}") / name


def app_files(version: str, *, behaviour: str = "", dockerfile: str | None = None) -> AppFiles:
    """Give the files of an app's repository; `web` must be committed as an executable.

    Args:
        version: what `GET /version` answers.
        behaviour: what the app does wrong: "exit N", "mute", "unhealthy", "deaf", "late MS",
            "eat MB" or "dies MS".
        dockerfile: another Dockerfile than the one that serves.
    """
    return {
        "Dockerfile": DOCKERFILE if dockerfile is None else dockerfile,
        "behaviour": behaviour,
        "version.txt": version,
        "web": web_binary(),
    }
