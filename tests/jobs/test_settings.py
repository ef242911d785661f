"""Settings: judged together, refused with sentences that quote no value."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import ConfigurationError
from jobs.processes.configuration import (
    describe_settings,
    files_of_settings,
    read_settings,
    to_environment,
    unknown_secrets,
)
from jobs.rules.port_range import PortRange
from jobs.settings import AllSettings, Settings, WebSettings, WorkerSettings

NO_FILE = Path("/nonexistent/.env")


def read(**environ: str) -> AllSettings:
    return read_settings(AllSettings, environ, env_file=NO_FILE)


def problems(**environ: str) -> tuple[str, ...]:
    return problems_with(NO_FILE, environ)


def problems_with(env_file: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        read_settings(AllSettings, environ, env_file=env_file)
    return caught.value.problems


class TestReading:
    def test_without_any_everything_has_a_default(self) -> None:
        settings = read()
        assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 2)
        assert settings.data_dir == Path("data").resolve()
        assert settings.port_range == PortRange(first=20000, last=20999)
        assert settings.allowed_git_schemes == ("https",)

    def test_values_are_typed(self) -> None:
        settings = read(
            KEYSTONE_PORT="9000",
            KEYSTONE_PORT_RANGE="3000-3002",
            KEYSTONE_ALLOWED_GIT_SCHEMES="https, file",
            KEYSTONE_PUBLIC_URL="https://deploy.example.org/",
        )
        assert settings.port == 9000
        assert [port for port in range(2999, 3004) if port in settings.port_range] == [
            3000,
            3001,
            3002,
        ]
        assert len(settings.port_range) == 3
        assert settings.allowed_git_schemes == ("https", "file")
        assert settings.effective_public_url == "https://deploy.example.org"

    def test_all_mistakes_are_told_together(self) -> None:
        found = problems(
            KEYSTONE_PORT="ninety",
            KEYSTONE_WORKERS="0",
            KEYSTONE_PORT_RANGE="3-2",
            KEYSTONE_DATABASE_URL="mysql://x",
            KEYSTONE_REDIS_URL="http://x",
            KEYSTONE_GITHUB_API_URL="api.github.com",
            KEYSTONE_ALLOWED_GIT_SCHEMES="ssh",
            KEYSTONE_APP_BIND="nowhere",
            KEYSTONE_DOMAIN_BIND="nowhere",
            KEYSTONE_SECRET_KEY="a key that is long enough, short",
            KEYSTONE_ADMIN_PASSWORD="short",
            KEYSTONE_PROT="8000",
        )
        assert {sentence.partition(":")[0] for sentence in found} == {
            "KEYSTONE_PORT",
            "KEYSTONE_WORKERS",
            "KEYSTONE_PORT_RANGE",
            "KEYSTONE_DATABASE_URL",
            "KEYSTONE_REDIS_URL",
            "KEYSTONE_GITHUB_API_URL",
            "KEYSTONE_ALLOWED_GIT_SCHEMES",
            "KEYSTONE_APP_BIND",
            "KEYSTONE_DOMAIN_BIND",
            "KEYSTONE_SECRET_KEY",
            "KEYSTONE_ADMIN_PASSWORD",
            "KEYSTONE_PROT",
        }

    def test_an_unknown_name_is_refused(self) -> None:
        assert problems(KEYSTONE_PROT="1") == (
            "KEYSTONE_PROT: no such setting; `keystone config` lists them all",
        )

    def test_names_of_others_are_left_alone(self) -> None:
        assert read(HOME="/root", PORT="1").port == 8000

    @given(value=st.text("0123456789abcdefXYZ-²½:/", min_size=6, max_size=30))
    def test_no_value_is_quoted(self, value: str) -> None:
        for name in ("PORT", "WORKERS", "PORT_RANGE", "DATABASE_URL", "REDIS_URL", "PUBLIC_URL"):
            try:
                read(**{f"KEYSTONE_{name}": value})
            except ConfigurationError as exc:
                assert value not in str(exc)  # noqa: PT017

    def test_an_empty_value_means_not_set(self) -> None:
        assert read(KEYSTONE_PORT="", KEYSTONE_GITHUB_TOKEN_FILE="").port == 8000

    def test_a_process_is_given_its_own_secrets_only(self) -> None:
        environ = {
            "KEYSTONE_GITHUB_TOKEN": "ghp_token",
            "KEYSTONE_WEBHOOK_SECRET": "hook",
            "KEYSTONE_ADMIN_PASSWORD": "password",
        }
        web = read_settings(WebSettings, environ, env_file=NO_FILE)
        worker = read_settings(WorkerSettings, environ, env_file=NO_FILE)
        assert not hasattr(web, "github_token")
        assert not hasattr(worker, "webhook_secret")
        assert not hasattr(worker, "admin_password")
        assert worker.github_token.get_secret_value() == "ghp_token"


class TestFiles:
    def test_the_environment_wins_over_the_file(self, tmp_path: Path) -> None:
        file = tmp_path / ".env"
        file.write_text("KEYSTONE_PORT=1000\nKEYSTONE_HOST=0.0.0.0\nOTHER=1\n")
        settings = read_settings(AllSettings, {"KEYSTONE_PORT": "2000"}, env_file=file)
        assert (settings.port, settings.host) == (2000, "0.0.0.0")

    def test_unknown_names_in_the_file_are_refused(self, tmp_path: Path) -> None:
        file = tmp_path / ".env"
        file.write_text("KEYSTONE_PROT=1000\n")
        assert problems_with(file, {}) == (
            "KEYSTONE_PROT: no such setting; `keystone config` lists them all",
        )

    def test_dollars_in_the_file_are_just_dollars(self, tmp_path: Path) -> None:
        file = tmp_path / ".env"
        file.write_text("KEYSTONE_ADMIN_PASSWORD=a$HOME$b\n")
        settings = read_settings(AllSettings, {}, env_file=file)
        assert settings.admin_password.get_secret_value() == "a$HOME$b"

    def test_a_secret_may_stand_in_a_file_of_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("ghp_token\n")
        settings = read(KEYSTONE_GITHUB_TOKEN_FILE=str(tmp_path / "token"))
        assert settings.github_token.get_secret_value() == "ghp_token"

    def test_an_address_with_a_password_may_too(self, tmp_path: Path) -> None:
        (tmp_path / "url").write_text("redis://user:hunter2@host/0\n")
        settings = read(KEYSTONE_REDIS_URL_FILE=str(tmp_path / "url"))
        assert settings.redis_url == "redis://user:hunter2@host/0"

    def test_only_secrets_may(self, tmp_path: Path) -> None:
        assert "no such setting" in problems(KEYSTONE_PORT_FILE=str(tmp_path))[0]

    def test_both_are_refused(self, tmp_path: Path) -> None:
        found = problems(KEYSTONE_GITHUB_TOKEN="x", KEYSTONE_GITHUB_TOKEN_FILE=str(tmp_path))
        assert found == (
            "KEYSTONE_GITHUB_TOKEN_FILE: KEYSTONE_GITHUB_TOKEN is set too; keep one of them",
        )

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (None, "its file cannot be read (No such file or directory)"),
            (b"\xff\xfe\x00", "its file holds no text in UTF-8, but in UTF-16: save it as UTF-8"),
            (b"x" * (64 * 1024 + 1), "its file is too long: at most 65536 bytes"),
        ],
        ids=["none", "bytes", "long"],
    )
    def test_a_file_that_is_no_use_is_a_mistake_like_any_other(
        self, tmp_path: Path, content: bytes | None, reason: str
    ) -> None:
        if content is not None:
            (tmp_path / "token").write_bytes(content)
        found = problems(KEYSTONE_GITHUB_TOKEN_FILE=str(tmp_path / "token"), KEYSTONE_PORT="x")
        assert f"KEYSTONE_GITHUB_TOKEN_FILE: {reason}" in found
        assert len(found) == 2

    def test_a_pipe_is_refused_and_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert problems(KEYSTONE_GITHUB_TOKEN_FILE=str(tmp_path / "pipe")) == (
            "KEYSTONE_GITHUB_TOKEN_FILE: its file is not an ordinary file",
        )

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"KEYSTONE_PORT=8000 # \xe9t\xe9", "holds no text"),
            (b"\n" * 2**20 + b"\n", "is too long"),
        ],
        ids=["another encoding", "long"],
    )
    def test_an_env_file_that_is_no_use_is_told(
        self, tmp_path: Path, content: bytes, reason: str
    ) -> None:
        (tmp_path / ".env").write_bytes(content)
        (problem,) = problems_with(tmp_path / ".env", {})
        assert problem.startswith(f"{tmp_path}/.env {reason}")

    def test_the_files_are_known_by_name(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("KEYSTONE_SECRET_KEY_FILE=/srv/key\nKEYSTONE_PORT_FILE=/x\n")
        environ = {"KEYSTONE_DATABASE_URL_FILE": "/srv/url", "OTHER_FILE": "/y"}
        assert files_of_settings(environ, env_file=tmp_path / ".env") == [
            tmp_path / ".env",
            Path("/srv/key"),
            Path("/srv/url"),
        ]


class TestAddresses:
    @pytest.mark.parametrize("name", ["KEYSTONE_PUBLIC_URL", "KEYSTONE_GITHUB_API_URL"])
    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ("https://ada:hunter2@ks.example.com", "must not hold a user name or a password"),
            ("https://hunter2@ks.example.com/x", "must not hold a user name or a password"),
            ("https://ks.example.com/?token=hunter2", "must not hold a query or a fragment"),
            ("https://ks.example.com#hunter2", "must not hold a query or a fragment"),
            ("https://ks.example.com?", "must not hold a query or a fragment"),
            ("ftp://hunter2", "must be a URL that begins with http:// or https://"),
            ("hunter2", "must be a URL that begins with http:// or https://"),
            ("https://:443", "must be a URL that begins with http:// or https://"),
            ("https://ks.example.com:hunter2", "is not a URL like"),
            ("https://[hunter2", "is not a URL like"),
            ("https://ks.example.com/\u202ehunter2", "holds characters that no URL has"),
            ("https://ks.exam\nple.com", "holds characters that no URL has"),
        ],
    )
    def test_what_must_not_be_shown_is_refused_and_not_quoted(
        self, name: str, value: str, reason: str
    ) -> None:
        (problem,) = problems(**{name: value})
        assert problem.startswith(f"{name}: {reason}")
        assert "hunter2" not in problem

    @pytest.mark.parametrize(
        ("value", "kept"),
        [
            ("https://ks.example.com", "https://ks.example.com"),
            ("https://ks.example.com//", "https://ks.example.com"),
            ("  https://ks.example.com/ ", "https://ks.example.com"),
            ("HTTPS://KS.Example.COM", "https://ks.example.com"),
            ("https://ks.example.com.", "https://ks.example.com"),
            ("https://ks.example.com:443/", "https://ks.example.com"),
            ("http://ks.example.com:80", "http://ks.example.com"),
            ("https://ks.example.com:80", "https://ks.example.com:80"),
            ("https://Bücher.example", "https://xn--bcher-kva.example"),
            ("http://[::1]:8000/", "http://[::1]:8000"),
            ("http://[0:0::1]", "http://[::1]"),
            ("http://localhost:8000", "http://localhost:8000"),
            ("http://ks_1", "http://ks_1"),
        ],
    )
    def test_the_own_url_is_kept_as_browsers_write_it(self, value: str, kept: str) -> None:
        assert read(KEYSTONE_PUBLIC_URL=value).effective_public_url == kept

    @pytest.mark.parametrize("value", ["https://ks.example.com/ks", "https://ks.example.com/ks/"])
    def test_the_own_url_has_no_path_and_the_apis_may_have_one(self, value: str) -> None:
        (problem,) = problems(KEYSTONE_PUBLIC_URL=value)
        assert problem.startswith("KEYSTONE_PUBLIC_URL: must not have a path")
        assert read(KEYSTONE_GITHUB_API_URL=value).github_api_url == "https://ks.example.com/ks"

    @pytest.mark.parametrize(
        "value", ["https://1.2.3", "https://a..b", "https://-a b", "http://x:0"]
    )
    def test_the_own_url_names_a_host(self, value: str) -> None:
        (problem,) = problems(KEYSTONE_PUBLIC_URL=value)
        assert problem.startswith("KEYSTONE_PUBLIC_URL: ")

    def test_without_one_it_is_where_the_web_process_listens(self) -> None:
        assert read(KEYSTONE_HOST="::1").effective_public_url == "http://[::1]:8000"

    @pytest.mark.parametrize("value", ["https://github.com", "https://www.github.com/"])
    def test_githubs_pages_are_not_its_api(self, value: str) -> None:
        (problem,) = problems(KEYSTONE_GITHUB_API_URL=value)
        assert "https://api.github.com" in problem

    @pytest.mark.parametrize(
        "value",
        [
            "redis://host",
            "redis://user:a%2Fb@host:6379/1?health_check_interval=3",
            "rediss://[::1]:6380/0",
            "unix:///run/redis.sock?db=2",
            "unix://:hunter2@/run/redis.sock",
        ],
    )
    def test_a_redis_is_kept_as_it_is_given(self, value: str) -> None:
        assert read(KEYSTONE_REDIS_URL=value).effective_redis_url == value

    @pytest.mark.parametrize(
        "value",
        [
            "redis://",
            "redis:///0",
            "redis://host/cache",
            "redis://host/0/1",
            "redis://host/0#hunter2",
            "unix://run/redis.sock",
            "unix:///",
        ],
    )
    def test_what_redis_py_would_ignore_in_a_url_is_refused(self, value: str) -> None:
        (problem,) = problems(KEYSTONE_REDIS_URL=value)
        assert problem.startswith("KEYSTONE_REDIS_URL: must be like")
        assert "hunter2" not in problem

    @pytest.mark.parametrize("value", ["sqlite:///", "sqlite:///:memory:"])
    def test_a_database_of_each_process_is_refused(self, value: str) -> None:
        (problem,) = problems(KEYSTONE_DATABASE_URL=value)
        assert problem.startswith("KEYSTONE_DATABASE_URL: must name a file")


class TestShowing:
    def test_secrets_are_only_said_to_be_set(self) -> None:
        settings = read(
            KEYSTONE_GITHUB_TOKEN="ghp_token",
            KEYSTONE_REDIS_URL="redis://user:hunter2@host:6379/0",
            KEYSTONE_DATABASE_URL="postgresql+psycopg://user:hunter2@host/db",
        )
        shown = describe_settings(settings)
        assert shown["KEYSTONE_GITHUB_TOKEN"] == "set"
        assert shown["KEYSTONE_WEBHOOK_SECRET"] == "not set"
        assert shown["KEYSTONE_REDIS_URL"] == "redis://…@host:6379/0"
        assert shown["KEYSTONE_PORT_RANGE"] == "20000-20999"
        assert "hunter2" not in str(shown)
        assert "ghp_token" not in f"{shown}{settings!r}"

    @pytest.mark.parametrize(
        ("name", "url", "told"),
        [
            ("REDIS_URL", "redis://host:6379/0", "redis://host:6379/0"),
            ("REDIS_URL", "redis://u:a@b:hunter2@host/0", "redis://…@host/0"),
            ("REDIS_URL", "unix:///r.sock?db=0&password=hunter2", "unix:///r.sock?db=…&password=…"),
            (
                "DATABASE_URL",
                "postgresql+psycopg://u@h/db?password=hunter2@",
                "postgresql+psycopg://…@",
            ),
            (
                "DATABASE_URL",
                "postgresql+psycopg://u@h/db?password=hunter2",
                "postgresql+psycopg://…@h/db?password=…",
            ),
            ("REDIS_URL", "redis://u:hunter2?@host/0", "redis://…@host/0"),
        ],
    )
    def test_a_url_is_told_without_what_may_be_a_password(
        self, name: str, url: str, told: str
    ) -> None:
        shown = describe_settings(read(**{f"KEYSTONE_{name}": url}))
        assert shown[f"KEYSTONE_{name}"] == told

    def test_every_setting_is_described(self) -> None:
        assert all(field.description for field in AllSettings.model_fields.values())


class TestDomainPorts:
    @pytest.mark.parametrize(
        ("name", "environ"),
        [
            ("HTTP", {"KEYSTONE_PORT": "80", "KEYSTONE_HTTP_PORT": "80"}),
            ("HTTPS", {"KEYSTONE_HTTP_PORT": "8080", "KEYSTONE_HTTPS_PORT": "8080"}),
            ("HTTPS", {"KEYSTONE_PORT": "8443", "KEYSTONE_HTTPS_PORT": "8443"}),
            ("HTTP", {"KEYSTONE_HTTP_PORT": "20005"}),
            ("HTTPS", {"KEYSTONE_PORT_RANGE": "400-500", "KEYSTONE_HTTPS_PORT": "443"}),
        ],
    )
    def test_a_port_is_used_once(self, name: str, environ: dict[str, str]) -> None:
        (problem,) = problems(**environ)
        assert problem.startswith(f"KEYSTONE_{name}_PORT: is ")
        assert problem.endswith("choose another, or 0")

    @pytest.mark.parametrize(
        ("environ", "expected"),
        [
            ({}, (80, 443)),
            ({"KEYSTONE_PORT": "80"}, (0, 443)),
            ({"KEYSTONE_HTTP_PORT": "443"}, (443, 0)),
            ({"KEYSTONE_PORT_RANGE": "80-500"}, (0, 0)),
        ],
    )
    def test_what_is_used_already_is_left_alone_unless_it_is_asked_for(
        self, environ: dict[str, str], expected: tuple[int, int]
    ) -> None:
        settings = read(**environ)
        assert (settings.http_port, settings.https_port) == expected

    def test_both_may_be_off(self) -> None:
        settings = read(KEYSTONE_HTTP_PORT="0", KEYSTONE_HTTPS_PORT="0")
        assert settings.http_port == settings.https_port == 0


class TestFolders:
    def test_everything_lives_in_the_data_directory(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path)
        assert settings.effective_database_url == f"sqlite:///{tmp_path}/keystone.db"
        assert settings.logs_dir.parent == settings.mirrors_dir.parent == tmp_path

    def test_a_short_path_holds_the_sockets(self) -> None:
        assert Settings(data_dir=Path("/srv/ks")).socket_dir == Path("/srv/ks/run")

    def test_a_long_path_gives_them_a_short_one(self) -> None:
        socket_dir = Settings(data_dir=Path("/srv") / ("x" * 100)).socket_dir
        assert len(str(socket_dir)) < 70
        assert socket_dir != Settings(data_dir=Path("/srv") / ("y" * 100)).socket_dir


class TestHandingOn:
    """What `keystone up` has read, as variables of the parts that it starts."""

    def test_the_same_settings_are_read_again_in_another_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "token").write_text("a token\n")
        environ = {
            "KEYSTONE_DATA_DIR": "./data",
            "KEYSTONE_DATABASE_URL": "sqlite:///here/keystone.db",
            "KEYSTONE_ROUTER_SOCKET": "run/haproxy.sock",
            "KEYSTONE_PORT": "8000",
            "KEYSTONE_PORT_RANGE": "21000-21999",
            "KEYSTONE_HTTP_PORT": "0",
            "KEYSTONE_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8",
            "KEYSTONE_ALLOWED_GIT_SCHEMES": "https,file",
            "KEYSTONE_SETTINGS_PAGES": "off",
            "KEYSTONE_SECRET_KEY": "a key that is long enough, another that is long enough",
            "KEYSTONE_GITHUB_TOKEN_FILE": str(tmp_path / "token"),
        }
        monkeypatch.chdir(tmp_path)
        read = read_settings(AllSettings, environ, env_file=tmp_path / "none")
        handed = to_environment(read)
        monkeypatch.chdir("/")
        again = read_settings(AllSettings, handed, env_file=tmp_path / "none")
        assert again == read
        assert again.database_url == f"sqlite:///{tmp_path}/here/keystone.db"
        assert again.router_socket == f"{tmp_path}/run/haproxy.sock"
        assert not any(name.endswith("_FILE") for name in handed)

    def test_what_is_not_set_stays_so(self, tmp_path: Path) -> None:
        read = read_settings(AllSettings, {}, env_file=tmp_path / "none")
        handed = to_environment(read)
        assert read_settings(AllSettings, handed, env_file=tmp_path / "none") == read
        assert "KEYSTONE_SECRET_KEY" not in handed

    @pytest.mark.parametrize(
        ("wanted", "untold"),
        [
            (Settings, {"GITHUB_TOKEN", "WEBHOOK_SECRET", "ADMIN_PASSWORD"}),
            (WebSettings, {"GITHUB_TOKEN", "ADMIN_PASSWORD"}),
            (WorkerSettings, {"WEBHOOK_SECRET", "ADMIN_PASSWORD"}),
        ],
    )
    def test_each_part_is_told_its_own_secrets_alone(
        self, wanted: type[Settings], untold: set[str]
    ) -> None:
        assert set(unknown_secrets(wanted)) == {f"KEYSTONE_{name}" for name in untold}


def test_the_sockets_of_roots_long_path_are_where_nobody_else_can_make_any(
    tmp_path: Path,
) -> None:
    folder = tmp_path / ("x" * 80)
    folder.mkdir()
    if os.getuid() == 0:
        assert Settings(data_dir=folder).socket_dir.parent == Path("/run")
        os.chown(folder, 12345, 12345)
        theirs = Settings(data_dir=folder).socket_dir
        assert theirs.parent == Path(tempfile.gettempdir())
        # The same for everybody, whoever asks.
        assert "-12345-" in theirs.name
