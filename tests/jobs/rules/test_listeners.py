"""What listens in a container, and the sentence that says what mends it."""

import struct
import sys
from ipaddress import ip_address

import pytest

from jobs.rules.listeners import Listener, exposed_words, parse_listeners, port_words

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"


def row(number: int, address: str, port: int, state: str = "0A") -> str:
    packed = ip_address(address).packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    local = "".join(f"{word:08X}" for word in words)
    return f"{number:4}: {local}:{port:04X} {'0' * len(local)}:0000 {state} 00000000:00000000 00\n"


def told(*places: tuple[str, int]) -> list[str]:
    table = HEAD + "".join(row(n, *place) for n, place in enumerate(places))
    return [str(each) for each in parse_listeners(table.encode())]


def words(*places: str, port: int = 8000, exposed: tuple[int, ...] = ()) -> str:
    found = []
    for place in places:
        address, _, number = place.rpartition(":")
        found.append(Listener(ip_address(address.strip("[]")), int(number)))
    return port_words("web", port, found, exposed)


def test_the_kernels_table_is_read() -> None:
    assert told(("0.0.0.0", 8000), ("127.0.0.1", 9229)) == ["0.0.0.0:8000", "127.0.0.1:9229"]
    assert told(("::", 80), ("::1", 65535)) == ["[::]:80", "[::1]:65535"]
    assert list(parse_listeners(b"")) == []


@pytest.mark.skipif(sys.byteorder == "big", reason="the table is of a little-endian machine")
def test_a_real_table_is_read() -> None:
    table = (
        HEAD + "   1: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000\n"
    )
    assert [str(each) for each in parse_listeners(table.encode())] == ["0.0.0.0:8000"]


def test_dockers_own_name_server_is_left_out() -> None:
    assert told(("127.0.0.11", 37065), ("0.0.0.0", 80)) == ["0.0.0.0:80"]


def test_only_the_sockets_that_listen_are_read() -> None:
    table = HEAD + row(0, "0.0.0.0", 80) + row(1, "10.0.0.2", 80, "01") + "cut off"
    assert [str(each) for each in parse_listeners(table.encode())] == ["0.0.0.0:80"]


@pytest.mark.parametrize(
    ("places", "sentence"),
    [
        ([], "nothing listens in the container"),
        (["0.0.0.0:8000"], ""),
        (["10.201.0.2:8000", "[::]:8000"], ""),
        (["0.0.0.0:3000"], "it listens on port 3000: `keystone app set web --container-port 3000`"),
        (["[::]:3000"], "it listens on port 3000: `keystone app set web --container-port 3000`"),
        (
            ["0.0.0.0:9090", "0.0.0.0:80", "127.0.0.1:1"],
            "it listens on the ports 80, 9090: `keystone app set web --container-port 80`",
        ),
        (
            ["127.0.0.1:8000"],
            (
                "it listens on 127.0.0.1:8000 only, inside its container: let it listen on "
                "0.0.0.0:8000"
            ),
        ),
        (
            ["[::1]:8000", "127.0.0.1:8000"],
            "it listens on [::1]:8000 only, inside its container: let it listen on 0.0.0.0:8000",
        ),
        (
            ["127.0.0.1:3000"],
            (
                "it listens on 127.0.0.1:3000 only, inside its container: let it listen on "
                "0.0.0.0:8000"
            ),
        ),
        (
            ["[::ffff:127.0.0.1]:8000"],
            (
                "it listens on [::ffff:7f00:1]:8000 only, inside its container: let it listen on "
                "0.0.0.0:8000"
            ),
        ),
        (
            ["[::]:8000", "127.0.0.1:8000"],
            "it listens by IPv6 only ([::]:8000): let it listen on 0.0.0.0:8000 as well",
        ),
    ],
)
def test_the_sentence_says_what_mends_it(places: list[str], sentence: str) -> None:
    assert words(*places) == sentence


def test_an_exposed_port_is_the_likeliest() -> None:
    found = words("0.0.0.0:80", "0.0.0.0:4369", exposed=(4000, 4369))
    assert found.endswith("the ports 4369, 80: `keystone app set web --container-port 4369`")


def test_thousands_of_ports_make_a_short_sentence() -> None:
    assert len(words(*[f"0.0.0.0:{port}" for port in range(1000, 4000)])) < 200


def test_without_a_look_inside_the_exposed_ports_are_told() -> None:
    assert exposed_words("web", 8000, ()) == ""
    assert exposed_words("web", 80, (80, 443)) == ""
    assert exposed_words("web", 8000, (3000,)) == (
        "its image EXPOSEs port 3000: `keystone app set web --container-port 3000`"
    )
