"""Variables: their names, `.env` files, and what a release keeps of them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from jobs.errors import ConfigurationError
from jobs.rules.mistakes import MOST_MISTAKES
from jobs.rules.variables import (
    LARGEST_VALUE,
    RESERVED,
    NewValue,
    Variable,
    ensure_variable,
    parse_env_file,
    secrets_of,
)
from jobs.storage.environments import open_environment, seal_environment
from jobs.storage.vault import Vault

PLAIN = "hunter2hunter2"
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
values = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


@pytest.fixture(scope="module")
def vault() -> Vault:
    return Vault([SecretStr("a key that only the tests use")])


def read(text: str) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in parse_env_file(text).items()}


class TestFiles:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", {}),
            ("# nothing but a comment\n\n", {}),
            ("A=1\nB=2\n", {"A": "1", "B": "2"}),
            ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
            ("A=1\nA=2", {"A": "2"}),
            ("A=", {"A": ""}),
            (" A = 1 \n", {"A": "1"}),
            ("export A=1", {"A": "1"}),
            ("A=1 # a comment", {"A": "1"}),
            ("A=a#b", {"A": "a#b"}),
            ("A='x y # no comment'", {"A": "x y # no comment"}),
            ('A="x \\"y\\"\\nz"', {"A": 'x "y"\nz'}),
            ("A='x\\ny'", {"A": "x\\ny"}),
            ("A='two\nlines'\nB=1", {"A": "two\nlines", "B": "1"}),
            ("A=https://example.org/?a=b&c=d", {"A": "https://example.org/?a=b&c=d"}),
            ("\ufeffA=1\nB=2", {"A": "1", "B": "2"}),
            ("A='two\r\nlines'\r\nB=1\r\n", {"A": "two\nlines", "B": "1"}),
            ("discovery.type=single-node\nx-y=1", {"discovery.type": "single-node", "x-y": "1"}),
            ("ConnectionStrings:Db=x\nlist[0]=y", {"ConnectionStrings:Db": "x", "list[0]": "y"}),
        ],
    )
    def test_they_are_read_as_people_write_them(self, text: str, expected: dict[str, str]) -> None:
        assert read(text) == expected

    @pytest.mark.parametrize("value", ["$HOME", "${HOME}", "${A:-x}", "$(id)", "`id`", "~", "*"])
    def test_nothing_is_expanded(self, value: str) -> None:
        assert read(f"A=1\nB={value}\nC='{value}'\nD=\"{value}\"") == {
            "A": "1",
            **dict.fromkeys("BCD", value),
        }

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("A=1\nB", "line 2: B has no value; write B= "),
            (f"A=1\n{PLAIN} and more\nB=2", "line 2: is not NAME=value"),
            (f"A='{PLAIN}\nB=2", "line 1: is not NAME=value"),
            (f"={PLAIN}", "line 1: is not NAME=value"),
            (f"-A={PLAIN}", "line 1: '-A': a variable's name has letters"),
            (f"'A B'={PLAIN}", "line 1: 'A B': a variable's name has letters"),
            (f"\n\r\nPORT={PLAIN}", "line 3: PORT: Keystone sets this one itself"),
            (f"A={PLAIN}\0", "line 1: A: a value cannot hold a zero byte"),
            (f"A={PLAIN}\ud800", "line 1: A: the value is not text in UTF-8"),
        ],
    )
    def test_a_line_that_will_not_do_is_named_and_its_value_is_not(
        self, text: str, problem: str
    ) -> None:
        with pytest.raises(ConfigurationError) as refused:
            parse_env_file(text)
        assert str(refused.value).startswith(problem)
        assert PLAIN not in str(refused.value)

    def test_every_line_that_cannot_be_read_is_told(self) -> None:
        with pytest.raises(ConfigurationError) as refused:
            parse_env_file("what is this\nA=1\n\nand that\n")
        assert refused.value.problems == (
            "line 1: is not NAME=value",
            "line 4: is not NAME=value",
        )

    def test_mistakes_of_all_kinds_are_told_together_with_their_lines(self) -> None:
        text = f"PORT=1\nwhat is this\nGOOD=1\nÄ=x\n\nNONE\nLONG={'x' * (LARGEST_VALUE + 1)}\n"
        with pytest.raises(ConfigurationError) as refused:
            parse_env_file(text)
        told = [problem.split("; ")[0] for problem in refused.value.problems]
        assert told[:2] == [
            "line 1: PORT: Keystone sets this one itself",
            "line 2: is not NAME=value",
        ]
        assert told[2].startswith("line 4: 'Ä': a variable's name has letters")
        assert told[3:] == [
            "line 6: NONE has no value",
            "line 7: LONG: a value may have at most 65536 bytes",
        ]

    def test_a_file_that_is_something_else_is_not_read_to_its_end(self) -> None:
        with pytest.raises(ConfigurationError) as refused:
            parse_env_file("no such thing\n" * 100_000)
        assert len(refused.value.problems) == MOST_MISTAKES + 1
        assert refused.value.problems[-1] == "and the rest of the file was not read"

    @given(text=st.text(max_size=200))
    def test_whatever_is_given_is_read_or_refused(self, text: str) -> None:
        with contextlib.suppress(ConfigurationError):
            assert all(isinstance(value, SecretStr) for value in parse_env_file(text).values())


class TestOneVariable:
    @pytest.mark.parametrize(
        "name",
        [
            *("A", "_", "a1", "1A", "DATABASE_URL", "X" * 200, "discovery.type", "xpack.ml-node"),
            *("ConnectionStrings:Default", "Logging__LogLevel__Default", "my.list[0].name"),
        ],
    )
    def test_names_that_programs_use_are_taken(self, name: str) -> None:
        ensure_variable(name, SecretStr("x" * LARGEST_VALUE))

    @pytest.mark.parametrize(
        "name",
        ["", "-A", ".A", "..", "A/B", "A=B", "A B", "A$B", 'A"', "Ä", "A\n", "A\0", "X" * 201],
    )
    def test_others_are_refused(self, name: str) -> None:
        with pytest.raises(ConfigurationError, match="a variable's name"):
            ensure_variable(name, SecretStr("x"))

    @pytest.mark.parametrize("name", sorted(RESERVED))
    def test_what_keystone_sets_cannot_be_set(self, name: str) -> None:
        with pytest.raises(ConfigurationError, match=f"{name}: Keystone sets this"):
            ensure_variable(name, SecretStr("1"))

    @pytest.mark.parametrize("value", ["x" * (LARGEST_VALUE + 1), "ä" * (LARGEST_VALUE // 2 + 1)])
    def test_a_value_is_bounded_in_bytes(self, value: str) -> None:
        with pytest.raises(ConfigurationError, match="at most 65536 bytes"):
            ensure_variable("A", SecretStr(value))


class TestKinds:
    @pytest.mark.parametrize("before", [None, True, False])
    @pytest.mark.parametrize("said", [True, False])
    def test_what_is_said_counts(self, *, before: bool | None, said: bool) -> None:
        value = NewValue(SecretStr("1"), said)
        assert value.resolved("TOKEN", before=before) == Variable(value.value, said)

    @pytest.mark.parametrize("before", [True, False])
    def test_an_existing_variable_keeps_its_kind(self, *, before: bool) -> None:
        for name in ("TOKEN", "MODE"):
            assert NewValue(SecretStr("abc")).resolved(name, before=before).is_secret is before

    def test_a_new_one_is_judged(self) -> None:
        assert NewValue(SecretStr("abc")).resolved("TOKEN", before=None).is_secret
        assert not NewValue(SecretStr("abc")).resolved("MODE", before=None).is_secret


class TestKeeping:
    @given(plain=st.dictionaries(names, st.tuples(values, st.booleans()), max_size=5))
    def test_what_is_sealed_comes_back_the_same(
        self, vault: Vault, plain: dict[str, tuple[str, bool]]
    ) -> None:
        given_ = {
            name: Variable(SecretStr(value), is_secret)
            for name, (value, is_secret) in plain.items()
        }
        assert open_environment(seal_environment(given_, vault), vault) == given_

    def test_nothing_of_it_can_be_read_without_the_key(self, vault: Vault) -> None:
        sealed = seal_environment({"NAME": Variable(SecretStr(PLAIN))}, vault)
        assert b"NAME" not in sealed
        assert PLAIN.encode() not in sealed
        with pytest.raises(ConfigurationError, match="sealed with another key"):
            open_environment(sealed, Vault([SecretStr("quite another key than that")]))

    def test_a_variable_is_secret_unless_somebody_says_otherwise(self) -> None:
        hidden, shown = Variable(SecretStr(PLAIN)), Variable(SecretStr("b"), is_secret=False)
        assert secrets_of([hidden, shown]) == [hidden.value]
        assert PLAIN not in repr(hidden)
