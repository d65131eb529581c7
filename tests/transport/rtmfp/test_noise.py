"""swarmd's crypto profile: packets open once and unchanged, keys follow each other, keying proves who is there."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.core.rng import SeededRng
from swarmd.identity.identity import Identity
from swarmd.identity.noise import Initiator, rekey
from swarmd.transport.rtmfp.chunks import IIKeying
from swarmd.transport.rtmfp.noise import EPD_BYTES, OVERHEAD_BYTES, NoiseCipher, NoiseProfile, StartupCipher
from swarmd.transport.rtmfp.profile import Keyed, PacketCipher, Profile, WrongPeer
from swarmd.transport.rtmfp.replay import WINDOW

KEY, OTHER_KEY = bytes(range(32)), bytes(range(32, 64))
EPOCH_BITS = 4
EPOCH = 1 << EPOCH_BITS


def profile(seed: int) -> NoiseProfile:
    rng = SeededRng(seed)
    return NoiseProfile(Identity.generate(rng), rng)


ALICE, BOB, CAROL = profile(1), profile(2), profile(3)


def pair() -> tuple[NoiseCipher, NoiseCipher]:
    return NoiseCipher(KEY, OTHER_KEY, EPOCH_BITS), NoiseCipher(OTHER_KEY, KEY, EPOCH_BITS)


def opened(cipher: PacketCipher, sealed: bytes) -> bytes:
    return bytes(cipher.open(memoryview(sealed)))


def keyed_pair(initiator: Profile, responder: Profile) -> tuple[Keyed, Keyed]:
    initiation = initiator.initiate(initiator.check_certificate(responder.certificate, initiator.epd_for(None)))
    response = responder.respond(initiation.question(7, b"cookie"))
    return initiation.finish(response.answer(9)), response.keyed


class TestCipher:
    def test_a_packet_is_what_the_docstring_says(self) -> None:
        sealer, _ = pair()
        for number in range(2 * EPOCH + 3):
            key = KEY
            for _ in range(number // EPOCH):
                key = rekey(key)
            sequence = number.to_bytes(8, "big")
            expected = sequence + AESGCM(key).encrypt(bytes(4) + sequence, b"plain", None)
            assert sealer.seal(b"plain") == expected
            assert len(expected) == len(b"plain") + sealer.overhead

    def test_into_a_buffer_it_is_the_same(self) -> None:
        sealer, twin = pair()[0], pair()[0]
        target = bytearray(100)
        for size in (0, 1, 50, 100 - OVERHEAD_BYTES):
            count = sealer.seal_into(bytes(size), memoryview(target))
            assert target[:count] == twin.seal(bytes(size))

    def test_both_directions_open_and_no_direction_its_own(self) -> None:
        one, other = pair()
        assert opened(other, one.seal(b"there")) == b"there"
        assert opened(one, other.seal(b"back")) == b"back"
        with pytest.raises(RemoteError):
            opened(one, one.seal(b"reflected"))

    def test_a_replay_is_refused_in_any_epoch(self) -> None:
        sealer, opener = pair()
        packets = [sealer.seal(bytes([number])) for number in range(3 * EPOCH)]
        for packet in packets:
            opened(opener, packet)
            with pytest.raises(RemoteError, match="replay"):
                opened(opener, packet)
        for packet in packets:
            with pytest.raises(RemoteError):
                opened(opener, packet)

    def test_packets_overtake_each_other_across_a_new_key(self) -> None:
        sealer, opener = pair()
        packets = [sealer.seal(bytes([number])) for number in range(4 * EPOCH)]
        late = packets[EPOCH - 1]
        for packet in packets[: EPOCH - 1] + packets[EPOCH : 2 * EPOCH - 1]:
            opened(opener, packet)
        assert opened(opener, late) == bytes([EPOCH - 1])

    def test_of_two_epochs_ago_nothing_opens(self) -> None:
        sealer, opener = pair()
        packets = [sealer.seal(b"") for _ in range(2 * EPOCH + 1)]
        for packet in packets[1:]:
            opened(opener, packet)
        with pytest.raises(RemoteError, match="reach"):
            opened(opener, packets[0])

    def test_an_epoch_cannot_be_skipped(self) -> None:
        sealer, opener = pair()
        packets = [sealer.seal(b"") for _ in range(2 * EPOCH + 1)]
        with pytest.raises(RemoteError, match="reach"):
            opened(opener, packets[2 * EPOCH])
        opened(opener, packets[EPOCH])
        opened(opener, packets[2 * EPOCH])

    def test_a_forged_packet_moves_neither_window_nor_epoch(self) -> None:
        sealer, opener = pair()
        first = sealer.seal(b"first")
        for number in (WINDOW * 4, EPOCH, EPOCH + 1, 2**64 - 1):
            with pytest.raises(RemoteError):
                opened(opener, number.to_bytes(8, "big") + bytes(40))
        assert opened(opener, first) == b"first"

    def test_packets_too_old_to_tell_are_refused(self) -> None:
        sealer, opener = NoiseCipher(KEY, OTHER_KEY), NoiseCipher(OTHER_KEY, KEY)
        packets = [sealer.seal(b"") for _ in range(WINDOW + 1)]
        opened(opener, packets[-1])
        opened(opener, packets[1])
        with pytest.raises(RemoteError, match="too old"):
            opened(opener, packets[0])

    @given(st.binary(max_size=80))
    def test_any_bytes_are_refused(self, data: bytes) -> None:
        for cipher in (pair()[0], StartupCipher(SeededRng(1))):
            with pytest.raises(RemoteError):
                cipher.open(memoryview(data))

    @given(st.binary(max_size=40), st.data())
    def test_any_changed_bit_is_noticed(self, plain: bytes, data: st.DataObject) -> None:
        sealer, opener = pair()
        sealed = bytearray(sealer.seal(plain))
        bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
        sealed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RemoteError):
            opened(opener, bytes(sealed))

    def test_startup_packets_open_anywhere_and_again(self) -> None:
        sealer, opener = StartupCipher(SeededRng(1)), StartupCipher(SeededRng(2))
        sealed = sealer.seal(b"plain")
        target = bytearray(100)
        count = sealer.seal_into(b"plain", memoryview(target))
        assert opened(opener, sealed) == opened(opener, sealed) == opened(opener, bytes(target[:count])) == b"plain"
        assert sealed != target[:count]
        assert len(sealed) == len(b"plain") + sealer.overhead


class TestKeying:
    def test_both_ends_have_the_same_session(self) -> None:
        near, far = keyed_pair(ALICE, BOB)
        assert near.handshake_hash == far.handshake_hash
        assert near.certificate.encode() == BOB.certificate and far.certificate.encode() == ALICE.certificate
        assert opened(far.cipher, near.cipher.seal(b"there")) == b"there"
        assert opened(near.cipher, far.cipher.seal(b"back")) == b"back"

    def test_no_two_sessions_are_the_same(self) -> None:
        (one, _), (other, far) = keyed_pair(ALICE, BOB), keyed_pair(ALICE, BOB)
        assert one.handshake_hash != other.handshake_hash
        with pytest.raises(RemoteError):
            opened(far.cipher, one.cipher.seal(b"mixed up"))

    def test_a_question_is_the_same_with_another_cookie(self) -> None:
        initiation = ALICE.initiate(ALICE.check_certificate(BOB.certificate, ALICE.epd_for(None)))
        one, other = initiation.question(7, b"one"), initiation.question(7, b"other")
        assert replace(one, cookie_echo=b"other") == other

    def test_somebody_else_cannot_answer(self) -> None:
        """Carol has Bob's certificate, which is public, but not his key."""
        initiation = ALICE.initiate(ALICE.check_certificate(BOB.certificate, ALICE.epd_for(None)))
        with pytest.raises(RemoteError):
            CAROL.respond(initiation.question(7, b""))

    def test_nobody_calls_with_another_ones_certificate(self) -> None:
        """Mallory's keys, Alice's certificate: all of it well formed."""
        mallory, bob = Identity.generate(SeededRng(4)), ALICE.check_certificate(BOB.certificate, ALICE.epd_for(None))
        prologue = b"swarmd rtmfp noise-ik 1\0" + BOB.certificate
        for certificate in (mallory.certificate.encode(), ALICE.certificate):
            handshake = Initiator(mallory.static_private, bob.static_key, prologue, SeededRng(5).bytes(32))
            question = IIKeying(7, b"cookie", b"", handshake.write_message(certificate), b"")
            if certificate != ALICE.certificate:
                assert BOB.respond(question).keyed.certificate == mallory.certificate
                continue
            with pytest.raises(RemoteError, match="does not hold"):
                BOB.respond(question)

    def test_forged_answers_do_not_spoil_the_true_one(self) -> None:
        initiation = ALICE.initiate(ALICE.check_certificate(BOB.certificate, ALICE.epd_for(None)))
        answer = BOB.respond(initiation.question(7, b"")).answer(9)
        forged = (b"", bytes(48), bytes(range(1, 49)), answer.key_component[:-1] + b"\0", answer.key_component + b"\0")
        for component in forged:
            with pytest.raises(RemoteError):
                initiation.finish(replace(answer, key_component=component))
        with pytest.raises(RemoteError, match="more than"):
            initiation.finish(replace(answer, signature=b"X"))
        assert initiation.finish(answer).certificate.encode() == BOB.certificate

    @pytest.mark.parametrize("field", ["certificate", "signature"])
    def test_fields_that_we_leave_empty_have_to_be(self, field: str) -> None:
        initiation = ALICE.initiate(ALICE.check_certificate(BOB.certificate, ALICE.epd_for(None)))
        question = initiation.question(7, b"")
        changed = replace(question, certificate=b"X") if field == "certificate" else replace(question, signature=b"X")
        with pytest.raises(RemoteError, match="more than"):
            BOB.respond(changed)

    @given(st.binary(max_size=400))
    def test_any_bytes_are_refused(self, component: bytes) -> None:
        initiation = ALICE.initiate(ALICE.check_certificate(BOB.certificate, ALICE.epd_for(None)))
        question = initiation.question(7, b"")
        with pytest.raises(RemoteError):
            BOB.respond(replace(question, key_component=component))
        with pytest.raises(RemoteError):
            initiation.finish(replace(BOB.respond(question).answer(9), key_component=component))
        with pytest.raises(RemoteError):
            ALICE.check_certificate(component, ALICE.epd_for(None))


