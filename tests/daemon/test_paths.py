"""Paths: a user's, the system's, systemd's; each named variable counts, nothing is created."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarmd.daemon.paths import Paths, find_paths

HOME = Path("/home/ann")


def test_a_user_without_any_variable() -> None:
    assert find_paths({}, 1000, HOME) == Paths(
        config_file=HOME / ".config/swarmd/config.toml",
        state_dir=HOME / ".local/state/swarmd",
        socket=HOME / ".local/state/swarmd/control.sock",
    )


def test_a_user_with_xdg_variables() -> None:
    environ = {
        "XDG_CONFIG_HOME": "/x/config",
        "XDG_STATE_HOME": "/x/state",
        "XDG_RUNTIME_DIR": "/run/user/1000",
    }
    assert find_paths(environ, 1000, HOME) == Paths(
        config_file=Path("/x/config/swarmd/config.toml"),
        state_dir=Path("/x/state/swarmd"),
        socket=Path("/run/user/1000/swarmd.sock"),
    )


def test_relative_xdg_variables_are_ignored_as_the_specification_says() -> None:
    environ = dict.fromkeys(("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"), "here")
    assert find_paths(environ, 1000, HOME) == find_paths({}, 1000, HOME)


@pytest.mark.parametrize("uid", [0, 998])
def test_root_and_system_users(uid: int) -> None:
    assert find_paths({"XDG_RUNTIME_DIR": "/run/user/0"}, uid, Path("/root")) == Paths(
        config_file=Path("/etc/swarmd/config.toml"),
        state_dir=Path("/var/lib/swarmd"),
        socket=Path("/run/swarmd/control.sock"),
    )


@pytest.mark.parametrize("uid", [998, 61184])  # a sysusers user; one of DynamicUser=, which has no home
def test_folders_that_systemd_gives(uid: int) -> None:
    environ = {
        "STATE_DIRECTORY": "/var/lib/private/swarmd:/var/lib/other",
        "RUNTIME_DIRECTORY": "/run/swarmd",
        "CONFIGURATION_DIRECTORY": "/etc/swarmd",
    }
    assert find_paths(environ, uid, Path("/")) == Paths(
        config_file=Path("/etc/swarmd/config.toml"),
        state_dir=Path("/var/lib/private/swarmd"),
        socket=Path("/run/swarmd/control.sock"),
    )
