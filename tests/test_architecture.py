"""The rules of the house that no other tool checks, read off the syntax trees.

Import layers are import-linter's; these are the rest: who may read the clock or draw a random number, where
a broad `except` may stand, no sleeping in tests, imports at the top, and the length of files and functions.
Each rule is tried on a piece of code that breaks it before it is trusted with the project.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ("swarmd", "cli")
EVERYTHING = ("swarmd", "cli", "tests")

SANS_IO = ("swarmd/core", "swarmd/identity", "swarmd/transport", "swarmd/dht", "swarmd/groups", "swarmd/replication")

FILE_LINES_LIMIT = 500
FUNCTION_LINES_LIMIT = 60

CLOCK = ("swarmd/core/clock.py",)
RNG = ("swarmd/core/rng.py",)
BROAD_EXCEPT = ("swarmd/daemon/supervisor.py", "swarmd/control/dispatch.py", "swarmd/daemon/workers.py")
RUN_BY_HAND = ("tests/bench/", "tests/demo")
"""Programs for people, which measure and wait in real time."""
CLI_MAY_IMPORT = {
    "swarmd",  # for its version
    "swarmd.control.client",
    "swarmd.control.dht",
    "swarmd.control.failures",
    "swarmd.control.records",
    "swarmd.control.messaging",
    "swarmd.control.schema",
    "swarmd.control.values",
    "swarmd.core.concealment",
    "swarmd.core.errors",
    "swarmd.core.terminal",
}

Tree = ast.Module
Lines = Iterator[int]


def imported(tree: Tree) -> Iterator[tuple[str, int]]:
    """Each module that is imported, also as `from package import module`, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.lineno


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an expression; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def calls(tree: Tree) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func), node


def time_reads(tree: Tree) -> Lines:
    yield from (line for module, line in imported(tree) if module == "time")
    clocks = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "loop.time", "_loop.time"}
    yield from (node.lineno for name, node in calls(tree) if ".".join(name.split(".")[-2:]) in clocks)


def random_draws(tree: Tree) -> Lines:
    yield from (line for module, line in imported(tree) if module in {"random", "secrets"})
    sources = {"os.urandom", "os.getrandom", "uuid.uuid1", "uuid.uuid4", "AESGCM.generate_key"}
    sources |= {"Ed25519PrivateKey.generate", "X25519PrivateKey.generate"}
    yield from (node.lineno for name, node in calls(tree) if name in sources)


def input_and_output(tree: Tree) -> Lines:
    devices = {"asyncio", "concurrent", "selectors", "select", "socket", "ssl", "subprocess", "threading"}
    yield from (line for module, line in imported(tree) if module.split(".")[0] in devices)


