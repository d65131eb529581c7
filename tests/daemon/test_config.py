"""Configuration: who wins, what is refused and how it is said, and what a reload may change."""

from __future__ import annotations

import io
import tomllib
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.errors import InvalidArgument
from swarmd.daemon.config import ConfigError, Loaded, Surroundings, load
from swarmd.daemon.effective import check_config, describe
from swarmd.daemon.options import Options, parse_options
from swarmd.daemon.settings import (
    DEFAULT_LISTEN,
    PARSERS,
    SECTIONS,
    Dht,
    GroupLimits,
    changed_keys,
    flatten,
    keys_of,
)
from swarmd.daemon.values import HostPort, Rate, Secret

FULL = """
[node]
listen = ["127.0.0.1:7000", "[::1]:7000"]
state_dir = "~/swarmd"

[transport]
tcp = true
udp = false

[limits]
upload = "10 MiB/s"
download = 5000000
max_sessions = 64

[limits.groups.films]
upload = "1 MiB/s"

[limits.groups."a.b c"]
download = "20 Mbit/s"
background = true

[discovery]
mdns = false
bootstrap = ["host.example:7927", "[::1]:1", "192.0.2.1:2"]

[dht]
mode = "off"
bootstrap = ["dht.example:6881"]
network = "one owner's own"

[control]
socket = "/run/x/control.sock"
group = "root"

[log]
level = "debug"
format = "json"
"""


