"""Posting and routing between real daemons, by the command line, the control socket, and programs."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from swarmd.control.client import NetGroup
from swarmd.control.messaging import Message
from swarmd.control.netgroup import content_of
from tests.e2e.control import CallError
from tests.e2e.farm import Farm, wait_for_members
from tests.e2e.nodes import Node, clean_environ, outcome, start_all

ROOT = Path(__file__).parents[2]
NAME = "chat"


def chat(farm: Farm, count: int, **options: object) -> list[Node]:
    """Members of a group for posting and routing, all connected."""
    nodes = farm.start(count)
    ticket = nodes[0].call("group.create", name=NAME, posting=True, routing=True, **options)["ticket"]
    for node in nodes[1:]:
        node.call("group.join", ticket=ticket)
    for node in nodes:
        wait_for_members(node, NAME, count - 1)
    return nodes


def test_a_post_reaches_everybody_once(farm: Farm) -> None:
    one, two, three = chat(farm, 3)
    with one.control() as own, two.control() as second, three.control() as third:
        for control in (own, second, third):
            control.subscribe("posts")
        message_id = one.swarm("post", NAME, "hello, world\n").strip()
        for control in (own, second, third):
            heard = control.wait_for("posts", "posted")
            assert (heard["text"], heard["data"], heard["message_id"]) == ("hello, world\n", None, message_id)
            assert heard["author"] == one.call("id")["peer_id"]
        two.call("post", group=NAME, data="/wA=")
        assert [control.wait_for("posts", "posted")["data"] for control in (own, second, third)] == ["/wA="] * 3
    assert [post["text"] for post in three.call("posts", group=NAME)["posts"]] == ["hello, world\n", None]


def test_who_comes_late_hears_of_the_last_minutes(farm: Farm) -> None:
    one, two = chat(farm, 2)
    two.stop()
    one.swarm("post", NAME, "while you were away")
    with two.start().control() as control:
        control.subscribe("posts")
        posts = control.call("posts", group=NAME)["posts"]
        while not posts:
            control.wait_for("posts", "posted")
            posts = control.call("posts", group=NAME)["posts"]
        assert [post["text"] for post in posts] == ["while you were away"]


def test_members_are_told_that_their_clocks_differ(farm: Farm) -> None:
    (farm.folder / "sitecustomize.py").write_text(
        "import time\nright = time.time\ntime.time = lambda: right() + 10800\n"
    )
    good, early = farm.node(), farm.node(prefix=("env", f"PYTHONPATH={farm.folder}"))
    start_all(good, early)
    early.call("group.join", ticket=good.call("group.create", name=NAME, posting=True)["ticket"])
    wait_for_members(good, NAME, 1)
    wait_for_members(early, NAME, 1)
    early.swarm("post", NAME, "the first of all")
    (note,) = early.wait_until(lambda: early.call("status")["notes"], "daemon")
    assert "about 3 h behind this machine's" in note, "by its own post"
    for here, there, told in ((early, good, "about 3 h ahead of"), (good, early, "about 3 h behind")):
        here.swarm("post", NAME, "nobody hears this")
        (note,) = there.wait_until(lambda there=there: there.call("status")["notes"], "daemon")  # type: ignore[misc]
        assert told in note
        assert "set the clock that is wrong" in note
        assert note in there.swarm("status")
        assert there.log_text().count(note) == 1
        assert note in there.run("post", NAME, "warned").stderr
        assert f"note        {note}" in there.swarm("group", "show", NAME)


def test_listen_prints_a_line_for_each(farm: Farm) -> None:
    one, two = chat(farm, 2)
    one.swarm("post", NAME, "first")
    two.wait_until(lambda: two.call("posts", group=NAME)["posts"], "posts")
    listening = two.popen("--json", "listen", NAME, "--recent")
    assert listening.stdout is not None
    heard = [json.loads(listening.stdout.readline())]
    one.swarm("post", NAME, "\x1b[31mred")
    one.swarm("route", NAME, two.call("id")["peer_id"], "to you")
    heard += [json.loads(listening.stdout.readline()) for _ in range(2)]
    kinds = [(each["kind"], each["text"]) for each in heard]
    assert kinds[0] == ("post", "first")
    assert sorted(kinds[1:]) == [("message", "to you"), ("post", "\x1b[31mred")], "they go different ways"
    listening.send_signal(signal.SIGINT)
    assert listening.wait(20) == 130


def test_posting_that_is_restricted(farm: Farm) -> None:
    one, two = farm.start(2)
    one.call("group.create", name=NAME, posting=True, restrict_post=True)
    ticket = one.call("group.invite", group=NAME)["ticket"]
    two.call("group.join", ticket=ticket)
    wait_for_members(two, NAME, 1)
    assert "posts       restricted, you may not post\n" in two.swarm("group", "show", NAME)
    assert "posts       only those whom you authorise may post (swarm group invite --poster)" in one.swarm(
        "group", "show", NAME
    )
    with pytest.raises(CallError, match="only authorised members post here") as refused:
        two.call("post", group=NAME, text="may I?")
    assert refused.value.code == "not_allowed"
    two.call("group.join", ticket=one.call("group.invite", group=NAME, poster=two.call("id")["peer_id"])["ticket"])
    with one.control() as control:
        control.subscribe("posts")
        two.call("post", group=NAME, text="I may")
        assert control.wait_for("posts", "posted")["text"] == "I may"
    assert "posts       restricted, you may post\n" in two.swarm("group", "show", NAME)
    assert [node.call("group.show", group=NAME)["may_post"] for node in (one, two)] == [True, True]


def test_a_group_that_is_not_for_it(farm: Farm) -> None:
    (node,) = farm.start()
    node.call("group.create", name="films")
    calls: list[tuple[str, dict[str, str]]] = [("post", {}), ("send", {"to": "all"}), ("route", {"address": "f" * 64})]
    for method, params in calls:
        with pytest.raises(CallError, match="that is chosen when it is created") as refused:
            node.call(method, group="films", text="x", **params)
        assert refused.value.code == "not_allowed"
    node.call("group.create", name="bare", replication=False)
    lines = node.swarm("group", "show", "bare").splitlines()
    assert {"offers      nothing", "publishing  nothing can be shared in it"} < set(lines)
    assert not node.call("group.show", group="bare")["may_post"]


def test_too_much_and_too_little(farm: Farm) -> None:
    one, _ = chat(farm, 2)
    status, said = one.error("post", NAME, "-", stdin="x" * 65_537)
    assert (status, "share a file instead" in said) == (2, True)
    wrong: list[dict[str, str]] = [{}, {"text": "a", "data": "YQ=="}]
    for params in wrong:
        with pytest.raises(CallError, match="as text or as data") as refused:
            one.call("post", group=NAME, **params)
        assert refused.value.code == "invalid"
    with pytest.raises(CallError, match="at most 32768 bytes"):
        one.call("route", group=NAME, address="f" * 64, text="x" * 32_769)
    with pytest.raises(CallError, match=r"64 hexadecimal digits|52 letters"):
        one.call("route", group=NAME, address="somewhere", text="x")


def test_a_route_to_a_peer_and_to_an_address(farm: Farm) -> None:
    one, two, three = chat(farm, 3)
    nodes = {node.call("group.show", group=NAME)["address"]: node for node in (one, two, three)}
    assert len(nodes) == 3
    for address, node in nodes.items():
        with node.control() as control:
            control.subscribe("messages")
            done = one.call("route", group=NAME, address=address, text="for the nearest")
            heard = control.wait_for("messages", "routed")
            assert (heard["text"], heard["address"]) == ("for the nearest", address)
            assert heard["sender"] == one.call("id")["peer_id"]
            assert done["peer_id"] == node.call("id")["peer_id"]
            assert (done["hops"] > 0) is (node is not one)
    with pytest.raises(CallError, match="no member with the address") as refused:
        one.call("route", group=NAME, address="a" * 52, text="nobody")
    assert refused.value.code == "no_peers"


async def test_a_program_answers(farm: Farm) -> None:
    one, two = chat(farm, 2)
    async with (
        await NetGroup.join(NAME, str(one.socket)) as asking,
        await NetGroup.join(NAME, str(two.socket)) as answering,
    ):

        async def answer() -> None:
            async for event in answering.events():
                if isinstance(event.data, Message) and event.data.reply_id:
                    await answering.reply(event.data, b"well: " + content_of(event.data))
                    return

        answerer = asyncio.create_task(answer())
        await answering.info()  # after it the subscription, asked for before, stands
        routed = await asking.route("how are you?", await answering.own_id(), reply=True)
        assert (routed.replied, routed.text) == (True, "well: how are you?")
        await answerer


async def test_one_hop_at_a_time(farm: Farm) -> None:
    one, two = chat(farm, 2)
    one.call("group.create", name="alone", routing=True)
    async with await NetGroup.join("alone", str(one.socket)) as group:
        assert await group.send_to_all_neighbors("nobody") == "no route"
        assert await group.send_to_neighbor("nobody", increasing=True) == "no route"
        assert await group.send_to_nearest("nobody", "f" * 64) == "no route"
    async with await NetGroup.join(NAME, str(one.socket)) as group:
        assert await group.send_to_all_neighbors("x" * 32_769) == "error"
        with two.control() as control:
            control.subscribe("messages")
            assert await group.send_to_all_neighbors("to all") == "sent"
            assert await group.send_to_neighbor("up", increasing=True) == "sent"
            assert await group.send_to_neighbor("down", increasing=False) == "sent"
            assert await group.send_to_nearest(b"\xff", two.call("group.show", group=NAME)["address"]) == "sent"
            heard = [control.wait_for("messages", "sent") for _ in range(4)]
    assert [each["text"] for each in heard] == ["to all", "up", "down", None]
    assert heard[3]["data"] == "/w=="
    assert {each["sender"] for each in heard} == {one.call("id")["peer_id"]}


def test_nobody_answers(farm: Farm) -> None:
    one, two = chat(farm, 2)
    peer = two.call("id")["peer_id"]
    status, said = one.error("route", NAME, peer, "anybody?", "--reply", "--timeout", "0.5")
    assert status == 8
    assert "swarm: " in said
    two.kill()
    one.wait_until(lambda: not one.call("group.show", group=NAME)["connected"], "members")
    assert one.error("route", NAME, peer, "anybody?")[0] == 6


def test_a_route_and_a_feed_in_a_group_that_is_left(farm: Farm) -> None:
    one, two = chat(farm, 2)
    two.call("group.create", name="other", posting=True)
    with two.control() as control:
        control.subscribe("messages")
        waiting = one.popen("route", NAME, two.call("id")["peer_id"], "anybody?", "--reply", "--timeout", "60")
        assert control.wait_for("messages", "routed")["text"] == "anybody?"
        listening = one.popen("listen", NAME, "--recent")
        assert listening.stdout is not None
        one.swarm("post", NAME, "the last")
        assert "the last" in listening.stdout.readline(), "it listens"
        one.swarm("group", "leave", NAME)
        for command in (waiting, listening):
            code, _, said = outcome(command)
            assert (code, "is not in group" in said) == (4, True), said
    assert one.error("post", NAME, "gone")[0] == 4
    wait_for_members(two, NAME, 0)
    assert two.run("post", NAME, "to nobody").returncode == 0
    assert two.error("route", NAME, one.call("id")["peer_id"], "to nobody")[0] == 6
    two.swarm("post", "other", "and nothing else is disturbed")


def test_group_info(farm: Farm) -> None:
    one, two = chat(farm, 2)
    one.swarm("post", NAME, "x" * 1000)
    two.wait_until(lambda: two.call("posts", group=NAME)["posts"], "posts")
    info = one.json("group", "show", NAME)
    (neighbour,) = info["neighbours"]
    assert neighbour["peer_id"] == two.call("id")["peer_id"]
    assert neighbour["reason"] in ("ring", "near", "random", "finger")
    assert info["estimated_members"] == 2
    assert info["traffic"]["posting"]["data_sent_bytes"] > 1000
    assert two.call("group.show", group=NAME)["traffic"]["posting"]["data_received_bytes"] > 1000
    metrics = one.swarm("metrics")
    assert f'swarmd_group_members{{group_id="{info["group_id"]}",group="{NAME}"}} 2\n' in metrics
    assert re.search(r'swarmd_group_bytes_total\{.*service="posting",kind="data",direction="sent"\} [1-9]', metrics)


@pytest.mark.parametrize("name", ["chat", "counter"])
def test_the_examples_are_short(name: str) -> None:
    code = (ROOT / "examples" / f"{name}.py").read_text().split('"""')[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 30


