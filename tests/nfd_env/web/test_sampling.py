"""Denoising steps that a visitor changes while they play: part of the path, exact in links."""

from __future__ import annotations

import asyncio
import io
import json

import numpy as np
import pytest

pytest.importorskip("aiohttp")

from PIL import Image

from nfd_env.env import NFDWorldEnv
from nfd_env.path_file import load_path
from nfd_env.web.limits import Limits
from nfd_env.web.links import deflate, inflate
from nfd_env.web.start import Start
from tests.nfd_env.web.serving import make_lobby, page, served
from tests.toy import ToyWorld
from tests.world_model.tiny import tiny_world

WALK = [(1, None), (2, 4), (0, 4), (1, 1), (1, 2)]
"""Actions with their denoising steps; the world's own number is two."""
OWN = tiny_world().config.sampling_steps


def run(act, world=None, limits=None, **options):
    async def inside():
        lobby = make_lobby(world or tiny_world(), limits, endless=True, **options)
        async with served(lobby) as (url, _), page(url) as one:
            return await act(one)

    return asyncio.run(inside())


def pixels(picture):
    return np.array(Image.open(io.BytesIO(picture)))


def expected(seed=3, default=OWN):
    """The same walk by the environment, every step in one with that number of steps."""
    env = NFDWorldEnv(tiny_world(), endless=True, speculation="off")
    frames = [env.reset(seed=seed)[0]]
    for action, sampling in WALK:
        other = NFDWorldEnv(
            tiny_world(), endless=True, speculation="off", sampling_steps=sampling or default
        )
        other.restore_state(env.save_state())
        frames.append(other.step(action)[0])
        env = other
    return frames


async def walk(one):
    """Frames of the walk, and the link to its end."""
    seen = [await one.do("start", seed=3)]
    for action, sampling in WALK:
        asked = {} if sampling is None else {"sampling": sampling}
        seen.append(await one.do("step", action=[action], **asked))
    await one.say("share", n=one.shown)
    return [pixels(picture) for _, picture in seen], (await one.until("link"))["link"]


async def replay(one, link):
    """Frames of a link, and what is said of its end."""
    await one.say("replay", link=link)
    seen = [await one.frame() for _ in range(len(WALK) + 1)]
    told = await one.until("replayed")
    assert [header["sampling"] for header, _ in seen[2:]] == [n for _, n in WALK[1:]]
    return [pixels(picture) for _, picture in seen], told


@pytest.mark.parametrize("default", [None, 1])
def test_every_step_has_its_own_number(default):
    frames, link = run(walk, sampling_steps=default)
    assert all(map(np.array_equal, frames, expected(default=default or OWN)))
    # On a server with another default the link leads to the same frames.
    other = {None: 1, 1: None}[default]
    again, told = run(lambda one: replay(one, link), sampling_steps=other)
    assert told["same"] is True
    assert all(map(np.array_equal, again, frames))


def test_numbers_matter():
    """Otherwise the tests above would hold for a server that takes no notice."""
    assert not np.array_equal(expected(default=OWN)[1], expected(default=1)[1])


def test_a_link_is_a_saved_path_with_its_numbers(tmp_path):
    _, link = run(walk)
    file = tmp_path / "path.json"
    file.write_text(inflate(link.removeprefix("p=")))
    steps = [(action.tolist(), sampling) for action, sampling in load_path(file).steps()]
    assert steps == [([a], None if n == OWN else n) for a, n in WALK]


def test_another_number_at_the_same_moment_is_another_future():
    async def act(one):
        start = await one.do("start", seed=3)
        seen = {}
        for sampling in (OWN, 4, None, 4):
            await one.do("go", n=start[0]["n"])
            header, picture = await one.do("step", action=[1], sampling=sampling)
            seen.setdefault(header["n"], picture)
        # On from the first one, past a snapshot, and back: the stream is led there exactly.
        await one.do("go", n=min(seen))
        for step in range(20):
            await one.do("step", action=[step % 3], sampling=1 + 3 * (step % 2))
        last = one.shown
        await one.do("go", n=max(seen))
        await one.do("step", action=[2])
        await one.do("go", n=last)
        await one.do("step", action=[2])
        return list(seen.values()), [message["kind"] for message in one.told]

    pictures, told = run(act)
    assert len(pictures) == 2
    assert pictures[0] != pictures[1]
    assert "drifted" not in told