class Place:
    """A folder with a configuration file and an environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / ".config/swarmd/config.toml"
        self.environ: dict[str, str] = {}
        self.file.parent.mkdir(parents=True)

    @property
    def around(self) -> Surroundings:
        return Surroundings(self.environ, 1000, self.folder, self.folder)

    def load(self, *arguments: str) -> Loaded:
        return load(parse_options(arguments), self.around)

    def problems(self, text: str, *arguments: str) -> tuple[str, ...]:
        self.file.write_text(text)
        with pytest.raises(ConfigError) as refused:
            self.load(*arguments)
        assert str(refused.value) == "\n".join(refused.value.problems)
        return refused.value.problems


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_every_key_has_a_parser_and_every_parser_a_key() -> None:
    assert list(PARSERS) == [f"{name}.{key}" for name, section in SECTIONS.items() for key in keys_of(section)]


def test_defaults(place: Place) -> None:
    loaded = place.load()
    assert not loaded.is_file_present
    assert not loaded.is_listen_named
    assert set(loaded.origins.values()) == {"default"}
    config = loaded.config
    assert config.node.listen == DEFAULT_LISTEN
    assert config.node.state_dir == place.folder / ".local/state/swarmd"
    assert config.limits.upload == config.limits.download == Rate(None)
    assert config.transport.tcp and config.transport.udp
    assert config.discovery.mdns
    assert (config.dht.mode, config.dht.bootstrap, config.dht.network) == ("private", (), None)
    assert config.control.group is None
    assert (config.log.level, config.log.format) == ("info", "auto")


def test_a_file_with_every_key(place: Place) -> None:
    place.file.write_text(FULL)
    loaded = place.load()
    config = loaded.config
    assert loaded.is_file_present
    assert set(loaded.origins.values()) == {str(place.file)}
    assert config.node.listen == (Address("127.0.0.1", 7000), Address("::1", 7000))
    assert config.node.state_dir == place.folder / "swarmd"
    assert (config.limits.upload, config.limits.download) == (Rate(10 << 20), Rate(5_000_000))
    assert (config.transport.tcp, config.transport.udp) == (True, False)
    assert config.limits.max_sessions == 64
    assert config.limits.groups == {
        "films": GroupLimits(upload=Rate(1 << 20)),
        "a.b c": GroupLimits(download=Rate(2_500_000), background=True),
    }
    assert not config.discovery.mdns
    assert config.discovery.bootstrap == (
        HostPort("host.example", 7927),
        HostPort("::1", 1),
        HostPort("192.0.2.1", 2),
    )
    assert config.dht == Dht(mode="off", bootstrap=(HostPort("dht.example", 6881),), network=Secret("one owner's own"))
    assert (config.control.socket, config.control.group) == (Path("/run/x/control.sock"), "root")
    assert (config.log.level, config.log.format) == ("debug", "json")


def test_the_environment_comes_before_the_file_and_options_before_both(place: Place) -> None:
    place.file.write_text(FULL)
    place.environ |= {"SWARMD_STATE_DIR": "/env/state", "SWARMD_SOCKET": "env.sock"}
    config = place.load().config
    assert config.node.state_dir == Path("/env/state")
    assert config.control.socket == place.folder / "env.sock"
    loaded = place.load(
        *("--state-dir", "state", "--socket", "/opt/s", "--listen", "0.0.0.0:0", "--log-level", "error"),
        *("--log-format", "terminal", "--bootstrap", "h:3"),
    )
    config = loaded.config
    assert config.node.state_dir == place.folder / "state"
    assert config.control.socket == Path("/opt/s")
    assert config.node.listen == (Address("0.0.0.0", 0),)
    assert loaded.is_listen_named
    assert (config.log.level, config.log.format) == ("error", "terminal")
    assert config.discovery.bootstrap[-1] == HostPort("h", 3), "--bootstrap adds"
    assert len(config.discovery.bootstrap) == 4
    assert loaded.origins["control.socket"] == "--socket"


def test_no_mdns_wins_over_the_file(place: Place) -> None:
    place.file.write_text("[discovery]\nmdns = true\n")
    assert place.load().config.discovery.mdns
    assert not place.load("--no-mdns", "--no-dht").config.discovery.mdns


def test_no_dht_wins_over_the_file(place: Place) -> None:
    place.file.write_text('[dht]\nmode = "public"\n')
    assert place.load("--no-dht").config.dht.mode == "off"


def test_the_public_dht_is_entered_by_nodes_that_are_named_and_has_no_name(place: Place) -> None:
    (problem,) = place.problems('[dht]\nmode = "public"\n')
    assert problem.startswith(f"{place.file}: dht.mode: the public DHT is entered by nodes that are named")
    (problem,) = place.problems('[dht]\nmode = "public"\nnetwork = "a name of ours"\nbootstrap = ["h:1"]\n')
    assert problem.startswith(f"{place.file}: dht.network: the public DHT has no name")
    place.file.write_text('[dht]\nmode = "public"\n')
    assert place.load("--bootstrap", "h:1").config.dht.mode == "public", "--bootstrap names one too"


@pytest.mark.parametrize("network", ['"swordfi"', "12345678", '["swordfish"]', '"' + "swordfish" * 30 + '"'])
def test_a_wrong_name_of_a_network_is_not_repeated(place: Place, network: str) -> None:
    (problem,) = place.problems(f"[dht]\nnetwork = {network}\n")
    assert problem == f"{place.file}: dht.network: is not a text of 8 to 255 bytes"
    assert "swordfish" not in repr(Secret("swordfish")) + str(Secret("swordfish"))


def test_the_file_may_be_named(place: Place) -> None:
    (place.folder / "other.toml").write_text('[log]\nlevel = "error"\n')
    place.environ["SWARMD_CONFIG"] = "other.toml"
    assert place.load().config.log.level == "error"
    (place.folder / "third.toml").write_text('[log]\nlevel = "debug"\n')
    assert place.load("--config", "third.toml").config.log.level == "debug"


def test_a_named_file_must_exist(place: Place) -> None:
    with pytest.raises(ConfigError, match=r"/nowhere\.toml: there is no such file"):
        place.load("--config", "nowhere.toml")


def test_defaults_inside_the_state_folder_follow_it(place: Place) -> None:
    assert place.load("--state-dir", "/s").config.control.socket == Path("/s/control.sock")
    place.environ["XDG_RUNTIME_DIR"] = "/run/user/1000"
    assert place.load("--state-dir", "/s").config.control.socket == Path("/run/user/1000/swarmd.sock")


def test_a_process_without_a_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "nowhere")
    assert Surroundings.of_process().home == Path("/")


# --- refusals ---


def test_an_unknown_key_names_file_key_and_near_misses(place: Place) -> None:
    (problem,) = place.problems("[limits]\nuplaod = 1\n")
    assert problem == f"{place.file}: unknown key limits.uplaod; did you mean upload?"


def test_a_key_in_the_wrong_section_is_sent_to_the_right_one(place: Place) -> None:
    (problem,) = place.problems('[node]\nsocket = "/x"\n')
    assert problem == f"{place.file}: unknown key node.socket; it belongs in [control]"


def test_a_key_that_resembles_nothing_lists_what_there_is(place: Place) -> None:
    (problem,) = place.problems("[log]\nzzz = 1\n")
    assert problem == f"{place.file}: unknown key log.zzz; known are level, format"


def test_every_mistake_is_named_at_once(place: Place) -> None:
    problems = place.problems(
        """
        top = 1
        limits = 3
        [loging]
        [node]
        listen = ["127.0.0.1:1", "localhost:2"]
        state_dir = "relative"
        [control]
        socket = 3
        [discovery]
        mdns = "yes"
        bootstrap = ["host"]
        [log]
        level = "warn"
        """,
        "--log-format",
        "xml",
    )
    assert [problem.removeprefix(f"{place.file}: ") for problem in problems] == [
        "unknown section [top]; known are node, transport, limits, discovery, dht, control, log",
        "limits must be a section: [limits]",
        "unknown section [loging]; did you mean log?",
        "node.listen: 'localhost:2' has a name where a numeric IP address is needed: write 192.0.2.1:7000 or"
        " [2001:db8::1]:7000 (all of this machine's: 0.0.0.0 and [::])",
        "node.state_dir: 'relative' is not an absolute path (it may start with ~/)",
        "control.socket: 3 is not an absolute path (it may start with ~/)",
        "discovery.mdns: 'yes' is neither true nor false",
        "discovery.bootstrap: 'host' is not HOST:PORT (an IPv6 address goes in brackets: [::1]:7927)",
        "log.level: 'warn' is not possible; did you mean warning?",
        "--log-format: log.format: 'xml' is not possible; known are auto, terminal, journal, json",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("max_sessions = 0", "0 is not a whole number from 1 to 65536"),
        ("max_sessions = true", "True is not a whole number"),
        ('max_sessions = "4"', "'4' is not a whole number"),
        ("max_sessions = 1.5", "1.5 is not a whole number"),
        ("upload = true", "True is not a rate"),
        ("upload = 1.5", "1.5 is not a rate"),
        ("upload = 0", 'for no limit write "unlimited"'),
        ("groups = 3", "must be a table"),
        ("groups.films = 3", '"films": 3 is not a table'),
        ("groups.films.uploads = 3", '"films": unknown key uploads; did you mean upload'),
        ("groups.films.background = 1", "films"),
        ('groups.films.upload = "x"', "\"films\": 'x' is not a rate"),
    ],
)
def test_limits_that_make_no_sense(place: Place, line: str, said: str) -> None:
    (problem,) = place.problems(f"[limits]\n{line}\n")
    assert said in problem


@pytest.mark.parametrize(
    ("options", "file", "origins"),
    [
        (("--no-tcp", "--no-udp"), "", "--no-tcp and --no-udp"),
        (("--no-tcp",), "[transport]\nudp = false\n", "--no-tcp and FILE"),
        ((), "[transport]\nudp = false\ntcp = false\n", "FILE"),
    ],
)
def test_something_has_to_carry_sessions(place: Place, options: tuple[str, ...], file: str, origins: str) -> None:
    place.file.write_text(file)
    with pytest.raises(ConfigError) as refused:
        place.load(*options)
    (problem,) = refused.value.problems
    assert problem.startswith(origins.replace("FILE", str(place.file)) + ": neither TCP nor UDP may be used")


def test_a_transport_is_switched_off(place: Place) -> None:
    transport = place.load("--no-tcp").config.transport
    assert (transport.tcp, transport.udp) == (False, True)
    transport = place.load("--no-udp").config.transport
    assert (transport.tcp, transport.udp) == (True, False)


def test_what_contradicts(place: Place) -> None:
    socket = "/" + "x" * 107
    problems = place.problems(
        f"""
        [control]
        socket = "{socket}"
        group = "no-such-group"
        [node]
        listen = ["127.0.0.1:1", "0.0.0.0:0", "127.0.0.1:1", "0.0.0.0:0"]
        """
    )
    assert len(problems) == 3
    assert "longer than the 107 bytes" in problems[0]
    assert "there is no group 'no-such-group' on this system" in problems[1]
    assert "127.0.0.1:1 is there twice" in problems[2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[node\n", "line 1"),
        (b"[log]\nlevel = 'info'\nlevel = 'info'\n", "line 3"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"#" * (1 << 20) + b"\n", "longer than 1048576 bytes"),
    ],
)
def test_a_file_that_is_no_configuration(place: Place, content: bytes, said: str) -> None:
    place.file.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as refused:
        place.load()
    assert str(place.file) in str(refused.value)


def test_a_folder_in_place_of_the_file(place: Place) -> None:
    place.file.mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        place.load()


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(PARSERS)), _VALUES)
def test_any_value_is_taken_or_refused_in_words(key: str, value: Any) -> None:
    try:
        PARSERS[key](value)
    except InvalidArgument as error:
        assert str(error)


# --- what is in force ---


def test_the_manual_shows_every_key_as_it_is(place: Place) -> None:
    manual = (Path(__file__).parents[2] / "docs/service.md").read_text()
    block = dedent(manual[manual.index("    [node]\n") : manual.index("`systemctl reload swarmd`")])
    place.file.write_text(block.replace('group = "swarmd"', 'group = "root"'))
    loaded = place.load()
    assert set(loaded.origins.values()) == {str(place.file)}
    assert loaded.config.limits.groups == {"films": GroupLimits(upload=Rate(1 << 20), background=True)}


def test_what_is_in_force_reads_as_the_same_configuration(place: Place, tmp_path: Path) -> None:
    place.file.write_text(FULL)
    loaded = place.load("--socket", '/odd "name"\\\n\x7f😀', "--log-level", "info")
    text = describe(loaded)
    tomllib.loads(text)
    (tmp_path / "again.toml").write_text(text)
    again = load(Options(config=str(tmp_path / "again.toml")), replace(place.around, home=Path("/elsewhere")))
    assert again.config == replace(loaded.config, dht=replace(loaded.config.dht, network=None))
    assert "one owner" not in text
    assert f"# network is set, and not shown  # {place.file}" in text
    assert 'level = "info"  # --log-level' in text
    assert f'upload = "10 MiB/s"  # {place.file}' in text


def test_check_config_prints_it_and_ends_with_0(place: Place) -> None:
    out, err = io.StringIO(), io.StringIO()
    assert check_config(parse_options([]), place.around, out, err) == 0
    assert "(not there: defaults)" in out.getvalue()
    assert 'listen = ["0.0.0.0:7927", "[::]:7927"]  # default' in out.getvalue()
    assert "# group is not set" in out.getvalue()
    assert err.getvalue() == ""


def test_check_config_prints_the_mistakes_and_ends_with_2(place: Place) -> None:
    place.file.write_text("[log]\nlevle = 1\n[node]\nx = 1\n")
    out, err = io.StringIO(), io.StringIO()
    assert check_config(parse_options([]), place.around, out, err) == 2
    assert out.getvalue() == ""
    assert [line.startswith(f"swarmd: {place.file}: unknown key") for line in err.getvalue().splitlines()] == [True] * 2


def test_a_reload_applies_limits_and_the_level(place: Place) -> None:
    before = place.load().config
    place.file.write_text(FULL)
    after = place.load().config
    live, waiting = changed_keys(before, after)
    assert live == ["limits.upload", "limits.download", "limits.groups", "log.level"]
    same = ["transport.tcp"]  # not both can be off
    assert waiting == [key for key in flatten(after) if key not in [*live, *same]]
    assert changed_keys(after, after) == ([], [])


@pytest.mark.parametrize("option", ["--config", "--state-dir", "--socket"])
def test_an_option_that_is_given_empty_means_neither_the_default_nor_this_folder(place: Place, option: str) -> None:
    (problem,) = place.problems("", option, "")
    assert problem.startswith(f"{option}: it is empty (a shell variable that is not set?)")


@pytest.mark.parametrize("below", ["", "/further/down"])
def test_a_state_folder_that_is_a_file(place: Place, below: str) -> None:
    file = place.folder / "file"
    file.touch()
    (problem,) = place.problems("", "--state-dir", f"{file}{below}")
    assert problem == f"--state-dir: node.state_dir: {file} is not a folder; name another one"
    (place.folder / "link").symlink_to(place.folder)
    assert place.load("--state-dir", str(place.folder / "link/new")).config.node.state_dir.name == "new"
