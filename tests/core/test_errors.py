"""Errors: the codes that the control API and the CLI rely on."""

from __future__ import annotations

import pytest

from swarmd.core import errors

CODES = {
    errors.LocalError: "error",
    errors.InvalidArgument: "invalid",
    errors.NotFound: "not_found",
    errors.NotAllowed: "not_allowed",
    errors.NoPeers: "no_peers",
    errors.Incomplete: "incomplete",
    errors.TimedOut: "timed_out",
    errors.DiskFull: "disk_full",
    errors.IntegrityError: "integrity",
    errors.AlreadyExists: "exists",
    errors.Conflict: "conflict",
    errors.Unreachable: "unreachable",
}


@pytest.mark.parametrize(("kind", "code"), CODES.items())
def test_codes_are_stable(kind: type[errors.LocalError], code: str) -> None:
    assert kind("why").code == code
    assert str(kind("why")) == "why"


def test_a_remote_error_has_a_penalty_and_is_not_ours() -> None:
    assert errors.RemoteError("short").penalty == 1
    assert errors.RemoteError("forged", penalty=10).penalty == 10
    assert not issubclass(errors.RemoteError, errors.LocalError)
