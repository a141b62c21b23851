import json
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from rich.console import Console

from agents.real_env import RealEnv
from benchmarks import policy_ranking, stability
from benchmarks.clips import Origin, cut_clips
from benchmarks.dreaming import imagine
from benchmarks.evaluate import main
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.opening import open_world
from benchmarks.real_games import RealGames
from benchmarks.real_world import RealWorld
from tests.benchmarks import sliding, sliding_game
from world_model.data import open_store
from world_model.errors import ContextError, NFDError
from world_model.types import Context

NAME = "perfect:tests.benchmarks.sliding_game:world"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return sliding.make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def clips(data):
    return cut_clips(open_store(data), "validation", 30, context=2, horizon=6, seed=0)


def perfect(games=3):
    return RealWorld(sliding_game.world(), games=games)


def test_clips_say_how_their_episodes_came_there(data, clips):
    store = open_store(data)
    for i in range(len(clips)):
        episode = store.episode(int(clips.episodes[i]))
        origin = clips.origins[i]
        assert origin.seed == int(episode.info["seed"])
        np.testing.assert_array_equal(origin.actions, episode.actions[: clips.starts[i] + 1])
    assert clips.take(np.array([3, 1])).origins == (clips.origins[3], clips.origins[1])


@pytest.mark.parametrize("games", [1, 3, 50])
def test_the_real_game_goes_on_as_it_was_recorded(clips, games):
    """However few games there are: those that went on are played again."""
    dream = imagine(perfect(games).make_rollout(), clips, np.arange(len(clips)), batch=7)
    np.testing.assert_array_equal(dream.frames[clips.known], clips.frames[clips.known])
    known = ~np.isnan(clips.ended)
    assert (clips.ended == 1).any()
    np.testing.assert_array_equal(dream.termination_probability[known], clips.ended[known])
    np.testing.assert_array_equal(dream.rewards[known], clips.rewards[known])


def test_equal_futures_are_played_once(clips):
    world = perfect(games=6)
    twice = clips.take(np.repeat(np.arange(3), 2))
    steps = []
    for some in (clips.take(np.arange(3)), twice):
        before = world.games.steps
        imagine(world.make_rollout(), some, np.arange(len(some)), batch=6)
        steps.append(world.games.steps - before)
    assert steps[0] == steps[1] > 0


def test_streams_part_and_return(clips):
    """A state is a value: it can be kept, chosen from, written over, and gone on from twice."""
    rollout = perfect(2).make_rollout()
    start = rollout.begin_clips(clips.take(np.arange(2)), torch.arange(2))
    kept = start.clone()
    right, left = (torch.full((2, 1), float(a)) for a in (1, 2))
    went_right, _ = rollout.advance(start, right)
    _, seen = rollout.advance(went_right.clone(), right)
    _, other = rollout.advance(kept, left)
    _, again = rollout.advance(went_right, right)
    assert torch.equal(seen.frames, again.frames)
    assert not torch.equal(seen.frames, other.frames)
    swapped = went_right.select(torch.tensor([1, 0]))
    _, crossed = rollout.advance(swapped, right)
    assert torch.equal(crossed.frames, seen.frames.flip(0))
    kept.scatter(torch.tensor([0]), swapped.select(torch.tensor([0])))
    _, mixed = rollout.advance(kept, right)
    assert torch.equal(mixed.frames[0], seen.frames[1])


def test_after_its_end_the_game_stands_still():
    games = perfect().games
    moment = games.start([0])[0]
    for _ in range(sliding.PLACES + 2):
        ended, moment = moment, games.advance([moment], np.ones((1, 1), np.float32))[0]
    assert moment.over
    assert not moment.terminated
    assert moment.reward == 0
    assert np.array_equal(moment.frame, ended.frame)


def test_another_game_is_not_taken_for_it(clips):
    world = RealWorld(sliding_game.world(), make_env=sliding_game.OtherGame)
    with pytest.raises(NFDError, match=r"of 8 clips cannot be restored.*played again"):
        imagine(world.make_rollout(), clips, np.arange(len(clips)), batch=30)


