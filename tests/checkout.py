"""A copy of Keystone's code with an environment of its own, to be changed as `git pull` would."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests import apart

HEAD = re.compile(r'^HEAD = "(\d+)"$', re.MULTILINE)
LATE = "0999"  # the schema of the migrations that tests add


class Checkout:
    """A folder of code that everybody may read, and the program that runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self.reset()
        if os.getuid() == 0:
            python = apart._install(folder)
        else:
            apart._run(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"))
            python = folder / "venv" / "bin" / "python"
        (site,) = folder.glob("venv/lib/python*/site-packages")
        packages = folder / "packages"
        if not packages.exists():
            packages = Path(sysconfig.get_paths()["purelib"])
        # What stands first is found first: our code before the one that is installed.
        (site / "all.pth").write_text(
            f"{self.folder}\nimport site; site.addsitedir({str(packages)!r})\n"
        )
        self.program = python.with_name("keystone")
        self.program.write_text(f"#!{python}\nfrom jobs.cli.main import main\nmain()\n")
        self.program.chmod(0o755)

    def reset(self) -> None:
        """Restore the code of this repository."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for ours in apart.OURS:
            shutil.copytree(apart.ROOT / ours, self.folder / ours)
        # The test's own mask may be strict.
        subprocess.run(["chmod", "-R", "a+rX", self.folder], check=True, timeout=60)

    def change(self, path: str, old: str, new: str) -> None:
        """Replace a text, which must be there, in a file."""
        file = self.folder / path
        text = file.read_text()
        assert old in text, f"{path} has no {old!r}"
        file.write_text(text.replace(old, new, 1))

    def touch(self, text: str = "changed") -> None:
        """Change the code without changing what it does."""
        with (self.folder / "jobs" / "watcher.py").open("a") as file:
            file.write(f"# {text}\n")

    def add_migration(self, *, compatible: bool, upgrade: str = "", downgrade: str = "") -> None:
        """Add a migration, which adds a table `late` with one row unless it is given."""
        versions = self.folder / "jobs" / "storage" / "migrations" / "versions"
        apply = versions.parent / "apply.py"
        (head,) = HEAD.findall(apply.read_text())
        upgrade = upgrade or "op.execute('CREATE TABLE late (id INTEGER)')"
        downgrade = downgrade or "op.execute('DROP TABLE late')"
        (versions / f"{LATE}_late.py").write_text(
            f"from alembic import op\nrevision = {LATE!r}\ndown_revision = {head!r}\n"
            f"compatible = {compatible}\n"
            f"def upgrade():\n    {upgrade}\ndef downgrade():\n    {downgrade}\n"
        )
        self.change("jobs/storage/migrations/apply.py", f'HEAD = "{head}"', f'HEAD = "{LATE}"')