def broad_excepts(tree: Tree) -> Lines:
    """`except Exception` and its relatives; a handler of BaseException may clean up if it raises again."""
    broad = {"Exception", "BaseException"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            caught = {""} if node.type is None else {dotted(kind) for kind in alternatives(node.type)}
            raises_again = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            if caught & {"", "Exception"} or (caught & broad and not raises_again):
                yield node.lineno
    for name, call in calls(tree):
        if name.split(".")[-1] == "suppress" and broad & {dotted(kind) for kind in call.args}:
            yield call.lineno


def alternatives(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def sleeps(tree: Tree) -> Lines:
    """Sleeping; `asyncio.sleep(0)` only lets others run."""
    for name, call in calls(tree):
        if name.split(".")[-1] == "sleep":
            first = call.args[0] if call.args else None
            if not (isinstance(first, ast.Constant) and first.value == 0):
                yield call.lineno


def inner_imports(tree: Tree) -> Lines:
    for function in functions(tree):
        yield from (node.lineno for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom))


def functions(tree: Tree) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def long_functions(tree: Tree) -> Lines:
    for function in functions(tree):
        if (function.end_lineno or 0) - function.lineno >= FUNCTION_LINES_LIMIT:
            yield function.lineno


def missing_docstring(tree: Tree) -> Lines:
    if ast.get_docstring(tree) is None:
        yield 1


def beyond_the_clients_side(tree: Tree) -> Lines:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module not in CLI_MAY_IMPORT:
            modules = {f"{node.module}.{alias.name}" for alias in node.names}
        else:
            continue
        if any(module.split(".")[0] == "swarmd" and module not in CLI_MAY_IMPORT for module in modules):
            yield node.lineno


@dataclass(frozen=True, slots=True)
class Rule:
    """`find` gives the lines that break it, in the files under `where` that are not under `excepted`."""

    name: str
    find: Callable[[Tree], Lines]
    broken: str
    where: tuple[str, ...] = PRODUCT
    excepted: tuple[str, ...] = ()


RULES = [
    Rule("time is read in core/clock.py only", time_reads, "import time", excepted=CLOCK),
    Rule("the date is time too", time_reads, "datetime.datetime.now()", excepted=CLOCK),
    Rule("the event loop's time is time too", time_reads, "self._loop.time()", excepted=CLOCK),
    Rule("randomness is drawn in core/rng.py only", random_draws, "from secrets import token_bytes", excepted=RNG),
    Rule("keys are random too", random_draws, "X25519PrivateKey.generate()", excepted=RNG),
    Rule("protocols are sans-IO", input_and_output, "import asyncio", where=SANS_IO),
    Rule("no broad except", broad_excepts, "try: f()\nexcept (OSError, Exception): raise", excepted=BROAD_EXCEPT),
    Rule("no bare except", broad_excepts, "try: f()\nexcept: raise", excepted=BROAD_EXCEPT),
    Rule("no broad suppress", broad_excepts, "with contextlib.suppress(Exception): f()", excepted=BROAD_EXCEPT),
    Rule("no test sleeps", sleeps, "await asyncio.sleep(0.1)", where=("tests",), excepted=RUN_BY_HAND),
    Rule("imports stand at the top", inner_imports, "def f():\n  import a", where=("swarmd", "tests")),
    Rule("functions are short", long_functions, "def f():\n" + " g()\n" * 60),
    Rule("modules say what they are", missing_docstring, "import a", where=EVERYTHING),
    Rule("the CLI takes no detours", beyond_the_clients_side, "from swarmd.control import server", where=("cli",)),
    Rule("the CLI stays on its side", beyond_the_clients_side, "import swarmd.store.tree", where=("cli",)),
]


def sources(where: tuple[str, ...], excepted: tuple[str, ...] = ()) -> Iterator[Path]:
    for folder in where:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not path.relative_to(ROOT).as_posix().startswith(excepted or ("//",)):
                yield path


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule(rule: Rule) -> None:
    assert list(rule.find(ast.parse(rule.broken))), "the rule finds what it is there for"
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources(rule.where, rule.excepted)
        for line in rule.find(ast.parse(path.read_text(), filename=str(path)))
    ]
    assert not found, f"{rule.name}: {', '.join(found)}"


def test_what_the_rules_allow() -> None:
    assert not list(broad_excepts(ast.parse("try: f()\nexcept BaseException:\n g()\n raise")))
    assert not list(broad_excepts(ast.parse("try: f()\nexcept OSError: pass")))
    assert not list(sleeps(ast.parse("await asyncio.sleep(0)")))
    assert not list(beyond_the_clients_side(ast.parse("from swarmd.control import schema\nimport os, cli.app")))
    assert not list(time_reads(ast.parse("clock.monotonic()\nself._clock.time()")))


def test_files_are_short() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in sources(EVERYTHING)}
    assert len(lengths) > 20, "they were found at all"
    assert not {str(path): lines for path, lines in lengths.items() if lines > FILE_LINES_LIMIT}


def test_every_folder_of_code_is_a_package() -> None:
    folders = {path.parent for path in sources(EVERYTHING)}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").exists()]


def test_the_exceptions_still_exist() -> None:
    """An exception whose file was renamed would excuse nothing, or worse, something else later."""
    assert not [name for name in (*CLOCK, *RNG, *BROAD_EXCEPT) if not (ROOT / name).is_file()]
