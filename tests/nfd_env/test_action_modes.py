"""One world, several action spaces: whichever an agent speaks, the world hears its own."""

from __future__ import annotations

import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from nfd_env import action_adapter
from nfd_env.action_adapter import action_modes, find_adapter, register_action_modes
from nfd_env.env import NFDWorldEnv
from nfd_env.sb3_vec_env import make_sb3_vec_env
from nfd_env.vector_env import NFDWorldVectorEnv
from tests.toy import ToyWorld
from tests.world_model.tiny import minecraft_world, tiny_world
from world_model.action_spec import ActionSpec
from world_model.errors import ActionError, ConfigError
from world_model.minecraft.actions import BUTTONS
from world_model.minecraft.formats import FORMATS

MINECRAFT = "tests.world_model.tiny:minecraft_world"
WORLD = minecraft_world()
VPT_NOOP = [0, 0, 0, 0, 0, 0, 0, 0, 5, 5]


def minerl(*buttons, camera=(0.0, 0.0)):
    action = {name: int(name in buttons) for name in BUTTONS}
    return action | {"camera": np.array(camera, np.float32)}


def vpt(**choices):
    """An action of VPT's groups, as a list; ``pitch`` and ``yaw`` are bins."""
    names = [group.name for group in FORMATS["multidiscrete"].spec.groups]
    return [choices.get(name, still) for name, still in zip(names, VPT_NOOP, strict=True)]


def discrete(name):
    return FORMATS["discrete"].spec.groups[0].labels.index(name)


SAME = {  # the same three actions, as each mode says them
    "minerl": [minerl("forward", "jump"), minerl("attack"), minerl(camera=(0, 10))],
    "multidiscrete": [vpt(fore_back=1, jump=1), vpt(attack=1), vpt(yaw=10)],
    "discrete": [discrete("forward+jump"), discrete("attack"), discrete("turn right")],
}


def make(mode, **settings):
    return NFDWorldEnv(
        WORLD, action_mode=mode, **{"sampling_steps": 1, "endless": True, **settings}
    )


# -- what an agent sees --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", FORMATS)
def test_spaces(mode):
    assert make(mode).action_space == FORMATS[mode].spec.space
    envs = NFDWorldVectorEnv(2, WORLD, action_mode=mode)
    assert envs.single_action_space == FORMATS[mode].spec.space


def test_a_world_opens_with_the_space_of_its_data():
    for own in FORMATS:
        assert NFDWorldEnv(minecraft_world(own)).action_space == FORMATS[own].spec.space


def test_the_default_mode_is_kept_on_disk(tmp_path):
    folder = minecraft_world("mineworld").save_pretrained(tmp_path / "world")
    env = gym.make("NFD-World-v0", world=str(folder))
    assert env.action_space == FORMATS["mineworld"].spec.space
    other = gym.make("NFD-World-v0", world=str(folder), action_mode="minerl")
    assert other.action_space == FORMATS["minerl"].spec.space
    assert gym.make(other.spec).action_space == other.action_space


def test_the_same_actions_in_any_mode_give_the_same_episode():
    seen = {}
    for mode, actions in SAME.items():
        with make(mode) as env:
            env.reset(seed=3)
            seen[mode] = [env.step(action) for action in actions * 2]
    for mode in ("multidiscrete", "discrete"):
        for one, other in zip(seen["minerl"], seen[mode], strict=True):
            assert np.array_equal(one[0], other[0])
            assert one[1:] == other[1:]
    assert len({step[0].tobytes() for step in seen["minerl"]}) == 6


def test_actions_are_told_apart():
    """A world with random weights answers each action with another frame."""
    with make("discrete") as env:
        env.reset(seed=0)
        snapshot, frames = env.save_state(), set()
        for action in range(env.action_space.n):
            env.restore_state(snapshot)
            frames.add(env.step(action)[0].tobytes())
        assert len(frames) > env.action_space.n // 2


