"""The initiator's side: one attempt to open a session, over several candidate addresses (RFC 7016 §3.5.1.1).

In: candidate addresses, whenever they turn up; the RHellos and Redirects that have `tag`; the Cookie Changes and
RIKeyings that come to `session_id`, opened with the startup cipher. Out: IHellos and an IIKeying, again and again until
answered; in the end an `outcome`.

States: HELLO, asking every candidate -> KEYING, asking the one whose RHello was the first good one -> DONE.

A candidate that answers with a certificate we did not ask for is not asked again. When all of them have done so the
attempt fails at once and says who is there; the RFC would have us wait, but nobody else will answer.

Nothing here is proof against somebody who sees our packets and answers first: he can make the attempt fail. He cannot
make it succeed with anybody but the peer asked for, and forged RIKeyings do not spoil the true one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError, SwarmError, Unreachable
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.identity.certificate import Certificate
from swarmd.transport.rtmfp.chunks import Chunk, CookieChange, IHello, IIKeying, Redirect, RHello, RIKeying
from swarmd.transport.rtmfp.profile import Initiation, Keyed, Profile
from swarmd.transport.rtmfp.startup import ATTEMPT_TIMEOUT, MAX_CANDIDATES, TAG_BYTES, Outgoing, Retry, is_usable

MAX_ANSWERS = 16
"""RIKeyings looked at for one IIKeying sent: each that is forged costs us 0.3 ms."""


class Stage(Enum):
    HELLO = "hello"
    KEYING = "keying"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Opened:
    """Success: packets to the peer go to `address` with `far_session_id`."""

    keyed: Keyed
    address: Address
    far_session_id: int


@dataclass(frozen=True, slots=True)
class Failed:
    """WrongPeer, another RemoteError for a certificate that is none, or Unreachable."""

    error: SwarmError


class Opening:
    """Drive it with `to_send` after everything that happens, and `handle_timer` at `next_deadline`."""

    def __init__(
        self,
        profile: Profile,
        rng: Rng,
        session_id: int,
        wanted: PeerId | None,
        candidates: Iterable[Address],
        now: float,
    ) -> None:
        """`session_id`: ours, nonzero, no other session's of this endpoint. No `wanted`: whoever is there."""
        assert session_id
        self.session_id = session_id
        self.wanted = wanted
        self.tag = rng.bytes(TAG_BYTES)
        self.stage = Stage.HELLO
        self.outcome: Opened | Failed | None = None
        self.far_certificate: Certificate | None = None
        """The responder's, from KEYING on; not proven before the end."""
        self._profile = profile
        self._hello = IHello(profile.epd_for(wanted), self.tag)
        self._expires_at = now + ATTEMPT_TIMEOUT
        self._candidates: dict[Address, Retry] = {}
        self._faults: dict[Address, RemoteError] = {}
        self._address: Address | None = None
        self._initiation: Initiation | None = None
        self._question: IIKeying | None = None
        self._retry = Retry(now)
        self._answers_left = MAX_ANSWERS
        self._held_until = now
        self._is_cookie_changed = False
        for candidate in candidates:
            self.add_candidate(candidate, now)

    def __repr__(self) -> str:
        return f"<Opening to {self._aim}: {self.stage.value}>"

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where we ask now."""
        if self._address is not None:
            return (self._address,)
        return tuple(address for address in self._candidates if address not in self._faults)

    def add_candidate(self, address: Address, now: float) -> bool:
        """Ask there too, starting now; false when it is too late, known already, or one too many."""
        full = len(self._candidates) >= MAX_CANDIDATES
        if self.stage is not Stage.HELLO or full or address in self._candidates:
            return False
        self._candidates[address] = Retry(now)
        return True

    def hold(self, until: float) -> None:
        """Ask nothing before then, and start no keying: the peer has called us meanwhile (see `glare`)."""
        self._held_until = until

    def receive(self, chunk: Chunk, address: Address, now: float) -> None:
        """What does not fit is ignored: anybody may have sent it."""
        match chunk:
            case RHello() if self.stage is Stage.HELLO and chunk.tag_echo == self.tag and now >= self._held_until:
                self._receive_hello(chunk, address, now)
            case Redirect() if self.stage is Stage.HELLO and chunk.tag_echo == self.tag:
                for destination in chunk.destinations or (address,):
                    if is_usable(destination, address):
                        self.add_candidate(destination, now)
            case CookieChange() if self.stage is Stage.KEYING:
                self._change_cookie(chunk, now)
            case RIKeying() if self.stage is Stage.KEYING:
                self._finish(chunk)

    def to_send(self, now: float) -> list[Outgoing]:
        """What is due now; a second call finds nothing."""
        if now < self._held_until:
            return []
        if self.stage is Stage.HELLO:
            due = [a for a, retry in self._candidates.items() if a not in self._faults and retry.take(now)]
            return [Outgoing(address, self._hello, 0) for address in due]
        if self.stage is Stage.KEYING and self._retry.take(now):
            assert self._address is not None and self._question is not None
            self._answers_left = MAX_ANSWERS
            return [Outgoing(self._address, self._question, 0)]
        return []

    def next_deadline(self) -> float | None:
        """When to call `handle_timer` and then `to_send`; None once there is an outcome."""
        if self.stage is Stage.DONE:
            return None
        if self.stage is Stage.KEYING:
            due_at = self._retry.next_at
        else:
            asked = (retry.next_at for address, retry in self._candidates.items() if address not in self._faults)
            due_at = min(asked, default=self._expires_at)
        return min(max(due_at, self._held_until), self._expires_at)

    def handle_timer(self, now: float) -> None:
        if self.stage is Stage.DONE or now < self._expires_at:
            return
        places = ", ".join(map(str, self.addresses)) or "no address"
        silence = Unreachable(f"no answer from {self._aim} at {places} within {ATTEMPT_TIMEOUT:.0f} s")
        self._end(Failed(next(iter(self._faults.values()), silence)))

    @property
    def _aim(self) -> str:
        return f"peer {self.wanted.short}" if self.wanted else "anybody"

    def _receive_hello(self, hello: RHello, address: Address, now: float) -> None:
        if address in self._faults or len(self._faults) >= MAX_CANDIDATES:
            return
        try:
            self.far_certificate = self._profile.check_certificate(hello.certificate, self._hello.epd)
            self._initiation = self._profile.initiate(self.far_certificate)
        except RemoteError as error:
            self.far_certificate = None
            self._faults[address] = error
            if self._candidates.keys() <= self._faults.keys():
                self._end(Failed(error))
            return
        self.stage = Stage.KEYING
        self._address = address
        self._ask(hello.cookie, now)

    def _ask(self, cookie: bytes, now: float) -> None:
        assert self._initiation is not None
        self._question = self._initiation.question(self.session_id, cookie)
        self._retry = Retry(now)

    def _change_cookie(self, change: CookieChange, now: float) -> None:
        """Once only: else two cookies could be played back and forth."""
        assert self._question is not None
        if not self._is_cookie_changed and change.old_cookie == self._question.cookie_echo:
            self._is_cookie_changed = True
            self._ask(change.new_cookie, now)

    def _finish(self, answer: RIKeying) -> None:
        assert self._initiation is not None and self._address is not None
        if not answer.session_id or not self._answers_left:
            return
        self._answers_left -= 1
        try:
            keyed = self._initiation.finish(answer)
        except RemoteError:
            return
        self._end(Opened(keyed, self._address, answer.session_id))

    def _end(self, outcome: Opened | Failed) -> None:
        self.stage = Stage.DONE
        self.outcome = outcome
        self._initiation = None
