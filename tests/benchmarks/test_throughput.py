import time

import pytest

from benchmarks.throughput import WARM_UP, measure_throughput
from tests.benchmarks import sliding
from tests.benchmarks.test_imagined_env import single

SLOW = 0.05


class Slow(sliding.SlidingRollout):
    """Takes its time, the same for any number of streams; counts steps and streams."""

    def advance(self, state, actions):
        time.sleep(SLOW)
        self.world.seen.append(len(actions))
        return super().advance(state, actions)


class SlowWorld(sliding.SlidingWorld):
    def __init__(self):
        super().__init__()
        self.seen = []

    def make_rollout(self, **settings):
        return Slow(self)


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, 3), (0.3, 6)])
def test_frames_of_all_streams_are_counted(seconds, steps):
    world = SlowWorld()
    found = measure_throughput(world, seed=0, streams=8, seconds=seconds)
    assert found["streams"] == 8
    assert 3 <= found["steps"] <= steps
    assert set(world.seen) == {8}
    assert len(world.seen) == found["steps"] + WARM_UP
    assert 8 / SLOW / 3 < found["frames_per_second"] <= 8 / SLOW


def test_somebody_elses_is_not_timed():
    world = single(endless=True)
    assert "worlds of this project only" in measure_throughput(world, seed=0)["why_not"]
    world.close()