@pytest.mark.parametrize("own", ["minerl", "mineworld"])
@pytest.mark.parametrize("mode", ["discrete", "multidiscrete", "minerl"])
def test_passes_gymnasiums_checker(own, mode):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*not having a spec.*")
        # MineRL's camera is in degrees.
        warnings.filterwarnings("ignore", message=".*symmetric and normalized space.*")
        check_env(NFDWorldEnv(minecraft_world(own), action_mode=mode, render_mode="rgb_array"))


@pytest.mark.parametrize("mode", ["discrete", "multidiscrete"])
def test_stable_baselines3_learns(mode):
    # A frame of 16 pixels is too small for SB3's usual network, which it warns about.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*minimal resolution.*")
        sb3_check_env(make(mode))
    envs = make_sb3_vec_env(n_envs=2, world=WORLD, action_mode=mode, sampling_steps=1)
    PPO("MlpPolicy", envs, n_steps=8, batch_size=8, n_epochs=1, device="cpu").learn(16)


# -- every face ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", SAME)
def test_batches_agree_with_single_environments(mode):
    envs = NFDWorldVectorEnv(3, WORLD, action_mode=mode)
    envs.reset(seed=0)
    if mode == "minerl":
        actions = {key: np.stack([a[key] for a in SAME[mode]]) for key in envs.action_space}
    else:
        actions = np.array(SAME[mode])
    assert envs.action_space.contains(actions)
    encoded = envs.core.adapter.encode_batch(actions, 3)
    for action, vector in zip(SAME[mode], encoded, strict=True):
        np.testing.assert_array_equal(envs.core.adapter.encode(action), vector)
    frames, *_ = envs.step(actions)
    own = NFDWorldVectorEnv(3, WORLD)
    own.reset(seed=0)
    rows = {k: np.stack([a[k] for a in SAME["minerl"]]) for k in own.action_space}
    assert np.array_equal(own.step(rows)[0], frames)


def test_the_sb3_adapter_takes_the_mode():
    envs = make_sb3_vec_env(n_envs=3, world=WORLD, action_mode="multidiscrete", endless=True)
    assert envs.action_space == FORMATS["multidiscrete"].spec.space
    assert envs.get_attr("action_space") == [envs.action_space] * 3
    envs.seed(0)
    envs.reset()
    frames, *_ = envs.step(np.array(SAME["multidiscrete"]))
    other = NFDWorldVectorEnv(3, WORLD, action_mode="discrete", endless=True)
    other.reset(seed=0)
    assert np.array_equal(other.step(np.array(SAME["discrete"]))[0], frames)


def test_pickles_and_renders():
    env = make("discrete", render_mode="rgb_array")
    by_name = gym.make("NFD-World-v0", world=MINECRAFT, action_mode="discrete")
    assert pickle.loads(pickle.dumps(by_name)).action_space == env.action_space
    frame, _ = env.reset(seed=0)
    assert np.array_equal(env.render(), frame)


def test_snapshots_go_from_mode_to_mode():
    with make("minerl") as one, make("discrete") as other:
        one.reset(seed=1)
        one.step(SAME["minerl"][0])
        other.restore_state(one.save_state())
        assert np.array_equal(one.step(SAME["minerl"][1])[0], other.step(SAME["discrete"][1])[0])


def test_branches_keep_the_mode():
    core = make("discrete").core
    core.reset(seeds=[0])
    assert core.branch([0, 0]).adapter is core.adapter


def test_given_actions_are_of_the_mode():
    clip = WORLD.contexts.pick([0]).frames[0].numpy()[:3]
    frames = []
    for mode in SAME:
        with make(mode) as env:
            env.reset(seed=0, options={"frames": clip, "actions": SAME[mode][:2]})
            frames.append(env.step(SAME[mode][2])[0])
    assert np.array_equal(frames[0], frames[1])
    assert np.array_equal(frames[0], frames[2])
    with make("discrete") as env:
        env.reset(seed=0, options={"frames": clip, "actions": [0, 0]})
        assert not np.array_equal(env.step(SAME["discrete"][2])[0], frames[0])