def test_without_seeds_nothing_is_restored(clips):
    unknown = replace(clips, origins=tuple(Origin(None, o.actions) for o in clips.origins))
    with pytest.raises(NFDError, match="without the seed"):
        imagine(perfect().make_rollout(), unknown, np.arange(len(clips)))
    with pytest.raises(NFDError, match="do not say"):
        imagine(perfect().make_rollout(), replace(clips, origins=()), np.arange(len(clips)))


class Moody(sliding_game.SlidingGame):
    """Begins where it likes."""

    count = 0

    def first_place(self, seed):
        Moody.count += 1
        return Moody.count % 5


def test_a_game_that_is_not_deterministic_is_found_out():
    games = RealGames(Moody, sliding.SPEC, count=1)
    stay = np.zeros((2, 1), np.float32)
    with pytest.raises(NFDError, match="not deterministic"):
        games.advance(games.start([1]) + games.start([2]), stay)


def test_frames_alone_start_no_game(clips):
    world = perfect()
    given = world.starts.draw([3, 4])
    frames = torch.cat([c.frames for c in given])
    actions = torch.cat([c.actions for c in given])
    rollout = world.make_rollout()
    state = rollout.begin(Context(frames, actions), torch.tensor([3, 4]))
    assert [m.seed for m in state.moments] == [3, 4]
    with pytest.raises(ContextError, match="cannot begin with given frames"):
        rollout.begin(Context(255 - frames, actions), torch.tensor([3, 4]))


@pytest.mark.slow
def test_returns_are_those_of_the_real_game(data, tmp_path):
    options = EvaluateOptions(data=data, out=tmp_path, policies=("noop", "uniform"), episodes=5,
                              pictures=False)  # fmt: skip
    document = policy_ranking.run(options, Console(quiet=True), perfect())
    for sides in document["results"]["by_steps"]["1"]["policies"].values():
        assert sides["real"]["returns"] == sides["imagined"]["returns"]
        assert sides["real"]["lengths"] == sides["imagined"]["lengths"]


def test_no_endless_episode(data, tmp_path):
    options = EvaluateOptions(data=data, out=tmp_path)
    with pytest.raises(NFDError, match="ends its episodes by itself"):
        stability.run(options, Console(quiet=True), perfect())


@pytest.mark.slow
def test_from_the_command_line(data, tmp_path):
    arguments = ["--no-pictures", "--clips", "12", "--horizon", "4", "--sampled-clips", "4"]
    arguments += ["--samples", "2", "--rollouts", "2", "--rollout-steps", "6"]
    assert main([NAME, "--data", str(data), "--out", str(tmp_path), *arguments]) == 0
    results = json.loads((tmp_path / "fidelity.json").read_text())
    assert results["world"] == "perfect:sliding@1#real"
    psnr = results["results"]["by_steps"]["1"]["psnr"]["model"]
    assert [round(p["estimate"], 1) for p in psnr] == [58.9] * 4


def test_a_world_without_a_game_has_no_perfect_one():
    with pytest.raises(NFDError, match="cannot be played here"):
        open_world("perfect:tests.benchmarks.sliding:SlidingWorld")


class PresetGame(RealEnv):
    """Remembers the seeds that it is given, in the place of a game of a preset."""

    def __init__(self):
        self.game, self.seeds = sliding_game.SlidingGame(), []
        self.action_space = self.game.action_space
        self.observation_space = self.game.observation_space

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        return self.game.reset(seed=seed)

    def close(self):
        pass


@pytest.mark.parametrize("wrap", [lambda env: env, gym.Wrapper], ids=["bare", "wrapped"])
def test_games_of_presets_are_given_all_of_a_seed(wrap):
    game = PresetGame()
    RealGames(lambda: wrap(game), sliding.SPEC, 1).start([0xFFFFFFF0])
    assert game.seeds == [0xFFFFFFF0]


def test_games_are_given_the_31_bits_of_a_seed_that_recordings_were_made_with():
    games = RealGames(sliding_game.SlidingGame, sliding.SPEC, 2)
    game = sliding_game.SlidingGame()
    differ = 0
    for seed in range(0xFFFFFFF0, 0xFFFFFFFF):
        recorded, _ = game.reset(seed=seed & 0x7FFFFFFF)
        frame, _ = game.reset(seed=seed)
        differ += not np.array_equal(frame, recorded)
        (moment,) = games.start([seed])
        assert moment.seed == seed
        np.testing.assert_array_equal(moment.frame, recorded)
    assert differ
