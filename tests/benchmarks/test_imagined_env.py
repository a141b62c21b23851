import json

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from rich.console import Console

from agents.arena import find_policies
from benchmarks import env_players, episode_ends, evaluate, policy_ranking, stability
from benchmarks.clips import cut_clips
from benchmarks.dreaming import imagine
from benchmarks.endless import numbers_are_finite
from benchmarks.evaluate import main
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.imagined_env import EnvWorld
from tests.benchmarks import sliding, sliding_game
from world_model.data import open_store
from world_model.errors import ConfigError, ContextError, NFDError
from world_model.types import Context


class Imagined(sliding_game.SlidingGame):
    """The sliding game as somebody else might imagine it: it goes on from frames, and ends."""

    def reset(self, *, seed=None, options=None):
        frame, info = super().reset(seed=seed)
        if options:
            assert options["frames"].dtype == np.uint8
            assert len(options["actions"]) == len(options["frames"]) - 1
            assert all(self.action_space.contains(action) for action in options["actions"])
            self.place = int(sliding.read(options["frames"][-1:])[0])
            frame = options["frames"][-1]
        return frame, info


class Floats(Imagined):
    """Does not observe frames."""

    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(0, 1, sliding.SHAPE, np.float32)


def single(**options):
    settings = {"name": "mine", "context_length": 2, "streams": 7, "max_episode_steps": 24,
                "action_names": ["stay", "right", "left"], **options}  # fmt: skip
    return EnvWorld(Imagined, source={"environment": sliding_game.NAME}, **settings)


def batch(mode=gym.vector.AutoresetMode.NEXT_STEP, game=Imagined, **options):
    class Batch(gym.vector.SyncVectorEnv):
        """Deals out the options of a batch, which SyncVectorEnv gives to all alike."""

        def reset(self, *, seed=None, options=None):
            given = options or {}
            options = None
            frames, infos = super().reset(seed=seed, options=options)
            for i, env in enumerate(self.envs):
                if given:
                    own = {k: given[k][i] for k in given}
                    frames[i], _ = env.reset(seed=seed[i], options=own)
            return frames, infos

    return EnvWorld(
        lambda: Batch([game] * 7, autoreset_mode=mode), name="mine", context_length=2,
        source={"environment": sliding_game.NAME}, action_names=["stay", "right", "left"],
        **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return sliding.make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def clips(data):
    return cut_clips(open_store(data), "validation", 30, context=2, horizon=6, seed=0)


MAKERS = [
    single,
    batch,
    lambda: batch(gym.vector.AutoresetMode.SAME_STEP),
]


@pytest.mark.parametrize("make", MAKERS, ids=["single", "next step", "same step"])
def test_clips_are_imagined_as_the_environment_does(clips, make):
    """Also across the end of an episode, after which a batch begins the next one by itself."""
    dream = imagine(make().make_rollout(), clips, np.arange(len(clips)), batch=32)
    np.testing.assert_array_equal(dream.frames[clips.known], clips.frames[clips.known])
    known = ~np.isnan(clips.ended)
    assert (clips.ended == 1).any()
    np.testing.assert_array_equal(dream.termination_probability[known], clips.ended[known])
    np.testing.assert_array_equal(dream.rewards[known], clips.rewards[known])
    for i in np.flatnonzero((clips.ended == 1).any(1)):
        end = int(np.argmax(clips.ended[i] == 1))
        assert (dream.rewards[i, end + 1 :] == 0).all()
        assert (dream.termination_probability[i, end + 1 :] == 0).all()
        assert (dream.frames[i, end:] == dream.frames[i, end]).all()


def test_only_the_newest_state_goes_on(clips):
    rollout = single().make_rollout()
    start = rollout.begin(clips.take(np.arange(2)).context, torch.arange(2))
    stay = torch.zeros(2, 1)
    later, _ = rollout.advance(start, stay)
    with pytest.raises(NFDError, match="no snapshots"):
        rollout.advance(start.clone(), stay)
    with pytest.raises(NFDError, match="no snapshots"):
        later.select(torch.tensor([0]))
    rollout.advance(later, stay)


def test_no_more_streams_than_there_are(clips):
    rollout = single(streams=3).make_rollout()
    with pytest.raises(ContextError, match=r"4 streams; mine@1#unknown has 3\."):
        rollout.begin(clips.take(np.arange(4)).context, torch.arange(4))


def test_what_comes_back_must_be_frames(clips):
    with pytest.raises(ConfigError, match=r"expected frames, a Box of uint8"):
        EnvWorld(Floats, name="floats")
    world = single()
    rollout = world.make_rollout()
    state = rollout.begin(clips.take(np.arange(1)).context, torch.arange(1))
    world.player._envs[0]._frame = lambda: np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(NFDError, match=r"shows uint8 \(1, 4, 4, 3\) after a step"):
        rollout.advance(state, torch.zeros(1, 1))


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS[:2], ids=["single", "batch"])
def test_policies_are_ranked_from_its_own_starts(data, tmp_path, make):
    options = EvaluateOptions(data=data, out=tmp_path, policies=("noop", "uniform"), episodes=8,
                              pictures=False)  # fmt: skip
    document = policy_ranking.run(options, Console(quiet=True), make())
    sides = document["results"]["by_steps"]["1"]["policies"]["noop"]
    assert len(sides["imagined"]["returns"]) == len(sides["real"]["returns"]) == 8
    if make is single:  # of a batch the seeds of streams are others
        assert sides["imagined"]["returns"] == sides["real"]["returns"]


