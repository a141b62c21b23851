from __future__ import annotations

import json
import sys
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from agents import games
from agents.frame_env import LONGEST, FrameEnv
from agents.presets import BREAKOUT, CRAFTER, DOOM_KEYBOARD_MOUSE, make_real_env
from agents.real_actions import bounded, first_action, named_spec
from agents.recipe import EnvRecipe, FrameOptions, default_name, is_recipe
from tests.agents.fake_envs import DICT_ACTIONS, Blind, Clock, Flicker, Named
from world_model.errors import ActionError, ConfigError, NFDError, WorldNotFoundError


@pytest.fixture
def made(monkeypatch):
    """Makes FrameEnvs of environments that are given rather than named."""

    def make(env: gym.Env, **options: Any) -> FrameEnv:
        env.render_mode = "rgb_array" if options.get("render") else None
        monkeypatch.setattr("agents.frame_env.make_game", lambda *a, **k: env)
        settings: dict[str, Any] = {"size": (6, 8), **options}
        return FrameEnv(EnvRecipe("clock", "Clock", frames=FrameOptions(**settings)))

    return make


def test_a_frame_is_what_the_environment_shows(made):
    env = made(Clock(duration=3))
    frame, info = env.reset(seed=0)
    assert (frame == 0).all()
    assert frame.shape == (6, 8, 3)
    assert info["state"].shape == (0,)
    for time in (1, 2, 3):
        frame, reward, terminated, truncated, info = env.step(np.int64(2))
        assert (frame == time).all()
        assert (reward, terminated, truncated) == (1.0, time == 3, False)
        assert info["frame_missing"] is False
    np.testing.assert_array_equal(env.render(), frame)


def test_what_it_renders_instead(made):
    vector = spaces.Box(-9, 9, (2,), np.float32)
    env = made(Clock(vector), render=True, size=(2, 2), crop=(0, 20, 10, 40))
    env.reset(seed=0)
    for _ in range(30):
        frame, _, _, _, info = env.step(0)
    # A third of the left half of the frame is bright: 10 of 30 columns are dark.
    assert frame[..., 0].tolist() == [[10, 30], [10, 30]]
    assert env.state_names == ("observation.0", "observation.1")
    assert info["state"].tolist() == [30, 30]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 255, (12, 16), np.uint8),
        spaces.Box(0, 1, (12, 16, 3), np.float32),
        spaces.Box(0, 255, (3, 12, 16), np.uint8),
        spaces.Dict({"view": spaces.Box(0, 255, (12, 16, 1), np.uint8), "n": spaces.Box(0, 9)}),
    ],
)
def test_other_kinds_of_pictures(made, space):
    env = made(Clock(space))
    env.reset(seed=0)
    frame = env.step(1)[0]
    assert frame.dtype == np.uint8
    assert (frame == 1).all()


def test_frame_skip_sums_rewards_and_stops_at_the_end(made):
    env = made(Clock(duration=10), frame_skip=4)
    env.reset(seed=0)
    results = [env.step(2)[:3] for _ in range(3)]
    assert [reward for _, reward, _ in results] == [4, 4, 2]
    assert [frame[0, 0, 0] for frame, _, _ in results] == [4, 8, 10]
    assert [over for _, _, over in results] == [False, False, True]
    assert env.fps == 5.0


def test_pooling_keeps_what_flickers(made):
    for pool, expected in ((False, 0), (True, 200)):
        env = made(Flicker(), frame_skip=2, pool_frames=pool)
        env.reset(seed=0)
        assert (env.step(0)[0] == expected).all()


def test_the_time_limit_truncates(made):
    env = made(Clock(), max_episode_steps=3)
    env.reset(seed=0)
    assert [env.step(0)[2:4] for _ in range(3)] == [(False, False)] * 2 + [(False, True)]
    env.reset(seed=0)
    assert env.step(0)[3] is False
    # A death in the last step is a death.
    env = made(Clock(duration=3), max_episode_steps=3)
    env.reset(seed=0)
    assert [env.step(0)[2:4] for _ in range(3)] == [(False, False)] * 2 + [(True, False)]


def test_there_is_always_a_time_limit(made):
    assert made(Clock()).max_episode_steps == LONGEST
    assert made(Clock(), max_episode_steps=3000).max_episode_steps == 3000


