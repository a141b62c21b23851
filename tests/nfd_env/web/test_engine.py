from __future__ import annotations

import asyncio

import numpy as np
import pytest

pytest.importorskip("aiohttp")

from nfd_env.building import build_core
from nfd_env.web.engine import Engine
from tests.toy import ToyWorld

LEFT = np.array([1], np.float32)


def engine_of(streams, most=None):
    return Engine(build_core(streams, ToyWorld(), endless=True, speculation="off"), most)


def test_many_jobs_of_one_stream_do_not_delay_another():
    async def run():
        engine = engine_of(2)
        order = []

        async def job(stream):
            await engine.step(stream, LEFT)
            order.append(stream)

        for stream in (0, 1):
            await engine.reset(stream, seed=1)
        many = [asyncio.ensure_future(job(0)) for _ in range(200)]
        await asyncio.sleep(0)
        await job(1)
        assert order.count(0) < 150
        await asyncio.gather(*many)
        engine.close()

    asyncio.run(run())


@pytest.mark.parametrize("most", [None, 1, 2])
def test_what_is_asked_at_once_is_one_batch_within_its_bound(most):
    async def run():
        engine = engine_of(4, most)
        for stream in range(4):
            await engine.reset(stream, seed=stream)
        seen = []
        for _ in range(20):
            seen += await asyncio.gather(*(engine.step(stream, LEFT) for stream in range(4)))
        assert max(step.batch for step in seen) == (most or 4)
        assert engine.core.steps.tolist() == [20] * 4
        engine.close()
        engine.close()
        with pytest.raises(RuntimeError, match="stopped"):
            await engine.step(0, LEFT)

    asyncio.run(run())


def test_a_job_that_fails_leaves_the_thread_running():
    async def run():
        engine = engine_of(2)
        await engine.reset(0, seed=1)
        with pytest.raises(ValueError, match="seed=-1"):
            await engine.reset(1, seed=-1)
        await engine.step(0, LEFT)
        engine.close()

    asyncio.run(run())