@pytest.mark.slow
def test_from_the_command_line(data, tmp_path):
    arguments = ["--measure", "fidelity", "controllability", "stability", "--no-pictures"]
    arguments += ["--clips", "10", "--horizon", "3", "--sampled-clips", "4", "--samples", "2"]
    arguments += ["--reader-steps", "5", "--rollouts", "2", "--rollout-steps", "4"]
    world = "tests.benchmarks.test_imagined_env:single"
    assert main([world, "--data", str(data), "--out", str(tmp_path), *arguments]) == 1
    assert {path.name for path in tmp_path.glob("*.json")} == {
        "fidelity.json", "controllability.json"}  # fmt: skip
    page = (tmp_path / "report.html").read_text()
    assert "mine@1#unknown ends its episodes by itself" in page
    told = json.loads((tmp_path / "controllability.json").read_text())
    effect = told["results"]["by_steps"]["1"]["counterfactual"]["effect_explained"]
    assert [step["estimate"] for step in effect] == [1, 1, 1]


def test_no_endless_episode(data, tmp_path):
    with pytest.raises(NFDError, match="stability needs an endless one"):
        stability.run(EvaluateOptions(data=data, out=tmp_path), Console(quiet=True), single())


class Fading(Imagined):
    """Goes on after an end, and grows dark."""

    def _frame(self):
        return (super()._frame() * 0.97**self.steps).astype(np.uint8)


class Silent(Imagined):
    """Tells no ends, as a batch must: it begins anew after one."""

    def step(self, action):
        frame, reward, _, _, info = super().step(action)
        return frame, reward, False, False, info


@pytest.mark.parametrize("make", [single, lambda **options: batch(game=Silent, **options)])
def test_one_that_goes_on_after_an_end_is_played_for_long(data, tmp_path, make):
    options = EvaluateOptions(data=data, out=tmp_path, stable_steps=150, pictures=False)
    world = make(endless=True)
    (results,) = stability.run(options, Console(quiet=True), world)["results"]["by_steps"].values()
    world.close()
    assert (results["steps"], results["bad_numbers"]) == (150, 0)
    for part in results["statistics"].values():
        assert part["share_in_full_range"] == 1


def test_one_that_fades_in_a_long_episode_is_caught(data, tmp_path):
    options = EvaluateOptions(data=data, out=tmp_path, stable_steps=150, pictures=False)
    world = EnvWorld(Fading, name="fading", context_length=2, endless=True)
    (results,) = stability.run(options, Console(quiet=True), world)["results"]["by_steps"].values()
    assert results["statistics"]["mean"]["share_in_usual_range"] < 0.2


def test_the_first_of_a_batch_is_played_alone():
    played = []
    for world in (single(), batch(gym.vector.AutoresetMode.DISABLED)):
        env = world.endless_env()
        frames = [env.reset(seed=5)[0]]
        frames += [env.step(action)[0] for action in (1, 1, 2, 0, 1)]
        played.append(np.stack(frames))
        world.close()
    np.testing.assert_array_equal(*played)
    assert len(np.unique(played[0], axis=0)) > 2


@pytest.mark.parametrize(("uncertainty", "finite"), [(0.3, True), (np.nan, False), (None, True)])
def test_what_can_be_seen_of_numbers_is_looked_at(uncertainty, finite):
    info = {} if uncertainty is None else {"uncertainty": uncertainty}
    assert numbers_are_finite(Imagined(), info) is finite


def test_seeds_reach_the_environment(clips):
    seen = []

    class Listening(Imagined):
        def reset(self, *, seed=None, options=None):
            seen.append(seed)
            return super().reset(seed=seed, options=options)

    rollout = EnvWorld(Listening, name="mine", context_length=2).make_rollout()
    context = clips.take(np.arange(2)).context
    rollout.begin(Context(context.frames, context.actions), torch.tensor([5, 2**40 + 3]))
    assert seen == [5, 3]


