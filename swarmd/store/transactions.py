"""All of a block's statements or none of them, on a connection that has no transactions of its own making.

In: a connection with `isolation_level=None`. Blocks nest: the outermost is a transaction, each in it a savepoint.
Not here: whose turn it is (`database` has the lock), and what errors mean.
A crash loses the outermost block under way and nothing else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def atomic(connection: sqlite3.Connection) -> Iterator[None]:
    is_inner = connection.in_transaction
    # Savepoints of one name stack: each statement means the innermost.
    connection.execute("SAVEPOINT block" if is_inner else "BEGIN")
    try:
        yield
        connection.execute("RELEASE block" if is_inner else "COMMIT")
    except BaseException:
        # After some errors (a full disk) SQLite has given up the whole transaction: nothing is left to undo.
        if connection.in_transaction:
            connection.execute("ROLLBACK TO block" if is_inner else "ROLLBACK")
            if is_inner:
                connection.execute("RELEASE block")
        raise
