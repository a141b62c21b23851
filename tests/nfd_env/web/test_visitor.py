"""Steps that are expected: they happen at once, and never in place of what was asked for."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

pytest.importorskip("aiohttp")

from nfd_env.building import build_core
from nfd_env.web.engine import Engine
from nfd_env.web.limits import Limits, RequestError
from nfd_env.web.start import Start
from nfd_env.web.visitor import Visitor
from tests.nfd_env.web.test_server import expected, pixels
from tests.toy import ToyWorld

STAY, LEFT, RIGHT = (np.array([action], np.float32) for action in range(3))


async def act(visitor, action, following):
    """A step, in whose midst the next one is announced."""
    step = asyncio.ensure_future(visitor.act(action))
    await asyncio.sleep(0)  # it has been asked for
    visitor.expect(following)
    return await step


async def settled(engine):
    """Waits until the engine has nothing to do."""
    other = engine.core.num_envs - 1
    for _ in range(2):  # streams take turns
        await engine.step(other, STAY)


def visitor_of(**options):
    engine = Engine(build_core(2, ToyWorld(), speculation="off", **options), 1)
    return Visitor("me", 0, engine, Limits()), engine


def shown(moments):
    return [pixels(moment.picture) for moment in moments]


def test_an_expected_step_does_not_wait_to_be_asked_for():
    async def run():
        visitor, engine = visitor_of(endless=True)
        actions = [LEFT, RIGHT, STAY, RIGHT] * 9  # past snapshots
        seen = [await visitor.start(Start(3))]
        for one, two in zip(actions[::2], actions[1::2], strict=True):
            seen.append(await act(visitor, one, two))
            await settled(engine)
            assert engine.core.steps[0] == len(seen)
            seen.append(await visitor.act(two))
            assert engine.core.steps[0] == len(seen) - 1
        engine.close()
        assert np.array_equal(shown(seen), expected(3, [1, 2, 0, 2] * 9)[0])
        assert len(visitor.timeline.snapshots) == 2
        assert visitor.drifted == 0

    asyncio.run(run())


@pytest.mark.parametrize("settle", [False, True])
def test_what_is_done_instead_counts(settle):
    async def run():
        visitor, engine = visitor_of(endless=True)
        first = await visitor.start(Start(3))
        one = await act(visitor, LEFT, RIGHT)
        if settle:
            await settled(engine)
        two = await visitor.act(STAY)
        assert np.array_equal(shown([first, one, two]), expected(3, [1, 0])[0])
        # Away in the meantime, and back where the stream was thought to be.
        three = await act(visitor, LEFT, RIGHT)
        if settle:
            await settled(engine)
        await visitor.go(one.id)
        await visitor.go(three.id)
        four = await visitor.act(LEFT)
        assert np.array_equal(shown([three, four]), expected(3, [1, 0, 1, 1])[0][3:])
        # A new start, and from there.
        await act(visitor, LEFT, RIGHT)
        begun = await visitor.start(Start(5))
        assert np.array_equal(shown([begun, await visitor.act(RIGHT)]), expected(5, [2])[0])
        engine.close()
        assert visitor.drifted == 0

    asyncio.run(run())


def test_nothing_is_expected_after_an_end(caplog):
    async def run():
        visitor, engine = visitor_of()
        moment = await visitor.start(Start(0))
        while not moment.ended:
            moment = await act(visitor, STAY, STAY)
        with pytest.raises(RequestError, match="the episode has ended"):
            await visitor.act(STAY)
        steps = moment.step
        await visitor.go(moment.parent)
        assert (await visitor.act(LEFT)).step == steps
        engine.close()

    asyncio.run(run())
    assert not caplog.records


def test_a_step_that_was_given_up_leads_nowhere_wrong():
    async def run():
        visitor, engine = visitor_of(endless=True)
        await visitor.start(Start(3))
        for cancelled in (True, False):
            step = asyncio.ensure_future(visitor.act(LEFT))
            await asyncio.sleep(0)
            visitor.expect(RIGHT)
            if cancelled:
                step.cancel()
            await asyncio.gather(step, return_exceptions=True)
        seen = [visitor.now(), await visitor.act(RIGHT)]
        engine.close()
        assert np.array_equal(shown(seen), expected(3, [1, 2])[0][1:])

    asyncio.run(run())
