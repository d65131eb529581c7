"""Why a transfer stands still, in a word for scripts and a sentence for people: cause, and next step where there is
one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from swarmd.control.records import Waiting as Report
from swarmd.daemon.transfer import Transfer, TransferState
from swarmd.groups.dialer import Ended
from swarmd.replication.progress import Progress, Waiting

MAX_TRIED = 3
"""Addresses that a sentence names."""


def waiting_of(
    transfer: Transfer, progress: Progress | None, now: float, group: str | None, ended: Callable[[], Sequence[Ended]]
) -> Report | None:
    """None for a transfer that moves or is over. `ended`: how calls of its groups' members have ended."""
    if not transfer.is_active:
        return None
    if transfer.standing is not None:
        standing = transfer.standing
        text = f"{standing.error}; it goes on by itself when there is room"
        return Report(code=standing.error.code, text=text, since_s=now - standing.since)
    if transfer.is_paused:
        return _report(transfer, "paused", f"paused: swarm resume {transfer.id}", now)
    if transfer.state is TransferState.FINISHING or progress is None or progress.waiting is None:
        return None
    members = "member" if group is None else f"member of {group}"
    if progress.waiting is Waiting.NO_MEMBERS:
        tried = ended()
        strangers = list(dict.fromkeys(str(each.address) for each in tried if each.stranger is not None))
        text = f"no {members} is connected: " + (_reached(strangers) if strangers else _unreached(tried))
        return _report(transfer, progress.waiting.value, text, now, strangers)
    return _report(transfer, progress.waiting.value, _sentence(progress, members), now)


def _reached(addresses: Sequence[str]) -> str:
    verb, be = ("was", "is") if len(addresses) == 1 else ("were", "are")
    return (
        f"{_listed(addresses, ', ')} {verb} reached but {be} not in this group: was it unshared, or is the ticket for"
        " another group?"
    )


def _unreached(tried: Sequence[Ended]) -> str:
    reasons = list(dict.fromkeys(each.reason for each in tried if each.reason))
    why = f" ({_listed(reasons, '; ')})" if reasons else ""
    return (
        f"is the other machine's swarmd running and reachable?{why}"
        " `swarm peer list` shows what was tried, `swarm peer add HOST:PORT` tries an address"
    )


def _listed(parts: Sequence[str], mark: str) -> str:
    more = f" and {len(parts) - MAX_TRIED} more" if len(parts) > MAX_TRIED else ""
    return mark.join(parts[:MAX_TRIED]) + more


def _sentence(progress: Progress, members: str) -> str:
    match progress.waiting:
        case Waiting.NOBODY_HAS_IT:
            return f"{_count(progress.members, members)} connected, but nobody has any of it: wait for who shared it"
        case Waiting.MISSING_CHUNKS:
            return (
                f"{progress.missing} of {progress.n_chunks} chunks are held by nobody who is connected:"
                " wait until the one who shared it is back"
            )
        case Waiting.METADATA:
            return "the list of its files is being fetched"
        case Waiting.SLOW_PEERS:
            return f"{_count(progress.peers, 'peer')} asked, no answer for some seconds"
        case Waiting.RATE_LIMITED:
            return "the download limit of this node (or group) holds it back"
        case Waiting.DISK:
            return "the disk did not take what was to be written; trying again"
        case _:
            return "paused"


def _count(number: int, noun: str) -> str:
    first, *rest = noun.split(" ", 1)
    return f"{number} {' '.join([first if number == 1 else first + 's', *rest])}{' is' if number == 1 else ' are'}"


def _report(transfer: Transfer, code: str, text: str, now: float, reached: Sequence[str] = ()) -> Report:
    return Report(code=code, text=text, since_s=max(0.0, now - transfer.moved_at), reached=list(reached[:MAX_TRIED]))
