"""Cookies: good for one address and for a time, and nothing is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.rng import SeededRng
from swarmd.transport.rtmfp.cookies import COOKIE_BYTES, COOKIE_LIFETIME, ROTATION_PERIOD, CookieJar, Verdict

HERE = Address("192.0.2.1", 7000)
START = 1000.25


def jar(seed: int = 1) -> CookieJar:
    return CookieJar(SeededRng(seed), START)


def test_it_is_valid_where_it_was_sent() -> None:
    cookies = jar()
    cookie = cookies.make(HERE, START)
    assert len(cookie) == COOKIE_BYTES
    assert cookies.check(cookie, HERE, START) is Verdict.VALID


@pytest.mark.parametrize("other", ["192.0.2.1:7001", "192.0.2.2:7000", "[2001:db8::1]:7000"])
def test_elsewhere_it_is_another_address(other: str) -> None:
    cookies = jar()
    assert cookies.check(cookies.make(HERE, START), Address.parse(other), START) is Verdict.OTHER_ADDRESS


@pytest.mark.parametrize("offset", [0.0, 0.9, ROTATION_PERIOD - 1.0, ROTATION_PERIOD * 7.5, 1e6])
def test_it_is_valid_for_its_lifetime(offset: float) -> None:
    """Whenever within a secret's time it was made."""
    cookies = jar()
    made_at = START + offset
    cookie = cookies.make(HERE, made_at)
    assert cookies.check(cookie, HERE, made_at + COOKIE_LIFETIME) is Verdict.VALID
    assert cookies.check(cookie, HERE, made_at + COOKIE_LIFETIME + 1) is Verdict.BAD
    assert cookies.check(cookie, HERE, made_at + 10 * ROTATION_PERIOD) is Verdict.BAD


def test_another_jar_does_not_know_it() -> None:
    assert jar(2).check(jar(1).make(HERE, START), HERE, START) is Verdict.BAD


def test_secrets_are_replaced() -> None:
    """A cookie's time cannot be put forward, also not by asking after the secret has changed twice."""
    cookies = jar()
    secrets = set()
    for turn in range(5):
        cookies.make(HERE, START + turn * ROTATION_PERIOD)
        secrets |= {cookies._secret, cookies._previous}
    assert len(secrets) == 6
    cookies.make(HERE, START + 50 * ROTATION_PERIOD)
    assert not secrets & {cookies._secret, cookies._previous}


@given(st.data())
def test_no_bit_can_be_changed(data: st.DataObject) -> None:
    """Except in the address's part, which makes it another address's."""
    cookies = jar()
    cookie = bytearray(cookies.make(HERE, START))
    bit = data.draw(st.integers(0, 8 * COOKIE_BYTES - 1))
    cookie[bit // 8] ^= 1 << bit % 8
    expected = Verdict.BAD if bit // 8 < 12 else Verdict.OTHER_ADDRESS
    assert cookies.check(bytes(cookie), HERE, START) is expected


@given(st.binary(max_size=2 * COOKIE_BYTES))
def test_any_bytes_are_bad(cookie: bytes) -> None:
    assert jar().check(cookie, HERE, START) is Verdict.BAD


def test_its_repr_has_no_secret() -> None:
    cookies = jar()
    assert cookies._secret.hex() not in repr(cookies) and repr(cookies._secret) not in repr(cookies)
