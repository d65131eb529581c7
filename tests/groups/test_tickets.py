"""Tickets: bytes, typing errors, secrets kept."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.core.ids import ContentId, GroupId
from swarmd.groups.authorisation import Right
from swarmd.groups.contacts import Contact, decode_addresses, encode_addresses
from swarmd.groups.groupspec import Capability, GroupSpec
from swarmd.groups.tickets import (
    TEXT_LIMIT,
    TICKET_BYTES_LIMIT,
    GroupTicket,
    MemberObjectTicket,
    NamedObject,
    ObjectTicket,
    Ticket,
    is_ticket,
    parse_ticket,
)

from .builders import authority, content_id, peer_id, restricted_spec, spec

V4 = Address("192.0.2.1", 7927)
V6 = Address("2001:db8::1", 7927)
CONTACTS = (Contact(peer_id(1), (V4, V6)), Contact(None, (V4,)))
CONTACTS_BYTES = (
    b"\x02"
    + (
        b"\x20"
        + peer_id(1)
        + b"\x02"
        + b"\x06\xc0\x00\x02\x01\x1e\xf7"
        + b"\x12"
        + bytes.fromhex("20010db8")
        + bytes(11)
    )
    + (b"\x01\x1e\xf7" + b"\x00" + b"\x01" + b"\x06\xc0\x00\x02\x01\x1e\xf7")
)
NAMED = NamedObject(content_id(5), "disk.iso", 300)
NAMED_BYTES = content_id(5) + b"\x08disk.iso" + b"\xac\x02"
UNLISTED = GroupSpec("", Capability.REPLICATION, bytes(range(32)))
AUTHORISATION = authority().authorise(restricted_spec().group_id, peer_id(3), Right.PUBLISH)

TICKETS: dict[str, Ticket] = {
    "group": GroupTicket(spec(), CONTACTS),
    "group with authorisation": GroupTicket(restricted_spec(), (), AUTHORISATION),
    "object": ObjectTicket(UNLISTED, NAMED, CONTACTS),
    "member object": MemberObjectTicket(spec().group_id, NAMED),
}


def text_of(body: bytes) -> str:
    """A ticket's text, made without its encoder."""
    checksum = hashlib.sha256(b"swarmd ticket" + body).digest()[:4]
    return "swarm:" + base64.b32encode(body + checksum).decode().rstrip("=").lower()


def blob(data: bytes) -> bytes:
    assert len(data) < 128
    return bytes([len(data)]) + data


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("group", b"\x01\x01" + blob(spec().encode()) + b"\x00" + CONTACTS_BYTES),
        (
            "group with authorisation",
            b"\x01\x01" + blob(restricted_spec().encode()) + blob(AUTHORISATION.encode()) + b"\x00",
        ),
        ("object", b"\x01\x02" + blob(UNLISTED.encode()) + NAMED_BYTES + CONTACTS_BYTES),
        ("member object", b"\x01\x03" + spec().group_id + NAMED_BYTES),
    ],
)
def test_vectors(name: str, body: bytes) -> None:
    assert TICKETS[name].text() == text_of(body)
    assert parse_ticket(text_of(body)) == TICKETS[name]


def test_a_whole_ticket_as_users_have_it() -> None:
    ticket = MemberObjectTicket(GroupId(bytes(32)), NamedObject(ContentId(b"\xff" * 32), "a", 0))
    assert ticket.text() == (
        "swarm:aebqaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaah777777777"
        "777777777777777777777777777777777777777774awcaelfommw"
    )


@pytest.mark.parametrize("ticket", TICKETS.values(), ids=TICKETS)
def test_case_and_what_mail_programs_put_in_are_ignored(ticket: Ticket) -> None:
    text = ticket.text()
    wrapped = "\r\n ".join(text[start : start + 40] for start in range(0, len(text), 40))
    for variant in (text.upper(), f"  {wrapped}\n", text.replace("a", "a-"), "\ufeff" + text.replace("b", "b\u200b")):
        assert parse_ticket(variant) == ticket
        assert is_ticket(variant)


@pytest.mark.parametrize("ticket", TICKETS.values(), ids=TICKETS)
def test_every_typing_error_is_called_one(ticket: Ticket) -> None:
    text = ticket.text()
    for place in range(len("swarm:"), len(text)):
        wrong = text[:place] + ("a" if text[place] != "a" else "b") + text[place + 1 :]
        with pytest.raises(InvalidArgument, match="typing error"):
            parse_ticket(wrong)