@pytest.mark.parametrize("speculation", ["ahead", "branch"])
def test_hints_are_of_the_mode_and_speculation_pays(speculation):
    with (
        make("discrete", speculation=speculation, sampling_steps=2) as env,
        make("discrete", speculation="off", sampling_steps=2) as plain,
    ):
        env.reset(seed=0)
        plain.reset(seed=0)
        for action in (7, 7, 3, 3, 10, 10):
            env.hint([action])
            frame, expected = env.step(action)[0], plain.step(action)[0]
            if speculation == "ahead":  # branches are exact in kernel shapes of their own
                assert np.array_equal(frame, expected)
        assert env.speculation["accepted"] > 0
        with pytest.raises(ActionError):
            env.hint([23])


@pytest.mark.parametrize(
    ("mode", "action"),
    [
        ("discrete", 23),
        ("discrete", minerl()),
        ("multidiscrete", [*VPT_NOOP[:-1], 11]),
        ("multidiscrete", 3),
        ("minerl", minerl(camera=(0, 181))),
        ("minerl", {"camera": np.zeros(2)}),
        ("oasis", np.full(25, np.nan, np.float32)),
    ],
)
def test_actions_of_other_spaces_are_refused(mode, action):
    with make(mode) as env:
        env.reset(seed=0)
        with pytest.raises(ActionError):
            env.step(action)


def test_recorded_actions_can_be_said_in_the_mode():
    adapter = make("discrete").core.adapter
    vector = WORLD.action_spec.encode(minerl("forward", "jump", "drop"))
    assert adapter.decode(vector) == discrete("forward+jump")
    with pytest.raises(ActionError, match="null"):
        adapter.decode(WORLD.action_spec.null())


# -- worlds with and without modes ---------------------------------------------------------------


@pytest.mark.parametrize("make_world", [tiny_world, ToyWorld])
def test_a_world_without_modes_says_what_it_has(make_world):
    for build in (NFDWorldEnv, lambda world, **s: NFDWorldVectorEnv(2, world, **s)):
        with pytest.raises(ConfigError, match=r"action_mode='minerl'.*stay, left, right"):
            build(make_world(), action_mode="minerl")


def test_an_unknown_mode_says_which_there_are():
    with pytest.raises(ConfigError, match=r"'joystick'.*discrete, multidiscrete.*own is minerl"):
        make("joystick")


def test_minerls_space_needs_no_convention():
    plain = ActionSpec.from_space(FORMATS["minerl"].spec.space)
    env = NFDWorldEnv(tiny_world(spec=plain), action_mode="discrete")
    env.reset(seed=0)
    np.testing.assert_array_equal(
        env.core.adapter.encode(discrete("attack")), plain.encode(minerl("attack"))
    )
    assert find_adapter(env.world, "minerl") is plain


def test_other_families_can_be_registered(monkeypatch):
    class Mirrored:
        """Left is right."""

        def __init__(self, spec):
            self.spec, self.space = spec, spec.space

        def encode(self, action):
            return self.spec.encode((0, 2, 1)[action])

        def encode_batch(self, actions, count):
            return self.spec.encode_batch(np.array([0, 2, 1])[actions], count)

        def decode(self, vector):
            return (0, 2, 1)[int(self.spec.decode(vector))]

    def modes(spec):
        return {"mirrored": Mirrored(spec)} if spec.convention == "toy/three" else {}

    monkeypatch.setattr(action_adapter, "_FAMILIES", dict(action_adapter._FAMILIES))
    register_action_modes("toy", modes)
    spec = ActionSpec.from_space(spaces.Discrete(3), convention="toy/three")
    assert list(action_modes(spec)) == ["mirrored"]
    assert action_modes(tiny_world().action_spec) == {}
    world = tiny_world(spec=spec)
    plain, mirrored = NFDWorldEnv(world), NFDWorldEnv(world, action_mode="mirrored")
    plain.reset(seed=0)
    mirrored.reset(seed=0)
    assert np.array_equal(plain.step(1)[0], mirrored.step(2)[0])