def test_the_environments_own_time_limit():
    recipe = EnvRecipe("clock", "NFDTestClock-v0", frames=FrameOptions(frame_skip=2))
    env = FrameEnv(recipe)
    assert env.max_episode_steps == 5  # 9 raw steps, two at a time
    env.reset(seed=0)
    ends = [env.step(0) for _ in range(5)]
    assert [end[3] for end in ends] == [False] * 4 + [True]
    assert ends[-1][1] == 1.0  # the ninth step alone
    # The environment's own limit holds even where a longer one is asked for.
    longer = replace(recipe, frames=FrameOptions(max_episode_steps=20))
    assert FrameEnv(longer).max_episode_steps == 9


def test_episodes_that_always_start_alike_are_told_apart(made):
    env = made(Clock(), noop_starts=20)
    starts = [int(env.reset(seed=seed)[0][0, 0, 0]) for seed in range(20)]
    assert len(set(starts)) > 5
    assert max(starts) <= 20
    assert starts == [int(env.reset(seed=seed)[0][0, 0, 0]) for seed in range(20)]
    assert set(env._env.actions_taken) == {0}


def test_a_lost_life_may_end_the_episode(made):
    for ends, expected in ((False, [False] * 4), (True, [False, False, True, False])):
        env = made(Clock(lives=3), end_on_life_loss=ends)
        env.reset(seed=0)
        assert [env.step(0)[2] for _ in range(4)] == expected


def test_gymnasium_accepts_it(made):
    check_env(made(Clock(duration=9)), skip_render_check=True)


def test_wrong_actions_are_errors(made):
    env = made(Clock())
    env.reset(seed=0)
    with pytest.raises(ActionError, match="outside the action space"):
        env.step(3)


def test_it_closes_what_it_has_made(made):
    clock = Clock()
    made(clock).close()
    assert clock.closed
    blind = Blind()
    with pytest.raises(ConfigError, match=r"no image.*--render"):
        made(blind)
    assert blind.closed
    with pytest.raises(ConfigError, match="cannot draw itself"):
        made(Blind(), render=True)
    env = made(Clock(), crop=(0, 20, 0, 8))
    with pytest.raises(ConfigError, match=r"crop=\(0, 20, 0, 8\).*12x16"):
        env.reset()


# -- actions -----------------------------------------------------------------------------------


def test_names_of_actions(made):
    assert made(Named()).action_spec.groups[0].labels == ("noop", "fire", "up")
    assert made(Clock()).action_spec.groups[0].labels == ("action=0", "action=1", "action=2")
    # Names for fewer actions than there are fit none of them.
    many = made(Named(action_space=spaces.Discrete(9)))
    assert many.action_spec.groups[0].labels[0] == "action=0"


def test_parts_of_actions_are_named():
    names = ["jump", "use", "item", "yaw", "pitch"]
    order = [("keys", DICT_ACTIONS["keys"]), ("item", DICT_ACTIONS["item"])]
    space = spaces.Dict(OrderedDict([*order, ("mouse", DICT_ACTIONS["mouse"])]))
    spec = named_spec(space, names)
    assert [group.name for group in spec.groups] == ["jump", "use", "item", "mouse"]
    assert spec.groups[-1].labels == ("yaw", "pitch")
    assert spec.describe(np.float32([1, 0, 2, 0.5, 0])) == "jump=on use=off item=2 mouse=0.5,0"
    assert type(spec).from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_actions_without_bounds(made):
    space = spaces.Box(np.float32([-np.inf, 0]), np.float32([np.inf, 3e38]))
    with pytest.raises(ActionError, match=r"no bounds.*--action-limit"):
        made(Clock(action_space=space))
    env = made(Clock(action_space=space), action_limit=2.5)
    assert env.action_space.low.tolist() == [-2.5, 0]
    assert env.action_space.high.tolist() == [2.5, 2.5]
    env.reset(seed=0)
    env.step(np.float32([-2.5, 1]))
    with pytest.raises(ActionError, match="outside"):
        env.step(np.float32([-3, 1]))
    nested = bounded(spaces.Dict({"b": spaces.Tuple([space]), "a": DICT_ACTIONS}), 1.0, "it")
    assert nested["b"][0].high.tolist() == [1, 1]
    assert nested["a"] == DICT_ACTIONS
    with pytest.raises(ActionError, match="leaves nothing"):
        bounded(spaces.Box(5.0, np.inf, (1,)), 2.0, "it")


def test_the_first_action():
    spec = named_spec(spaces.Dict({"a": DICT_ACTIONS, "b": spaces.Box(2, 3, (1,))}), None)
    action = first_action(spec)
    assert action["b"] == [2.0]
    assert action["a"]["item"] == 1
    assert action["a"]["mouse"].tolist() == [0, 0]


# -- recipes and games ---------------------------------------------------------------------------


