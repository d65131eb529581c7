"""Addresses: numeric, canonical, and only dialable ones travel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.errors import InvalidArgument, RemoteError

ports = st.integers(1, 65535)
hosts = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
addresses = st.builds(Address, hosts, ports)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.1:7000", "192.0.2.1", 7000),
        ("[::1]:5", "::1", 5),
        ("[2001:DB8:0::1]:65535", "2001:db8::1", 65535),
        ("[::ffff:1.2.3.4]:80", "1.2.3.4", 80),
        ("0.0.0.0:0", "0.0.0.0", 0),
    ],
)
def test_parse(text: str, host: str, port: int) -> None:
    address = Address.parse(text)
    assert (address.host, address.port) == (host, port)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    ["", "1.2.3.4", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:-1", "1.2.3.4:65536", "1.2.3.4:٣", "::1:5", "[::1]", "[::1]5"]
    + ["[1.2.3.4]:5", "localhost:5", "01.2.3.4:5", "1.2.3:5", "[fe80::1%eth0]:5", ":5", "[]:5", "1.2.3.4:000001"],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Address.parse(text)


@pytest.mark.parametrize("text", ["localhost:5", "nas.local:0", "*:7000"])
def test_a_name_in_place_of_an_address_is_called_one(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"a name where a numeric IP address is needed: write 192\.0\.2\.1:7000"):
        Address.parse(text)


@given(st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        address = Address.parse(text)
    except InvalidArgument:
        return
    assert Address.parse(str(address)) == address


@given(addresses)
def test_round_trips(address: Address) -> None:
    assert Address.parse(str(address)) == address
    if address.is_dialable:
        assert Address.decode(memoryview(address.encode())) == address


@pytest.mark.parametrize(
    ("address", "encoded"),
    [
        (Address("192.0.2.1", 7000), "c0000201 1b58"),
        (Address("::1", 1), "00000000000000000000000000000001 0001"),
    ],
)
def test_bytes_are_as_written_down(address: Address, encoded: str) -> None:
    assert address.encode() == bytes.fromhex(encoded)


@given(st.one_of(st.binary(max_size=20), st.binary(min_size=6, max_size=6), st.binary(min_size=18, max_size=18)))
def test_any_bytes_are_an_address_or_are_the_peers_fault(data: bytes) -> None:
    try:
        address = Address.decode(data)
    except RemoteError:
        return
    assert address.is_dialable
    assert address.encode() == data


UNDIALABLE = [("1.2.3.4", 0), ("0.0.0.0", 5), ("::", 5), ("224.0.0.251", 5), ("ff02::fb", 5), ("255.255.255.255", 5)]


@pytest.mark.parametrize(("host", "port"), UNDIALABLE)
def test_what_cannot_be_dialled_does_not_travel(host: str, port: int) -> None:
    address = Address(host, port)
    assert not address.is_dialable
    with pytest.raises(InvalidArgument, match="dial"):
        address.encode()


@pytest.mark.parametrize(
    "data",
    ["", "010203040000", "000000000005", "e00000fb0005", "ffffffff0005", "00" * 16 + "0005"]
    + ["00000000000000000000ffff010203040050"],
)
def test_what_a_peer_may_not_send(data: str) -> None:
    with pytest.raises(RemoteError):
        Address.decode(bytes.fromhex(data))


@pytest.mark.parametrize(
    ("host", "loopback", "private"),
    [
        ("127.0.0.1", True, True),
        ("::1", True, True),
        ("10.0.0.1", False, True),
        ("192.168.1.1", False, True),
        ("100.64.0.1", False, True),
        ("169.254.1.1", False, True),
        ("fe80::1", False, True),
        ("fd00::1", False, True),
        ("8.8.8.8", False, False),
        ("2a00:1450::1", False, False),
    ],
)
def test_where_an_address_is_reachable(host: str, loopback: bool, private: bool) -> None:
    address = Address(host, 1)
    assert (address.is_loopback, address.is_private) == (loopback, private)


def test_socket_names() -> None:
    assert Address.of_socket(("127.0.0.1", 5)) == Address("127.0.0.1", 5)
    assert Address.of_socket(("fe80::1%eth0", 5, 0, 2)) == Address("fe80::1", 5)
    assert Address.of_socket(("::ffff:10.0.0.1", 5, 0, 0)) == Address("10.0.0.1", 5)


def test_addresses_sort_and_hash() -> None:
    one, other = Address("10.0.0.1", 1), Address("10.0.0.1", 2)
    assert sorted([other, one]) == [one, other]
    assert len({one, Address("10.0.0.1", 1)}) == 1
