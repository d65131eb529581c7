"""The command line: the contract's options, and what is not given stays not given."""

from __future__ import annotations

import subprocess
import sys

import pytest

from swarmd import __version__
from swarmd.daemon.options import Options, parse_options


def test_nothing_given() -> None:
    assert parse_options([]) == Options()


def test_everything_given() -> None:
    text = (
        "--config c.toml --state-dir /s --socket s.sock --listen 0.0.0.0:1 --listen [::]:1 --no-mdns --no-dht"
        " --bootstrap a:1 --bootstrap b:2 --log-level debug --log-format json --check-config"
    )
    assert parse_options(text.split()) == Options(
        config="c.toml",
        state_dir="/s",
        socket="s.sock",
        listen=("0.0.0.0:1", "[::]:1"),
        no_mdns=True,
        no_dht=True,
        bootstrap=("a:1", "b:2"),
        log_level="debug",
        log_format="json",
        check_config=True,
    )


@pytest.mark.parametrize("text", ["--lis 0.0.0.0:1", "--listen", "--unknown", "argument"])
def test_wrong_usage_ends_with_status_2(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_options(text.split())
    assert ended.value.code == 2
    assert "usage: swarmd" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "said"), [("--version", f"swarmd {__version__}\n"), ("--help", "--no-mdns")])
def test_help_and_version(option: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_options([option])
    assert ended.value.code == 0
    assert said in capsys.readouterr().out


def test_parsing_needs_nothing_but_the_standard_library() -> None:
    program = "import sys, swarmd.daemon.options; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    foreign = set(done.stdout.split()) - sys.stdlib_module_names - {"swarmd", "__main__"}
    assert not {name for name in foreign if not name.startswith("_")}
