"""The groupspec: bytes, identity, keys, what is refused."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.core.rng import SeededRng, SystemRng
from swarmd.groups.authorisation import Authority, Right
from swarmd.groups.groupspec import SECRET_BYTES, SPEC_BYTES_LIMIT, Capability, GroupSpec

from .builders import authority, restricted_spec, spec

SECRET = bytes(range(100, 132))
PLAIN = GroupSpec("Köche", Capability.REPLICATION | Capability.ROUTING, SECRET)
PLAIN_BYTES = bytes.fromhex("01064bc3b663686505000000") + SECRET
FULL = GroupSpec("a", Capability.NONE, SECRET, Right.PUBLISH | Right.POST, b"\xaa" * 32, b"\xbb" * 16)
FULL_BYTES = bytes.fromhex("010161000320" + "aa" * 32 + "10" + "bb" * 16) + SECRET


@pytest.mark.parametrize(("group", "encoded"), [(PLAIN, PLAIN_BYTES), (FULL, FULL_BYTES)])
def test_vectors(group: GroupSpec, encoded: bytes) -> None:
    assert group.encode() == encoded
    assert GroupSpec.decode(encoded) == group
    assert group.group_id == hashlib.sha256(encoded).digest()


def test_keys_are_hkdf_of_the_secret_with_the_group_id_as_salt() -> None:
    extracted = hmac.digest(PLAIN.group_id, SECRET, "sha256")
    assert PLAIN.join_key == hmac.digest(extracted, b"swarmd group join\x01", "sha256")
    assert PLAIN.discovery_key == hmac.digest(extracted, b"swarmd group discovery\x01", "sha256")


def test_every_parameter_makes_another_group() -> None:
    variants = [
        PLAIN,
        GroupSpec("Kuche", PLAIN.capabilities, SECRET),
        GroupSpec("Köche", Capability.REPLICATION, SECRET),
        GroupSpec("Köche", PLAIN.capabilities, SECRET[::-1]),
        GroupSpec("Köche", PLAIN.capabilities, SECRET, tag=b"\xbb" * 16),
        GroupSpec("Köche", PLAIN.capabilities, SECRET, authority=b"\xaa" * 32),
        GroupSpec("Köche", PLAIN.capabilities, SECRET, Right.PUBLISH, b"\xaa" * 32),
    ]
    assert len({variant.group_id for variant in variants}) == len(variants)
    assert len({variant.join_key for variant in variants}) == len(variants)


def test_create_makes_a_fresh_secret_and_everything_else_as_asked() -> None:
    first = GroupSpec.create("family", SystemRng(), capabilities=Capability.REPLICATION)
    second = GroupSpec.create("family", SystemRng(), capabilities=Capability.REPLICATION)
    assert first.spec.group_id != second.spec.group_id
    assert first.authority is None
    assert first.spec.is_listed
    assert GroupSpec.create("", SystemRng()).spec.capabilities is Capability.NONE
    assert not GroupSpec.create("", SystemRng()).spec.is_listed


def test_create_normalises_the_name_so_that_it_can_be_typed() -> None:
    assert GroupSpec.create("Ko\u0308che", SeededRng(1)).spec.name == "K\u00f6che"


def test_a_tag_makes_it_unique_even_with_the_same_secret() -> None:
    first = GroupSpec.create("x", SeededRng(1), unique=True).spec
    assert len(first.tag) == 16
    assert first.secret == GroupSpec.create("x", SeededRng(1)).spec.secret
    assert first.group_id != GroupSpec.create("x", SeededRng(1)).spec.group_id


def test_a_restricted_group_gets_an_authority_which_the_creator_keeps() -> None:
    new = GroupSpec.create("press", SystemRng(), restricted=Right.PUBLISH)
    assert new.authority is not None
    assert new.spec.authority == new.authority.public_key


def test_an_authority_may_serve_several_groups() -> None:
    assert restricted_spec().authority == authority().public_key


def test_secrets_are_in_no_repr() -> None:
    new = GroupSpec.create("press", SystemRng(), restricted=Right.POST)
    assert new.authority is not None
    for secret in (new.spec.secret, new.spec.join_key, new.authority.private_key):
        for shown in (repr(new), str(new.spec), repr(new.authority)):
            assert repr(secret)[2:-1] not in shown
            assert secret.hex() not in shown


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("x" * 256, "at most 255 bytes"),
        ("\u00e9" * 128, "at most 255 bytes"),
        ("a\nb", "control characters"),
        ("a\x1b[2J", "control characters"),
        ("a\u2028b", "control characters"),
        (" a", "space"),
        ("\ud800", "UTF-8"),
    ],
)
def test_names_that_cannot_be_one(name: str, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        GroupSpec.create(name, SeededRng(1))


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"secret": b"short"}, "32 bytes"),
        ({"secret": SECRET, "authority": b"short"}, "authority key has 32"),
        ({"secret": SECRET, "tag": b"short"}, "tag 16"),
        ({"secret": SECRET, "restricted": Right.POST}, "needs an authority"),
    ],
)
def test_parts_that_do_not_fit(parts: dict[str, bytes], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        GroupSpec("a", Capability.NONE, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("encoded", "told"),
    [
        (b"", "ends early"),
        (b"\x02" + PLAIN_BYTES[1:], "version 2"),
        (PLAIN_BYTES + b"\x00", "too many"),
        (PLAIN_BYTES[:-1], "ends early"),
        (b"\x01\x01a\x40\x00\x00\x00" + SECRET, "upgrade"),
        (b"\x01\x01a\x00\x04\x00\x00" + SECRET, "upgrade"),
        (b"\x01\x01a\x00\x01\x00\x00" + SECRET, "needs an authority"),
        (b"\x01\x01\x07\x00\x00\x00\x00" + SECRET, "control"),
        (b"\x01\x01a\x00\x00\x05aaaaa\x00" + SECRET, "authority key has 32"),
    ],
)
def test_false_encodings(encoded: bytes, told: str) -> None:
    with pytest.raises(RemoteError, match=told):
        GroupSpec.decode(encoded)


def test_the_longest_spec_keeps_to_the_limit() -> None:
    longest = GroupSpec("x" * 255, ~Capability.NONE, SECRET, Right.PUBLISH | Right.POST, b"\xaa" * 32, b"\xbb" * 16)
    assert len(longest.encode()) == 342 <= SPEC_BYTES_LIMIT


@given(st.binary(max_size=400) | st.builds(lambda tail: PLAIN_BYTES[:10] + tail, st.binary(max_size=60)))
def test_any_bytes_are_a_spec_or_a_remote_error(data: bytes) -> None:
    try:
        decoded = GroupSpec.decode(data)
    except RemoteError:
        return
    assert decoded.encode() == data


@given(
    name=st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=60).map(str.strip),
    capabilities=st.sampled_from(range(16)).map(Capability),
    secret=st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES),
    restricted=st.sampled_from(range(4)).map(Right),
    tag=st.just(b"") | st.binary(min_size=16, max_size=16),
)
def test_round_trip(name: str, capabilities: Capability, secret: bytes, restricted: Right, tag: bytes) -> None:
    group = GroupSpec(name, capabilities, secret, restricted, Authority(secret).public_key, tag)
    decoded = GroupSpec.decode(group.encode())
    assert decoded == group
    assert decoded.group_id == group.group_id


def test_the_builder_is_a_group_as_well() -> None:
    assert GroupSpec.decode(spec().encode()) == spec()
