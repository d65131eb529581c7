"""What flows are for: any metadata is one of ours or the peer's fault, and nothing urgent waits for bulk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.core.ids import GroupId
from swarmd.daemon.flows import PRIORITIES, BulkFlow, FlowKind, decode_metadata, encode_metadata
from swarmd.transport.api import MAX_METADATA_BYTES, Priority

GROUP = GroupId(bytes(range(32)))


@pytest.mark.parametrize("kind", FlowKind)
def test_what_was_encoded_decodes(kind: FlowKind) -> None:
    group = None if kind is FlowKind.JOIN else GROUP
    metadata = encode_metadata(kind, group)
    assert decode_metadata(metadata) == (kind, group)
    assert len(metadata) <= MAX_METADATA_BYTES


def test_the_bytes_are_those_of_the_protocol() -> None:
    assert encode_metadata(FlowKind.JOIN, None) == b"\x00"
    assert encode_metadata(FlowKind.BULK, GROUP) == b"\x03" + bytes(range(32))


@given(st.one_of(st.binary(max_size=80), st.binary(min_size=32, max_size=34).map(lambda rest: b"\x01" + rest)))
def test_any_metadata_is_one_of_ours_or_the_peers_fault(metadata: bytes) -> None:
    try:
        kind, group = decode_metadata(metadata)
    except RemoteError:
        return
    assert encode_metadata(kind, group) == metadata


@pytest.mark.parametrize("metadata", [b"", b"\x04" + GROUP, b"\x00" + GROUP, b"\x01", b"\x02" + GROUP[:31]])
def test_what_is_none_of_ours(metadata: bytes) -> None:
    with pytest.raises(RemoteError):
        decode_metadata(metadata)


def test_the_proof_goes_before_everything_and_bulk_after() -> None:
    order = sorted(FlowKind, key=PRIORITIES.__getitem__)
    assert order[0] is FlowKind.BULK and order[-1] is FlowKind.JOIN
    assert len(set(PRIORITIES.values())) == len(FlowKind)


def bulk_flow(*, is_group_background: bool = False) -> BulkFlow:
    return BulkFlow(1, GROUP, Priority.BULK, is_group_background=is_group_background)


def test_blocks_are_as_pressing_as_the_last_that_is_waited_for() -> None:
    flow = bulk_flow()
    flow.handed(100, is_background=True)
    assert flow.wanted_priority() is Priority.BACKGROUND
    flow.handed(50, is_background=False)
    flow.handed(30, is_background=True)
    for left, priority in ((100, Priority.BULK), (50, Priority.BACKGROUND), (30, Priority.BULK)):
        flow.left(left)
        assert flow.wanted_priority() is priority, "nothing on its way: as it was at first"


def test_in_a_background_group_all_blocks_give_way() -> None:
    flow = bulk_flow(is_group_background=True)
    flow.handed(50, is_background=False)
    assert flow.wanted_priority() is Priority.BACKGROUND
    flow.is_group_background = False
    assert flow.wanted_priority() is Priority.BULK
