"""Visits without an end: pictures are dropped and imagined again, and there is always a way on."""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np
import pytest

pytest.importorskip("aiohttp")

from nfd_env.web import links as links_of_paths
from nfd_env.web.limits import Limits
from tests.nfd_env.web.serving import make_lobby, page, served
from tests.nfd_env.web.test_server import expected, pixels
from tests.world_model.tiny import tiny_world

STEPS = 2000
SMALL = {
    "visitors": 2,
    "timeline_mb": 8 / 1024,
    "snapshot_mb": 0.05,
    "messages_per_second": 1e6,  # not what is tested here
}


def actions_of(steps, seed=0):
    return np.random.default_rng(seed).integers(0, 3, steps).tolist()


@contextlib.asynccontextmanager
async def visit(world=None, **limits):
    lobby = make_lobby(world, Limits(**{**SMALL, **limits}), endless=True)
    async with served(lobby) as (url, _), page(url) as one:
        await one.do("start", seed=5)
        (visitor,) = lobby.visitors.values()
        yield one, visitor.timeline, lobby, url


def kept(timeline):
    return sum(bool(moment.picture) for moment in timeline.moments.values())


def test_a_long_line_stays_within_its_memory_and_nothing_of_it_is_lost():
    async def run():
        actions = actions_of(STEPS)
        frames, _ = expected(5, actions)
        async with visit() as (one, timeline, _, url):
            numbers = list(timeline.moments)
            for action in actions:
                numbers.append((await one.do("step", action=[action]))[0]["n"])
                assert timeline.bytes <= 8 * 1024
            assert len(timeline.moments) == STEPS + 1
            assert kept(timeline) < 120
            for step in (0, 1, 777, STEPS):
                dropped = not timeline[numbers[step]].picture
                assert dropped == (step in (0, 777))  # 1 came back with 0
                header, picture = await one.do("go", n=numbers[step])
                assert header["step"] == step
                assert np.array_equal(pixels(picture), frames[step])
                assert timeline.bytes <= 8 * 1024
            await one.say("share", n=numbers[-1])
            link = (await one.until("link"))["link"]
            async with page(url) as two:
                await two.say("replay", link=link)
                assert (await two.until("replayed"))["same"] is True
        assert "drifted" not in [message["kind"] for message in one.told]

    asyncio.run(run())


def test_a_learned_world_imagines_the_same_pixels_again():
    async def run():
        actions = actions_of(150)
        async with visit(tiny_world()) as (one, timeline, _, _):
            seen = await one.walk(actions)
            assert kept(timeline) < 20
            for header, picture in (seen[0], seen[99], seen[30], seen[31]):
                assert not timeline[header["n"]].picture or header is seen[31][0]
                assert (await one.do("look", n=header["n"]))[1] == picture
            assert [message["kind"] for message in one.told].count("returning") == 3
            # Looking around has not moved the visitor.
            header, picture = await one.do("step", action=[1])
            assert header["step"] == 151
            last = expected(5, [*actions, 1], tiny_world())[0][-1]
            assert np.array_equal(pixels(picture), last)
        assert "drifted" not in [message["kind"] for message in one.told]

    asyncio.run(run())


def test_two_futures_beside_each_other_whose_pictures_were_dropped():
    async def run():
        actions = actions_of(300)
        async with visit() as (one, timeline, _, _):
            mine = await one.walk(actions)
            fork = mine[49][0]["n"]
            await one.do("go", n=fork)
            theirs = await one.walk([2 - a for a in actions[50:]])
            for step in range(50, 90):
                for line, at in ((mine, step), (theirs, step - 50)):
                    header, picture = line[at]
                    assert (await one.do("look", n=header["n"]))[1] == picture
            # In blocks of 16, three for each line: not every look is a way back of its own.
            assert [message["kind"] for message in one.told].count("returning") == 1 + 2 * 3
            assert timeline.bytes <= 8 * 1024

    asyncio.run(run())


def test_a_page_that_only_wants_what_is_kept_is_told_and_loses_no_time():
    async def run():
        async with visit() as (one, _, _, _):
            seen = await one.walk(actions_of(300))
            await one.say("look", n=seen[0][0]["n"], kept=True)
            assert (await one.until("dropped"))["n"] == seen[0][0]["n"]
            header, picture = await one.do("look", n=seen[-1][0]["n"], kept=True)
            assert (header["look"], picture) == (True, seen[-1][1])

    asyncio.run(run())


def test_a_step_ends_the_way_back():
    async def run():
        async with visit(snapshot_mb=1e-6) as (one, _, _, _):
            seen = await one.walk(actions_of(1500))
            await one.say("go", n=seen[1200][0]["n"])
            assert (await one.until("returning"))["steps"] == 1201
            header, _ = await one.do("step", action=[0])
            assert header["step"] == 1501

    asyncio.run(run())


def test_a_way_back_that_is_too_long_says_where_one_can_go_instead():
    async def run():
        async with visit(snapshot_mb=1e-6, way_steps=100) as (one, _, _, _):
            actions = actions_of(400)
            seen = await one.walk(actions)
            await one.say("go", n=seen[250][0]["n"])
            told = await one.next()
            while told["kind"] != "error":
                told = await one.next()
            assert "step 0, it is 250 steps to here; at most 100" in told["words"]
            header, picture = await one.do("go", n=seen[99][0]["n"])
            assert picture == seen[99][1]
            assert (await one.do("step", action=[2 - actions[100]]))[0]["parent"] == header["n"]

    asyncio.run(run())


def test_starting_anew_is_always_possible():
    async def run():
        async with visit(moments=50) as (one, timeline, _, _):
            (line,) = timeline.branches
            seen = await one.walk(actions_of(49))
            await one.say("step", action=[0])
            told = await one.next()
            assert "this line has 50 moments" in told["words"]
            await one.do("go", n=seen[3][0]["n"])
            for seed in range(6, 20):
                await one.do("start", seed=seed)
                await one.walk(actions_of(20, seed))
                assert len(timeline.moments) <= 50
            forgotten = [message for message in one.told if message["kind"] == "forgotten"]
            assert forgotten[0]["branches"] == [line]
            assert "50 moments are all that a session has" in forgotten[0]["words"]
            assert len(forgotten) > 3

    asyncio.run(run())


def test_a_link_is_not_made_where_it_could_not_be_replayed():
    async def run():
        async with visit(path_steps=40) as (one, _, _, _):
            seen = await one.walk(actions_of(41))
            await one.say("share", n=seen[-1][0]["n"])
            assert "a link holds at most 40" in (await one.next())["words"]
            await one.say("share", n=seen[-1][0]["n"], short=True)  # the page's own: no answer
            await one.say("share", n=seen[-2][0]["n"])
            assert (await one.until("link"))["steps"] == 40

    asyncio.run(run())


def test_what_a_page_remembers_takes_no_place_of_links_that_were_shared(monkeypatch):
    async def run():
        monkeypatch.setattr(links_of_paths, "LONGEST", 300)
        async with visit() as (one, _, lobby, _):
            seen = await one.walk(actions_of(500))
            await one.say("share", n=seen[-1][0]["n"], short=True)  # too long: no answer
            await one.say("share", n=seen[5][0]["n"], short=True)
            assert (await one.until("link"))["steps"] == 6
            assert lobby.links.bytes == 0
            await one.say("share", n=seen[-1][0]["n"])
            assert (await one.until("link"))["link"].startswith("s=")
            assert lobby.links.bytes > 0

    asyncio.run(run())
