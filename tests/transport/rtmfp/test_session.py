"""The RTMFP session is a session as all others are."""

from __future__ import annotations

from swarmd.identity.identity import Identity
from tests.transport.conformance import Pair, SessionConformance
from tests.transport.rtmfp.pair import RtmfpPair


class TestConformance(SessionConformance):
    def make_pair(self, initiator: Identity, responder: Identity) -> Pair:
        return RtmfpPair(initiator, responder)
