"""What two ends decide at the same moment crosses on the wire: nobody is at fault, and everybody gets everything."""

from __future__ import annotations

import pytest

from swarmd.core.rng import SeededRng
from swarmd.replication import messages
from swarmd.replication.pickers import Order
from tests.replication.mesh import Content, Member, Mesh, assert_clean, assert_fetched_once

STEPS = 60
MAX_OPENS = 6 * STEPS
"""Two or three for each thing that is done; far more, and both ends open and close in turn without end."""


def disturb(mesh: Mesh, rng: SeededRng, leechers: list[Member], content: Content) -> None:
    """One user somewhere does something."""
    leecher = rng.choice(leechers)
    match rng.randrange(5):
        case 0 | 1:
            leecher.replicator.pause(content.content_id, mesh.now)
        case 2 | 3:
            leecher.replicator.resume(content.content_id, mesh.now)
        case _:
            other = rng.choice([member for member in mesh.members if member is not leecher])
            mesh.part(leecher, other)
            mesh.join(leecher, other)


@pytest.mark.parametrize("seed", range(20))
def test_pauses_and_new_links_at_any_moment(seed: int) -> None:
    rng = SeededRng(seed)
    mesh = Mesh(4)
    seeder, *leechers = mesh.members
    content = Content(1, n_chunks=60, chunk_size=64 << 10)
    seeder.seed(content)
    mesh.join()
    for leecher in leechers:
        leecher.fetch(content, order=rng.choice(list(Order)))
    for _ in range(STEPS):
        disturb(mesh, rng, leechers, content)
        mesh.run(rng.random() * 0.004)
    for leecher in leechers:
        leecher.replicator.resume(content.content_id, mesh.now)
    assert mesh.run_until(lambda: all(leecher.has(content) for leecher in leechers), 30)
    mesh.run(2)
    for leecher in leechers:
        assert_fetched_once(leecher, content)
    assert_clean(mesh)
    assert sum(len(member.heard_of(messages.Open)) for member in mesh.members) <= MAX_OPENS


def test_one_that_completes_while_the_other_begins() -> None:
    """Its Close and the other's Open cross."""
    for delay in range(8):
        mesh = Mesh(3)
        seeder, first, second = mesh.members
        content = Content(1)
        seeder.seed(content)
        mesh.join(seeder, first)
        mesh.join(first, second)
        first.fetch(content)
        mesh.run(delay * 0.001)
        second.fetch(content)
        assert mesh.run_until(lambda: second.has(content), 1.0)  # noqa: B023
        mesh.run(0.5)
        assert_fetched_once(second, content)
        assert_clean(mesh)


def test_a_pause_that_crosses_the_first_questions_is_no_fault() -> None:
    """The other has seen us open, asks for the root, and by then we have closed."""
    for delay in range(8):
        mesh = Mesh(2)
        one, other = mesh.members
        content = Content(1)
        mesh.join()
        one.fetch(content)
        other.fetch(content)
        mesh.run(delay * 0.0005)
        one.replicator.pause(content.content_id, mesh.now)
        mesh.run(5)
        assert_clean(mesh)
