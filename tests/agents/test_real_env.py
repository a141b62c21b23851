from __future__ import annotations

import dataclasses
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from agents.presets import DOOM_TAKE_COVER, PRESETS, get_preset, make_real_env
from agents.real_env import RealEnvPreset, area_average, max_pool
from world_model import presets as world_presets
from world_model.errors import ActionError, NFDError, WorldNotFoundError

STAY, RIGHT, LEFT = (DOOM_TAKE_COVER.action_names.index(n) for n in ("stay", "right", "left"))
HEALTH, POSITION_X, POSITION_Y = 0, 1, 2


def test_area_average_by_hand():
    screen = np.zeros((6, 8, 3), np.uint8)
    screen[1:3, 0:4] = 100  # fills the first block of the cropped screen
    screen[3, 4] = (40, 80, 200)  # one pixel of eight of the last
    frame = area_average(screen, (1, 5, 0, 8), (2, 4))
    assert frame.shape == (2, 2, 3)
    assert frame[0, 0].tolist() == [100, 100, 100]
    assert frame[1, 1].tolist() == [5, 10, 25]
    assert frame[0, 1].tolist() == [0, 0, 0]


def test_max_pool_keeps_the_smallest_object():
    classes = np.zeros((6, 8), np.uint8)
    classes[1:3, 0:4] = 1
    classes[2, 3] = 2
    classes[4, 7] = 2
    classes[0, 4] = 2  # outside the crop
    pooled = max_pool(classes, (1, 5, 0, 8), (2, 4))
    assert pooled.tolist() == [[2, 0], [0, 2]]


def test_presets():
    preset = get_preset("doom-take-cover")
    assert preset.frame_shape == (64, 64, 3)
    assert preset.fps == 35 / 4
    assert preset.action_spec.describe(np.float32([LEFT])) == "left"
    with pytest.raises(WorldNotFoundError, match=r"'pongg'. Did you mean pong\? .*doom-take-cover"):
        get_preset("pongg")


def test_every_real_environment_can_be_trained_on():
    for name, preset in PRESETS.items():
        assert preset.name == name
        world = world_presets.get_preset(name)
        classes = preset.class_names if isinstance(preset, RealEnvPreset) else {0: "background"}
        # A loss weight for each class of objects that is recorded, see `object_weights`.
        assert len(world.flow.object_weights) in (0, max(classes))
        shape = preset.frame_shape if isinstance(preset, RealEnvPreset) else preset.frames.size
        assert [side % world.patch_size for side in shape[:2]] == [0, 0]


def test_without_the_game_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    with pytest.raises(NFDError, match=r'pip install "nfd-world\[doom\]"'):
        make_real_env("doom-take-cover")


@pytest.fixture(scope="module")
def env():
    pytest.importorskip("vizdoom")
    env = make_real_env("doom-take-cover", seed=0)
    yield env
    env.close()


def test_actions_are_what_they_are_called(env):
    # The player faces +x, so that its left is +y.
    moved = {}
    for action in (STAY, LEFT, RIGHT):
        _, start = env.reset(seed=3)
        for _ in range(5):
            info = env.step(action)[-1]
        difference = info["state"] - start["state"]
        moved[action] = difference[POSITION_Y]
        assert difference[POSITION_X] == 0
    assert moved[STAY] == 0
    assert moved[LEFT] > 30
    assert moved[RIGHT] < -30


def test_seeds_make_episodes_again(env):
    def play(seed: int | None):
        rng = np.random.default_rng(0)
        frames, info = [env.reset(seed=seed)[0]], {}
        for _ in range(25):
            frame, _, terminated, _, info = env.step(int(rng.integers(3)))
            frames.append(frame)
            if terminated:
                break
        return np.stack(frames), info["state"], info["labels"]

    first, other, again = play(1), play(2), play(1)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert first[0].shape != other[0].shape or (first[0] != other[0]).any()
    # A new game whose first reset is given no seed uses its own.
    fresh = make_real_env("doom-take-cover", seed=1)
    try:
        frame, _ = fresh.reset()
        np.testing.assert_array_equal(frame, first[0][0])
    finally:
        fresh.close()