class Deaf(Imagined):
    """Starts where it likes."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)


@pytest.mark.parametrize("make", [
    lambda: EnvWorld(Deaf, name="deaf", context_length=2), lambda: batch(game=Deaf),
], ids=["single", "batch"])  # fmt: skip
def test_who_does_not_begin_with_the_frames_is_refused(clips, make):
    rollout = make().make_rollout()
    with pytest.raises(NFDError, match="does not return the newest of the frames"):
        rollout.begin(clips.take(np.arange(5)).context, torch.arange(5))


class Improbable(Imagined):
    """Says what cannot be."""

    reward, probability = 0.0, 0.0

    def step(self, action):
        frame, _, _, _, info = super().step(action)
        return (
            frame,
            self.reward,
            False,
            False,
            {**info, "termination_probability": self.probability},
        )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"probability": 1.7}, r"\['termination_probability'\] = 1.7 of a step"),
        ({"probability": -0.1}, r"= -0.1 of a step; expected a probability in \[0, 1\]"),
        ({"probability": np.nan}, "= nan of a step"),
        ({"reward": np.nan}, "pays nan for a step; expected a finite reward"),
    ],
)
def test_impossible_numbers_are_refused(clips, said, words):
    rollout = EnvWorld(
        lambda: type("Said", (Improbable,), said)(), name="odd", context_length=2
    ).make_rollout()
    state = rollout.begin(clips.take(np.arange(2)).context, torch.arange(2))
    with pytest.raises(NFDError, match=words):
        rollout.advance(state, torch.zeros(2, 1))


def never(policy="noop", episodes=40, **options):
    """What an environment that never ends earns a policy: it pays 1 for each step."""

    class Never(Improbable):
        reward, probability = 1.0, 0.25

    world = EnvWorld(Never, name="never", context_length=2, **options)
    (player,) = find_policies((policy,), world.action_spec)
    return world.play(player, range(episodes))


def test_episodes_that_never_end_are_cut_off_like_the_real_ones():
    assert (never(max_episode_steps=24).lengths == 24).all()
    assert (never(source={"max_episode_steps": 7}).lengths == 7).all()
    assert never(source={"preset": "crafter"}, episodes=1).lengths == [145]
    assert not never(max_episode_steps=24).terminated.any()


def test_ends_are_drawn_with_the_probability_that_is_told():
    played = never(max_episode_steps=24, draw_ends=True, episodes=400)
    assert played.terminated.mean() > 0.98
    # Of a geometric law: mean 4, deviation 3.5, so that the mean of 400 is within 0.7 of it.
    assert 3.3 < played.lengths.mean() < 4.7
    np.testing.assert_array_equal(played.returns, played.lengths)
    again = never(max_episode_steps=24, draw_ends=True, episodes=400)
    np.testing.assert_array_equal(again.lengths, played.lengths)


def test_an_episode_without_any_end_is_given_up(monkeypatch):
    monkeypatch.setattr(episode_ends, "LONGEST", 50)
    with pytest.raises(NFDError, match=r"did not end within 50 steps\. .* draw_ends=True"):
        never(episodes=1)
    monkeypatch.setattr(env_players, "LONGEST", 50)
    world = batch(game=Improbable)
    (noop,) = find_policies(("noop",), world.action_spec)
    with pytest.raises(NFDError, match=r"within 50 steps.* A batch has to end its episodes"):
        world.play(noop, range(3))
    with pytest.raises(ConfigError, match="draw_ends is of single environments"):
        batch(draw_ends=True)


@pytest.mark.parametrize("said", [{"reward": np.nan}, {"probability": 1.7}])
def test_impossible_numbers_are_refused_in_rankings_too(said):
    game = type("Said", (Improbable,), {"reward": 1.0, **said})
    world = EnvWorld(game, name="odd", context_length=2, max_episode_steps=5, draw_ends=True)
    (noop,) = find_policies(("noop",), world.action_spec)
    with pytest.raises(NFDError, match=r"odd@1#unknown \(imagined\) (pays nan|says info)"):
        world.play(noop, range(2))


def test_a_batch_that_pays_nan_or_fails_says_so():
    class Ends(Improbable):
        reward, error = np.nan, None

        def step(self, action):
            if self.error is not None:
                raise self.error
            frame, reward, _, _, info = super().step(action)
            return frame, reward, True, False, info

    (noop,) = find_policies(("noop",), single().action_spec)
    with pytest.raises(NFDError, match="pays nan"):
        batch(game=Ends).play(noop, range(3))
    Ends.error = RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match=r"^out of memory$"):
        batch(game=Ends).play(noop, range(3))


def test_what_does_not_sample_has_no_sampling_steps():
    evaluate.check_sampling(EvaluateOptions(steps=(1,)), single())
    evaluate.check_sampling(EvaluateOptions(steps=(1, 4)), sliding_game.world())
    for given, flag in [
        ({"steps": (1, 4)}, "--steps"),
        ({"sampler": "euler"}, "--sampler"),
        ({"precision": "bfloat16"}, "--precision"),
    ]:
        with pytest.raises(ConfigError, match=f"steps an environment: it has no {flag}"):
            evaluate.check_sampling(EvaluateOptions(**given), single())
