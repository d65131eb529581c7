"""Records that this node signs: what a command says, and what is true where an old one of ours came back.

Each is written down before it holds anywhere (`daemon.chronicle`), and then told to all. Meanwhile one of our own may
have come back from others, or a command may have said something newer: then what was written does not hold, and is
signed anew, or the store is told what does.

Not here: whose turn it is (`daemon.memberships`), and what may be said (`groups.catalogue`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from swarmd.core.clock import Clock
from swarmd.core.errors import NotAllowed
from swarmd.daemon.chronicle import Chronicle
from swarmd.daemon.membership import Membership
from swarmd.groups.events import OwnRecordReturned
from swarmd.groups.group import Group
from swarmd.groups.records import Record

log = logging.getLogger(__name__)


class Publishing:
    """`drain`: carry out what a group wants. `is_ours`: whether we are in it still."""

    def __init__(
        self,
        chronicle: Chronicle,
        clock: Clock,
        drain: Callable[[Membership], None],
        is_ours: Callable[[Membership], bool],
    ) -> None:
        self._chronicle, self._clock = chronicle, clock
        self._drain, self._is_ours = drain, is_ours

    async def publish(self, membership: Membership, sign: Callable[[Group, float], Record]) -> Record:
        """Signed, written down, and then told to all."""
        machine = membership.group
        record = sign(machine, self._clock.wall())
        await self._chronicle.put_record(record)
        while not machine.adopt(record, self._clock.monotonic(), self._clock.wall()):
            self._keep_held(machine, record)  # one of our own came back from others meanwhile
            record = sign(machine, self._clock.wall())
            await self._chronicle.put_record(record)
        self._drain(membership)
        return record

    def correct(self, membership: Membership, returned: OwnRecordReturned) -> None:
        """Others had a record of our own that this node did not know: tell all what is true instead."""
        name = returned.record.share.name
        try:
            record = membership.group.sign_correction(returned, self._clock.wall())
        except NotAllowed as error:
            log.warning("what others say of our own share %a is not true, and cannot be corrected: %s", name, error)
            return
        if record is None:
            log.warning("an older state of our own share %a came back from others", name)
            return
        shared = "not shared any more" if record.is_tombstone else "shared as before"
        log.warning("a forgotten state of our own share %a came back from others: it is %s", name, shared)
        correction = record

        def tell() -> None:
            if not self._is_ours(membership):
                return
            machine = membership.group
            if machine.held(correction) == returned.record:
                machine.adopt(correction, self._clock.monotonic(), self._clock.wall())
                self._drain(membership)
            else:  # a command has said something newer
                self._keep_held(machine, correction)

        self._chronicle.put_later(correction, tell)

    def _keep_held(self, machine: Group, record: Record) -> None:
        """This one was written down and does not hold: write the one that does."""
        held = machine.held(record)
        if held is not None:
            self._chronicle.note(held)