def test_a_death_repeats_the_last_frame(env):
    frame, info = env.reset(seed=5)
    terminated = truncated = False
    steps = 0
    while not (terminated or truncated):
        previous, before = frame, info
        frame, reward, terminated, truncated, info = env.step(STAY)
        steps += 1
        assert frame.dtype == np.uint8
        assert frame.max() > 0, "a black frame"
        assert info["frame_missing"] == (terminated or truncated)
        assert 1 <= reward <= 4
    assert terminated
    assert not truncated
    assert steps < 150
    np.testing.assert_array_equal(frame, previous)
    np.testing.assert_array_equal(info["state"], before["state"])
    np.testing.assert_array_equal(info["labels"], before["labels"])


def test_labels_mark_monsters_and_fireballs(env):
    env.reset(seed=5)
    seen = set()
    bright = []
    for _ in range(60):
        frame, _, terminated, _, info = env.step(STAY)
        if terminated:
            break
        labels = info["labels"]
        seen |= set(np.unique(labels).tolist())
        if (labels == 2).sum() > 20:  # a near fireball glows
            bright.append(frame[labels == 2].max(axis=1).mean() - frame[labels == 0].mean())
    assert seen == {0, 1, 2}
    assert np.mean(bright) > 50


def test_the_time_limit_truncates_with_a_real_frame():
    pytest.importorskip("vizdoom")
    env = make_real_env(dataclasses.replace(DOOM_TAKE_COVER, max_episode_steps=4), labels=False)
    try:
        _, info = env.reset(seed=0)
        assert "labels" not in info
        for step in range(1, 5):
            _, _, terminated, truncated, info = env.step(LEFT)
            assert not terminated
            assert truncated == (step == 4)
            assert info["frame_missing"] is False
    finally:
        env.close()


def test_wrong_actions_are_errors(env):
    env.reset(seed=0)
    for action in (3, -1, 0.5, None):
        with pytest.raises(ActionError, match=r"outside Discrete\(3\)"):
            env.step(action)


@pytest.mark.slow
def test_gymnasium_accepts_it(tmp_path, monkeypatch):
    pytest.importorskip("vizdoom")
    from gymnasium.utils.env_checker import check_env

    monkeypatch.chdir(tmp_path)
    env = make_real_env("doom-take-cover", labels=False)
    check_env(env, skip_render_check=True)
    env.close()
    env.close()


@pytest.mark.slow
def test_games_share_no_folder_and_leave_the_working_folder_alone(tmp_path, monkeypatch):
    """One that ends tidies up; that must not touch one that is starting."""
    pytest.importorskip("vizdoom")
    monkeypatch.chdir(tmp_path)
    envs = [make_real_env("doom-take-cover", labels=False) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        frames = list(pool.map(lambda env: env.reset(seed=3)[0], envs))
    assert all(np.array_equal(frame, frames[0]) for frame in frames)
    assert list(tmp_path.iterdir()) == []
    assert Path.cwd() == tmp_path
    for env in envs:
        env.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["doom-health-gathering", "doom-defend-the-center"])
def test_further_scenarios_do_what_they_are_said_to(name):
    pytest.importorskip("vizdoom")
    preset = get_preset(name)
    assert isinstance(preset, RealEnvPreset)
    env = make_real_env(preset)
    try:
        changes, seen = {}, set()
        for action, label in enumerate(preset.action_names):
            start = env.reset(seed=2)[1]["state"]
            for _ in range(4):
                frame, _, _, _, info = env.step(action)
                seen |= set(np.unique(info["labels"]).tolist())
            difference = info["state"] - start
            changes[label] = dict(zip(preset.state_variables, difference, strict=True))
        assert seen == {0, 1}
        assert frame.shape == (64, 64, 3)
        turned = {label: (values["ANGLE"] + 180) % 360 - 180 for label, values in changes.items()}
        assert turned["left"] > 10
        assert turned["right"] < -10
        assert turned["stay"] == 0
        if "forward" in changes:
            forward = np.hypot(changes["forward"]["POSITION_X"], changes["forward"]["POSITION_Y"])
            assert forward > 20
        else:
            assert changes["attack"]["AMMO2"] < 0
            assert changes["stay"]["AMMO2"] == 0
        # An episode ends without a picture, and its last frame is repeated.
        env.reset(seed=2)
        over, steps = False, 0
        while not over:
            frame, reward, terminated, truncated, info = env.step(0)
            over, steps = terminated or truncated, steps + 1
            assert frame.max() > 0
        assert info["frame_missing"]
        assert terminated
        assert reward < 0
        assert info["state"][0] < 50  # health: the floor is acid, and monsters bite
        assert steps < 525
    finally:
        env.close()