class TestNames:
    def test_an_epd_asks_for_one_or_for_anybody(self) -> None:
        bob = BOB.check_certificate(ALICE.certificate, BOB.epd_for(None)).peer_id
        for_alice = BOB.epd_for(bob)
        assert len(for_alice) == len(BOB.epd_for(None)) == EPD_BYTES
        assert ALICE.is_for_us(for_alice) and not CAROL.is_for_us(for_alice)
        assert ALICE.is_for_us(CAROL.epd_for(None)) and ALICE.peer_of(CAROL.epd_for(None)) is None
        assert CAROL.peer_of(for_alice) == bob

    @given(st.binary(max_size=60))
    def test_any_bytes_ask_for_nobody_or_somebody(self, epd: bytes) -> None:
        wanted = ALICE.peer_of(epd)
        assert wanted is None or epd[1:33] == wanted
        assert not ALICE.is_for_us(epd) or epd[0] == 0

    def test_the_wrong_peer_is_named(self) -> None:
        bob, carol = (ALICE.check_certificate(p.certificate, ALICE.epd_for(None)).peer_id for p in (BOB, CAROL))
        with pytest.raises(WrongPeer, match=f"{bob.short}.*{carol.short}"):
            ALICE.check_certificate(CAROL.certificate, ALICE.epd_for(bob))

    def test_we_are_not_our_own_peer(self) -> None:
        with pytest.raises(WrongPeer, match="this node"):
            ALICE.check_certificate(ALICE.certificate, ALICE.epd_for(None))

    def test_of_two_one_has_precedence(self) -> None:
        alice, bob = BOB.check_certificate(ALICE.certificate, b""), ALICE.check_certificate(BOB.certificate, b"")
        assert ALICE.has_precedence(bob) != BOB.has_precedence(alice)
        assert ALICE.has_precedence(bob) == (alice.peer_id < bob.peer_id)

    def test_no_repr_has_a_secret(self) -> None:
        near, _ = keyed_pair(ALICE, BOB)
        keyed = Keyed(NoiseCipher(KEY, OTHER_KEY), near.certificate, near.handshake_hash)
        texts = repr(keyed) + repr(keyed.cipher) + repr(ALICE) + repr(NoiseCipher(KEY, OTHER_KEY)._opening)
        for secret in (KEY, OTHER_KEY, near.handshake_hash):
            assert secret.hex() not in texts and repr(secret)[2:-1] not in texts
