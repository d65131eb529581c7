"""Why a transfer stands still, in a word for scripts and a sentence for people: cause, and next step where there is
one.
"""

from __future__ import annotations

from swarmd.control.records import Waiting as Report
from swarmd.daemon.transfer import Transfer, TransferState
from swarmd.replication.progress import Progress, Waiting


def waiting_of(transfer: Transfer, progress: Progress | None, now: float, group: str | None) -> Report | None:
    """None for a transfer that moves or is over."""
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
    return _report(transfer, progress.waiting.value, _sentence(progress, group), now)


def _sentence(progress: Progress, group: str | None) -> str:
    members = "member" if group is None else f"member of {group}"
    match progress.waiting:
        case Waiting.NO_MEMBERS:
            return (
                f"no {members} is connected: is the other machine's swarmd running and reachable?"
                " `swarm peer list` shows what was tried, `swarm peer add HOST:PORT` tries an address"
            )
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
    return f"{number} {noun.replace('member', 'members', 1) if number != 1 else noun}{' are' if number != 1 else ' is'}"


def _report(transfer: Transfer, code: str, text: str, now: float) -> Report:
    return Report(code=code, text=text, since_s=max(0.0, now - transfer.moved_at))
