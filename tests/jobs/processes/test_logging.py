"""Tests of `jobs/processes/logging.py`."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from pydantic import SecretStr

from jobs.processes.logging import JsonFormatter, RedactingFilter, masking
from jobs.rules.redaction import MASK, Redactor

SECRET = SecretStr("s3cr3t/t0ken+value")


def _fetch(*, fails: bool) -> None:
    if fails:
        raise ValueError(f"cannot fetch https://{SECRET.get_secret_value()}@host")


class TestProcessLogs:
    def record(self, message: str, *args: object, failed: bool = False) -> dict[str, object]:
        record = logging.LogRecord("jobs", logging.ERROR, __file__, 1, message, args, None)
        try:
            _fetch(fails=failed)
        except ValueError:
            record.exc_info = sys.exc_info()
        record.deployment = 7
        assert RedactingFilter(Redactor([SECRET])).filter(record)
        found: dict[str, object] = json.loads(JsonFormatter().format(record))
        return found

    def test_a_line_is_json_with_the_extras(self) -> None:
        found = self.record("deployment %d ended", 7)
        assert (found["message"], found["level"]) == ("deployment 7 ended", "error")
        assert found["deployment"] == 7
        assert "error" not in found

    def test_secrets_in_the_arguments_are_masked(self) -> None:
        found = self.record("token %s", SECRET.get_secret_value())
        assert found["message"] == f"token {MASK}"

    def test_it_is_one_line_that_hides_nothing(self) -> None:
        found = self.record(
            "the sender \u202eada\n\x1b[8m%s", f"x\x9b2K{SECRET.get_secret_value()}"
        )
        assert found["message"] == f"the sender ada\nx{MASK}"

    def test_secrets_of_what_is_being_done_are_masked_while_it_is(self) -> None:
        with masking(Redactor([SecretStr("of-the-app")])):
            assert self.record("it is of-the-app")["message"] == f"it is {MASK}"
        assert self.record("it is of-the-app")["message"] == "it is of-the-app"

    def test_what_ends_a_process_is_masked_too(self) -> None:
        code = (
            "from pydantic import SecretStr\n"
            "from jobs.processes.logging import set_up_logging\n"
            "from jobs.rules.redaction import Redactor\n"
            "set_up_logging(Redactor([SecretStr('s3cr3t-value')]))\n"
            "raise ValueError('s3cr3t' + chr(8203) + '-value')\n"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
        )
        (line,) = ended.stderr.splitlines()
        assert ended.returncode == 1
        assert f"ValueError: {MASK}" in json.loads(line)["error"]
        assert "s3cr3t" not in line.replace("'s3cr3t", "")

    def test_secrets_in_a_traceback_are_masked(self) -> None:
        found = self.record("it failed", failed=True)
        assert f"ValueError: cannot fetch https://{MASK}@host" in str(found["error"])
        assert "s3cr3t" not in json.dumps(found)


def test_the_journal_is_told_the_level(tmp_path: Path) -> None:
    code = (
        "import logging\n"
        "from jobs.processes.logging import set_up_logging\n"
        "from jobs.rules.redaction import Redactor\n"
        "set_up_logging(Redactor([]))\n"
        "logging.info('one')\nlogging.warning('two')\nlogging.error('three')\n"
    )
    file = tmp_path / "journal"
    for in_journal in (True, False):
        with file.open("wb") as errors:
            found = os.fstat(errors.fileno())
            stream = f"{found.st_dev}:{found.st_ino if in_journal else 0}"
            subprocess.run(
                [sys.executable, "-c", code],
                stderr=errors,
                env=os.environ | {"JOURNAL_STREAM": stream},
                check=True,
                timeout=60,
            )
        begin = ["<6>{", "<4>{", "<3>{"] if in_journal else ["{"] * 3
        assert [line[: len(begin[0])] for line in file.read_text().splitlines()] == begin