def example(name: str, node: Node, group: str = NAME) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / f"{name}.py"), group],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**clean_environ(), "SWARMD_SOCKET": str(node.socket), "PYTHONPATH": str(ROOT)},
    )


def say(program: subprocess.Popen[str], line: str) -> None:
    assert program.stdin is not None
    program.stdin.write(f"{line}\n")
    program.stdin.flush()


def hear(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline().rstrip("\n")


def test_the_chat(farm: Farm) -> None:
    one, two = chat(farm, 2)
    one.swarm("post", NAME, "before")
    two.wait_until(lambda: two.call("posts", group=NAME)["posts"], "posts")
    author = one.call("id")["peer_id"][:8]
    with example("chat", one) as first, example("chat", two) as second:
        assert hear(second) == f"{author}: 'before'"
        say(first, "hello")
        assert hear(second) == f"{author}: 'hello'"
        first.send_signal(signal.SIGINT)
        assert (first.wait(20), err_of(first)) == (130, ""), "at once, though it waits for a line"
        two.stop()
        assert second.wait(20) == 3, "likewise"
        assert err_of(second).startswith("chat: swarmd on "), "one line and no trace"
    with example("chat", one, "nowhere") as lost:
        assert (lost.wait(20), err_of(lost)[:44]) == (4, "chat: this node is in no group 'nowhere': `s")


def err_of(program: subprocess.Popen[str]) -> str:
    assert program.stderr is not None
    return program.stderr.read()


def test_the_counter(farm: Farm) -> None:
    one, two = chat(farm, 2)
    one.swarm("post", NAME, "no number")
    with example("counter", one) as first, example("counter", two) as second:
        for program in (first, second, first):
            say(program, "")
        for program in (first, second):
            while hear(program) != "3":
                pass
            program.communicate(timeout=20)
            assert program.returncode == 0