def test_steps_that_are_read_ahead_keep_their_numbers():
    async def act(one):
        await one.do("start", seed=3)
        for action, sampling in WALK:  # all at once: each is expected while another is under way
            await one.say("step", action=[action], sampling=sampling)
        return [pixels((await one.frame())[1]) for _ in WALK]

    assert all(map(np.array_equal, run(act), expected()[1:]))


def test_an_expected_step_with_another_number_does_not_count():
    async def inside():
        lobby = make_lobby(tiny_world(), endless=True)
        visitor, action = lobby.enter(), np.array([1], np.float32)
        begun = await visitor.start(Start(3))
        checks = []
        for announced in (4, 1):
            await visitor.go(begun.id)
            first = asyncio.ensure_future(visitor.act(np.array([2], np.float32), announced))
            await asyncio.sleep(0)  # it has been asked for
            visitor.expect(action, announced)
            await first
            checks.append((await visitor.act(action, 4)).check)
            await visitor.go(first.result().id)
            checks.append((await visitor.act(action, 1)).check)
        lobby.engine.close()
        return checks, visitor.drifted

    async def plainly():
        lobby = make_lobby(tiny_world(), endless=True)
        visitor, checks = lobby.enter(), []
        for first in (4, 1):
            for second in (4, 1):
                await visitor.go((await visitor.start(Start(3))).id)
                await visitor.act(np.array([2], np.float32), first)
                checks.append((await visitor.act(np.array([1], np.float32), second)).check)
        lobby.engine.close()
        return checks

    checks, drifted = asyncio.run(inside())
    assert checks == asyncio.run(plainly())
    assert len(set(checks)) == 4
    assert drifted == 0


def test_streams_with_other_numbers_step_in_one_round():
    async def inside():
        lobby = make_lobby(tiny_world(), Limits(visitors=3), endless=True)
        engine, action = lobby.engine, np.array([1], np.float32)
        await asyncio.gather(*(engine.reset(stream, seed=3) for stream in range(3)))
        asked = (engine.step(stream, action, steps) for stream, steps in enumerate((1, 4, 1)))
        seen = await asyncio.gather(*asked)
        engine.close()
        return seen

    one, four, other = asyncio.run(inside())
    assert (one.check, one.batch, four.batch) == (other.check, 2, 1)
    assert one.check != four.check


@pytest.mark.parametrize("number", [3, 16, 0, -1, True, "2", 2.0, [2]])
def test_a_number_that_is_not_offered_is_one_error(number):
    async def act(one):
        await one.do("start", seed=3)
        await one.say("step", action=[1], sampling=number)
        words = (await one.next())["words"]
        await one.do("step", action=[1])
        return words, one.shown

    words, _ = run(act)
    assert words == '"sampling" must be one of 1, 2, 4, 8.'


def test_a_link_with_more_than_is_allowed_here_is_refused():
    _, link = run(walk)
    limits = Limits(sampling_steps=1)

    async def act(one):
        assert one.welcome["sampling"] == {"offered": [1, 2], "own": 2, "default": 2}
        await one.say("replay", link=link)
        return (await one.next())["words"]

    words = run(act, limits=limits)
    assert words == "this link takes 4 denoising steps a frame; here 1, 2 can be chosen."
    document = json.loads(inflate(link.removeprefix("p=")))
    document["actions"][0]["sampling_steps"] = -1

    async def damaged(one):
        await one.say("replay", link="p=" + deflate(json.dumps(document)))
        return (await one.next())["words"]

    assert "damaged" in run(damaged)


def test_a_world_that_knows_of_no_steps_offers_none():
    async def act(one):
        assert one.welcome["sampling"]["offered"] == []
        await one.do("start", seed=3)
        await one.say("step", action=[1], sampling=1)
        words = (await one.next())["words"]
        header, _ = await one.do("step", action=[1])
        return words, header["sampling"]

    words, sampling = run(act, ToyWorld())
    assert (words, sampling) == ('"sampling" must be left out with this world.', None)
