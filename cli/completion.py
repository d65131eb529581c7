"""`swarm completion bash|zsh|fish`: the script that makes the shell ask `swarm` what may follow."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_COMPLETE_VARIABLE = "_SWARM_COMPLETE"
"""Which click looks for in the environment to know that the shell asks."""


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print a completion script for your shell.

    \b
    bash:  swarm completion bash > ~/.local/share/bash-completion/completions/swarm
    zsh:   swarm completion zsh > ~/.zfunc/_swarm      (with ~/.zfunc in fpath, before compinit)
    fish:  swarm completion fish > ~/.config/fish/completions/swarm.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None, f"click knows no {shell}"
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "swarm", _COMPLETE_VARIABLE).source())
