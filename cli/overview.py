"""The table of commands and the text of `swarm --help`.

Kept free of imports, so that the help appears in the time that Python itself needs to start; a command's
module is imported when it runs. The texts are the only copy: click shows the same ones.
"""

COMMANDS = {
    "status": ("cli.node", "Show what the daemon does, and what each transfer waits for"),
    "id": ("cli.node", "Print this node's peer ID"),
    "version": ("cli.node", "Print the versions of swarm and of the daemon"),
    "share": ("cli.share", "Share a file or folder; prints a ticket"),
    "unshare": ("cli.catalogue", "Stop sharing; the files stay"),
    "get": ("cli.get", "Fetch what a ticket, name or content ID stands for"),
    "ls": ("cli.catalogue", "List what is shared in your groups"),
    "transfers": ("cli.transfers", "List the downloads"),
    "pause": ("cli.transfers", "Let a download rest"),
    "resume": ("cli.transfers", "Go on with a paused download"),
    "rm": ("cli.transfers", "Forget a download, and on demand its data"),
    "group": ("cli.groups", "Create, join, show and leave groups"),
    "post": ("cli.messages", "Tell all members of a group something"),
    "listen": ("cli.messages", "Print what is posted in a group, and sent to this node"),
    "route": ("cli.messages", "Send a message to one member, wherever it is"),
    "dht": ("cli.dht", "Put values into the DHT, and get them"),
    "metrics": ("cli.node", "Print counters for Prometheus"),
    "peer": ("cli.peers", "Add, remove and list peers"),
    "completion": ("cli.completion", "Print a completion script for your shell"),
}
"""Name, module that has it (as NAME_command), one line of help; in the order of the help."""

TAGLINE = "Share large files in a group of machines, without a server. Asks a running swarmd."

SOCKET_HELP = "Control socket of the daemon (or SWARMD_SOCKET)."
JSON_HELP = "One JSON object on stdout, or one a line; may also follow the command."

EPILOG = """\
Exit codes: 0 done, 1 error, 2 usage, 3 daemon unreachable, 4 not found, 5 not allowed, 6 no peers,
7 incomplete but resumable, 8 timed out, 9 disk full, 10 integrity, 130 interrupted.

`swarm COMMAND --help` says more about a command. Tickets are secrets; `-` reads one from stdin."""


EXIT_INTERRUPTED = 130
"""128 and the number of SIGINT, as shells have it."""


def overview() -> str:
    """What `swarm --help` prints."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {summary}" for name, (_, summary) in COMMANDS.items())
    return f"""\
Usage: swarm [OPTIONS] COMMAND [ARGS]...

  {TAGLINE}

Options:
  --socket PATH  {SOCKET_HELP}
  --json         {JSON_HELP}
  --version      Print the version of swarm.
  -h, --help     Show this text.

Commands:
{commands}

{EPILOG}"""