@pytest.mark.parametrize("ticket", TICKETS.values(), ids=TICKETS)
def test_a_ticket_that_was_cut_off_is_called_incomplete(ticket: Ticket) -> None:
    text = ticket.text()
    for length in range(1, len(text)):
        with pytest.raises(InvalidArgument) as refused:
            parse_ticket(text[:length])
        told = str(refused.value)
        assert told == "this ticket is not complete, or has a typing error: copy it again whole", length


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "begins with 'swarm:'"),
        ("magnet:?xt=urn", "begins with 'swarm:'"),
        ("swarm:", "not complete"),
        ("swarm:abc1", "letters a-z and the digits 2-7"),
        ("swarm:äöü", "letters a-z and the digits 2-7"),
        ("swarm:" + "a" * TEXT_LIMIT, "something else"),
        (text_of(bytes(TICKET_BYTES_LIMIT)), "something else"),
        (text_of(b"\x02\x01whatever comes"), "version 2.*knows version 1; upgrade"),
        (text_of(b"\x01\x09whatever comes"), r"kind \(9\).*upgrade"),
        (text_of(b"\x01\x01\x00"), "damaged"),
        (text_of(b"\x01\x03" + spec().group_id + NAMED_BYTES + b"\x00"), "damaged.*too many"),
        (text_of(b"\x01\x03" + spec().group_id + content_id(5) + b"\x05../..\x00"), "cannot carry this name"),
        (text_of(b"\x01\x01" + blob(spec().encode()) + b"\x00\x09"), "damaged"),
        (text_of(b"\x01\x01" + blob(spec().encode()) + blob(AUTHORISATION.encode()) + b"\x00"), "authority"),
    ],
)
def test_what_is_wrong_is_said(text: str, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        parse_ticket(text)


def test_the_last_letter_has_one_form() -> None:
    body = b"\x01\x03" + spec().group_id + NAMED_BYTES
    text = text_of(body)
    data = base64.b32decode(text[6:].upper() + "=" * (-len(text[6:]) % 8))
    others = [text[:-1] + letter for letter in "abcdefghijklmnopqrstuvwxyz234567" if letter != text[-1]]
    same = [other for other in others if base64.b32decode(other[6:].upper() + "=" * (-len(other[6:]) % 8)) == data]
    assert same
    for other in same:
        with pytest.raises(InvalidArgument, match="typing error"):
            parse_ticket(other)


@pytest.mark.parametrize("ticket", TICKETS.values(), ids=TICKETS)
def test_no_secret_in_repr_or_str(ticket: Ticket) -> None:
    secret = ticket.text().removeprefix("swarm:")
    for shown in (repr(ticket), str(ticket), f"{ticket}"):
        assert secret[:40] not in shown
        assert "swarm:" not in shown


def test_a_member_objects_ticket_holds_no_secret() -> None:
    ticket = MemberObjectTicket(UNLISTED.group_id, NAMED)
    data = base64.b32decode(ticket.text()[6:].upper() + "=" * (-len(ticket.text()[6:]) % 8))
    assert UNLISTED.secret not in data


def test_errors_never_repeat_the_ticket() -> None:
    text = TICKETS["object"].text()
    with pytest.raises(InvalidArgument) as caught:
        parse_ticket(text[:-1] + "1")
    assert text[6:30] not in str(caught.value)


def test_bounds_on_what_is_put_in() -> None:
    with pytest.raises(InvalidArgument, match="at most 8 contacts"):
        GroupTicket(spec(), CONTACTS * 5)
    with pytest.raises(InvalidArgument, match="at most 8 addresses"):
        Contact(None, (V4,) * 9)
    with pytest.raises(InvalidArgument, match="name"):
        NamedObject(content_id(1), "a/b", 1)
    with pytest.raises(InvalidArgument, match="size"):
        NamedObject(content_id(1), "a", 2**53)
    with pytest.raises(InvalidArgument, match="authority"):
        GroupTicket(spec(), (), AUTHORISATION)


def test_the_largest_ticket_is_read() -> None:
    addresses = tuple(Address(f"2001:db8::{number}", 7927) for number in range(8))
    contacts = tuple(Contact(peer_id(number), addresses) for number in range(8))
    largest = ObjectTicket(
        GroupSpec("x" * 255, ~Capability.NONE, bytes(32), Right.POST, bytes(32), bytes(16)),
        NamedObject(content_id(1), "y" * 255, 2**53 - 1),
        contacts,
    )
    assert parse_ticket(largest.text()) == largest


@given(st.binary(max_size=60))
def test_any_bytes_are_an_address_list_or_a_remote_error(data: bytes) -> None:
    try:
        addresses = decode_addresses(data)
    except RemoteError:
        return
    assert encode_addresses(addresses) == data


@given(st.text(max_size=200) | st.text("abcdefghijklmnopqrstuvwxyz234567", max_size=200).map("swarm:".__add__))
def test_any_text_is_a_ticket_or_an_invalid_argument(text: str) -> None:
    try:
        ticket = parse_ticket(text)
    except InvalidArgument:
        return
    assert parse_ticket(ticket.text()) == ticket


@given(st.binary(max_size=300).map(lambda tail: b"\x01" + tail))
def test_any_body_with_a_good_checksum_is_a_ticket_or_an_invalid_argument(body: bytes) -> None:
    try:
        ticket = parse_ticket(text_of(body))
    except InvalidArgument:
        return
    assert ticket.text() == text_of(body)


def test_address_lists_for_the_store() -> None:
    assert encode_addresses([V4]) == b"\x01\x06\xc0\x00\x02\x01\x1e\xf7"
    assert decode_addresses(encode_addresses([V4, V6])) == (V4, V6)
    assert decode_addresses(encode_addresses([])) == ()