def test_recipes_travel_as_json():
    options = FrameOptions(
        size=(4, 8), crop=(0, 20, 10, 40), frame_skip=2, render=True, max_episode_steps=7
    )
    recipe = EnvRecipe(
        "mine", "NFDTestClock-v0", {"duration": 5}, frames=options, fps=7.5, reward="points"
    )
    source = json.loads(json.dumps(FrameEnv(recipe).source))
    assert is_recipe(source)
    assert EnvRecipe.from_source(source) == recipe
    again = make_real_env(EnvRecipe.from_source(source))
    again.reset(seed=0)
    assert again.step(1)[0][0, :, 0].tolist() == [0, 0, 1, 2, 2, 2, 2, 2]
    assert again.step(1)[1] == 2
    assert again.step(1)[2] is True
    source["preprocessing"]["hue"] = 3
    with pytest.raises(ConfigError, match="hue"):
        EnvRecipe.from_source(source)
    assert not is_recipe({"preset": "doom-take-cover", "preprocessing": {}})
    assert default_name("ALE/Breakout-v5") == "ale-breakout-v5"
    assert default_name("my.module:make_it") == "my.module-make_it"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"frame_skip": 0}, "frame_skip=0"),
        ({"size": (0, 8)}, "size"),
        ({"action_limit": -1.0}, "action_limit"),
        ({"max_episode_steps": 0}, "max_episode_steps=0"),
        ({"pool_frames": True}, "pool_frames needs"),
        ({"render": True, "observation_key": "screen"}, "exclude each other"),
    ],
)
def test_options_out_of_range_are_errors(settings, text):
    with pytest.raises(ConfigError, match=text):
        FrameOptions(**settings)


def test_unknown_environments_and_arguments():
    with pytest.raises(WorldNotFoundError, match=r"Did you mean .*NFDTestClock-v0"):
        games.make_game("NFDTestClok-v0", {})
    with pytest.raises(WorldNotFoundError, match="no environment is called 'Nothing-like-it'"):
        games.make_game("Nothing-like-it", {})
    with pytest.raises(ConfigError, match=r"NFDTestClock-v0.*colour"):
        games.make_game("NFDTestClock-v0", {"colour": "red"})
    with pytest.raises(NFDError, match="nowhere_at_all"):
        games.make_game("nowhere_at_all:Clock-v0", {})


def test_functions_that_make_environments():
    env = games.make_game("tests.agents.fake_envs:make_clock", {})
    assert env.observation_space.shape == (12, 16, 3)
    with pytest.raises(ConfigError, match="takes no arguments"):
        games.make_game("tests.agents.fake_envs:make_clock", {"duration": 3})
    with pytest.raises(ConfigError, match=r"no gymnasium\.Env"):
        games.make_game("tests.agents.fake_envs:no_environment", {})
    with pytest.raises(ConfigError, match="render_mode='rgb_array'"):
        games.make_game("tests.agents.fake_envs:make_clock", {}, render=True)


@pytest.mark.parametrize(
    ("recipe", "module", "extra"),
    [(BREAKOUT, "ale_py", "atari"), (CRAFTER, "crafter", "crafter"),
     (DOOM_KEYBOARD_MOUSE, "vizdoom.gymnasium_wrapper", "doom")],
)  # fmt: skip
def test_without_the_game_the_error_says_what_to_install(monkeypatch, recipe, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "agents.crafter_game", raising=False)
    with pytest.raises(NFDError, match=rf'pip install "nfd-world\[{extra}\]"'):
        make_real_env(recipe)


@pytest.mark.slow
def test_doom_with_keyboard_and_mouse():
    pytest.importorskip("vizdoom")
    env = FrameEnv(replace(DOOM_KEYBOARD_MOUSE, fps=None))
    try:
        assert env.fps == 17.5
        assert env.state_names[3:] == ("angle", "pitch", "health")
        still = env.action_spec.decode(np.zeros(9, np.float32))
        turned = {**still, "continuous": np.float32([4, 0])}
        forward = {**still, "binary": np.int8([1, 0, 0, 0, 0, 0, 0])}
        changes = []
        for action in (still, turned, forward):
            start = env.reset(seed=1)[1]["state"]
            for _ in range(12):
                info = env.step(action)[-1]
            changes.append(np.abs(info["state"] - start))
        assert changes[0].max() == 0
        assert changes[1][3] > 20  # degrees; the position stays
        assert changes[1][:2].max() == 0
        assert changes[2][0] > 20  # it faces +x
        assert changes[2][3] == 0
    finally:
        env.close()
