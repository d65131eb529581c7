"""Errors keep their meaning from the daemon to the shell."""

from __future__ import annotations

import pytest

from swarmd.control.failures import DaemonUnreachable, error_of, exit_code, failure_code
from swarmd.core import errors


def _local_errors() -> list[type[errors.LocalError]]:
    return [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.LocalError)
    ]


@pytest.mark.parametrize("kind", _local_errors())
def test_every_local_error_comes_back_as_itself(kind: type[errors.LocalError]) -> None:
    error = error_of(failure_code(kind("why")), "why")
    assert type(error) is kind
    assert str(error) == "why"
    assert exit_code(error) in range(1, 11)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.LocalError("x"), 1),
        (errors.InvalidArgument("x"), 2),
        (DaemonUnreachable("x"), 3),
        (errors.NotFound("x"), 4),
        (errors.NotAllowed("x"), 5),
        (errors.NoPeers("x"), 6),
        (errors.Unreachable("x"), 6),
        (errors.Incomplete("x"), 7),
        (errors.TimedOut("x"), 8),
        (errors.DiskFull("x"), 9),
        (errors.IntegrityError("x"), 10),
        (errors.RemoteError("x"), 1),
    ],
)
def test_exit_codes(error: errors.SwarmError, code: int) -> None:
    assert exit_code(error) == code


def test_a_code_of_a_newer_daemon_is_a_plain_error() -> None:
    assert type(error_of("brand_new", "x")) is errors.LocalError
