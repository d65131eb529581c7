"""The plain profile is what the other implementation's is: bytes worked out by hand from its description."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.core.rng import SeededRng
from swarmd.transport.rtmfp.chunks import IHello, IIKeying, RIKeying, decode_chunks, encode_chunk
from tests.transport.rtmfp.plain import PlainCipher, PlainProfile, checksum, peer_id_of, stand_in


def slow_checksum(data: bytes) -> int:
    """Word by word, an odd byte as the low one, every carry added back."""
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def test_the_checksum_of_rfc_1071() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D


@given(st.binary(max_size=200))
def test_the_checksum_is_the_slow_one(data: bytes) -> None:
    assert checksum(data) == slow_checksum(data)


@pytest.mark.parametrize("data", [b"", bytes(9), b"\xff" * 8, b"\xff" * 9, b"\xff\xfe\0\x01", b"\xff" * 1500])
def test_the_checksum_at_its_zeros(data: bytes) -> None:
    assert checksum(data) == slow_checksum(data)


def test_a_packet_byte_by_byte() -> None:
    """IHello for "ab" with the tag "t": no salt at first, then the receiver's."""
    plain = b"\x03" + encode_chunk(IHello(b"ab", b"t"))
    assert plain == bytes.fromhex("03 30 0004 02 6162 74")
    padded = plain + b"\xff" * 16
    sums = 0x0330 + 0x0004 + 0x0261 + 0x6274  # and eight times ffff, which is nothing
    assert PlainCipher().seal(plain) == padded + (0xFFFF - sums).to_bytes(2, "big")
    assert PlainCipher(0xF000, 7).seal(plain) == padded + ((0xFFFF - sums + 0xF000) & 0xFFFF).to_bytes(2, "big")


def test_salts_keep_sessions_apart() -> None:
    one, other = PlainCipher(5, 9), PlainCipher(9, 5)
    assert list(decode_chunks(other.open(memoryview(one.seal(b"\x03"))))) == []
    for opener in (one, PlainCipher(), PlainCipher(9, 6)):
        with pytest.raises(RemoteError):
            opener.open(memoryview(one.seal(b"plain")))


@given(st.binary(max_size=40))
def test_any_bytes_open_or_not(data: bytes) -> None:
    try:
        assert PlainCipher().open(memoryview(data)) == data[:-2]
    except RemoteError:
        pass


def test_keying_on_the_wire() -> None:
    client, server = PlainProfile(b"client", SeededRng(1)), PlainProfile(b"server", SeededRng(2))
    epd = client.epd_for(peer_id_of(b"server"))
    assert epd == b"server" == server.certificate and server.is_for_us(epd)
    initiation = client.initiate(client.check_certificate(b"server", epd))
    question = initiation.question(0x01020304, b"cookie")
    assert question == IIKeying(0x01020304, b"cookie", b"client", initiation.salt, b"X")
    response = server.respond(question)
    answer = response.answer(9)
    assert answer == RIKeying(9, response.salt, b"X")
    near, far = initiation.finish(answer), response.keyed
    assert near.handshake_hash == far.handshake_hash
    assert bytes(far.cipher.open(memoryview(near.cipher.seal(b"to server"))))[:9] == b"to server"
    assert bytes(near.cipher.open(memoryview(far.cipher.seal(b"to client"))))[:9] == b"to client"
    # each end's own salt is what it expects in what it receives, and it is told to the other as it is
    sealed = near.cipher.seal(b"plain")
    assert int.from_bytes(sealed[-2:], "big") == checksum(sealed[:-2]) + int.from_bytes(response.salt, "big") & 0xFFFF


def test_names_have_stand_ins() -> None:
    client = PlainProfile(b"client", SeededRng(1))
    assert stand_in(b"a") == stand_in(b"a") != stand_in(b"b")
    assert client.has_precedence(stand_in(b"d")) and not client.has_precedence(stand_in(b"a"))
    assert client.peer_of(b"server") == peer_id_of(b"server")
    with pytest.raises(InvalidArgument):
        client.epd_for(None)
