from functools import partial

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks import policy_ranking
from benchmarks.clips import cut_clips
from benchmarks.diamond_env import ContextLoader, DiamondWorld, to_frames
from benchmarks.dreaming import imagine
from benchmarks.evaluate_options import EvaluateOptions
from tests.benchmarks import sliding, sliding_game
from tests.benchmarks.diamond_style import WorldModelEnv
from world_model.data import open_store
from world_model.errors import NFDError
from world_model.types import Context


def make(fault="none", env=WorldModelEnv, **settings):
    world = sliding_game.world(fault)
    return DiamondWorld(partial(env, world, **settings), name="diamond", actions=3,
                        frame_shape=sliding.SHAPE, context_length=2,
                        source={"environment": sliding_game.NAME})  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    data = sliding.make_dataset(tmp_path_factory.mktemp("data"))
    return cut_clips(open_store(data), "validation", 30, context=2, horizon=6, seed=0)


def test_every_grey_level_survives_the_way_there_and_back():
    frames = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16, 1).expand(-1, -1, -1, -1, 3)
    context = Context(frames, torch.full((1, 1, 1), torch.nan))
    loader = ContextLoader(context, "cpu")
    assert loader.obs.shape == (1, 1, 3, 16, 16)
    assert (loader.obs.min(), loader.obs.max()) == (-1, 1)
    np.testing.assert_array_equal(to_frames(loader.obs[:, 0]), frames[:, 0].numpy())


def test_actions_follow_their_frames():
    frames = torch.zeros(1, 4, 2, 2, 3, dtype=torch.uint8)
    produced = torch.tensor([torch.nan, 1, 2, 0]).view(1, 4, 1)
    loader = ContextLoader(Context(frames, produced), "cpu")
    assert loader.act[0, :3].tolist() == [1, 2, 0]
    assert loader.act.dtype == torch.int64


@pytest.mark.parametrize("settings", [{}, {"preload": 3}])
def test_clips_are_imagined_across_ends(clips, settings):
    """Streams that end begin anew at once; what is shown of them is what they ended with."""
    dream = imagine(make(**settings).make_rollout(), clips, np.arange(len(clips)), batch=32)
    np.testing.assert_array_equal(dream.frames[clips.known], clips.frames[clips.known])
    known = ~np.isnan(clips.ended)
    assert (clips.ended == 1).any()
    np.testing.assert_array_equal(dream.termination_probability[known], clips.ended[known])
    np.testing.assert_array_equal(dream.rewards[known], clips.rewards[known])


def test_an_episode_that_is_cut_off_has_not_ended(clips):
    dream = imagine(make(horizon=2).make_rollout(), clips, np.arange(len(clips)))
    last = dream.frames[:, 1:2]
    assert (dream.frames[:, 2:] == last).all()
    whole = (clips.ended == 0).all(1)
    assert (dream.termination_probability[whole] == 0).all()


def test_equal_seeds_draw_alike_and_leave_the_callers_dice_alone(clips):
    seeds = np.arange(len(clips))
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = imagine(make("random").make_rollout(), clips, seeds)
    assert torch.equal(torch.rand(3), expected)
    again = imagine(make("random").make_rollout(), clips, seeds)
    other = imagine(make("random").make_rollout(), clips, seeds + 1)
    np.testing.assert_array_equal(first.frames, again.frames)
    assert not np.array_equal(first.frames, other.frames)


class Elsewhere(WorldModelEnv):
    """Begins where it likes."""

    def reset(self, **kwargs):
        obs, info = super().reset(**kwargs)
        return obs.flip(-1), info


def test_it_must_begin_where_it_is_told(clips):
    with pytest.raises(NFDError, match="must begin with the contexts"):
        imagine(make(env=Elsewhere).make_rollout(), clips, np.arange(len(clips)))


def test_policies_are_not_ranked(tmp_path):
    options = EvaluateOptions(
        out=tmp_path, policies=("noop", "uniform"), episodes=2, pictures=False
    )
    with pytest.raises(NFDError, match="policies are not ranked"):
        policy_ranking.run(options, Console(quiet=True), make())
