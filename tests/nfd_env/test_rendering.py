from __future__ import annotations

import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import DependencyNotInstalled

from nfd_env.env import NFDWorldEnv
from nfd_env.rendering import Window, tile
from nfd_env.sb3_vec_env import NFDWorldVecEnv
from nfd_env.vector_env import NFDWorldVectorEnv
from tests.toy import ToyWorld


@pytest.fixture
def pygame(monkeypatch):
    """A screen that nobody sees."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame = pytest.importorskip("pygame")
    yield pygame
    pygame.display.quit()


def test_tiles_keep_their_order():
    frames = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    picture = tile(frames)
    assert picture.shape == (6, 4, 3)
    assert picture[::2, ::2, 0].tolist() == [[0, 1], [2, 3], [4, 0]]
    assert np.array_equal(tile(frames[:1]), frames[0])


def shown():
    import pygame

    return pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)


def test_the_window_shows_the_newest_frame(pygame):
    env = gym.make("NFD-World-v0", world="tests.toy:ToyWorld", render_mode="human")
    env.unwrapped._window.fps = 1000  # nobody watches
    frame, _ = env.reset(seed=0)
    assert shown().shape == (512, 512, 3)
    assert np.array_equal(shown()[::32, ::32], frame)
    snapshot = env.unwrapped.save_state()
    frame = env.step(2)[0]
    assert np.array_equal(shown()[::32, ::32], frame)
    assert env.render() is None
    env.unwrapped.restore_state(snapshot)
    assert np.array_equal(shown()[::32, ::32], snapshot.observations[0])
    env.close()
    env.close()
    assert not pygame.display.get_init()
    env.reset()  # opens again
    env.close()


@pytest.mark.parametrize("make", [NFDWorldVectorEnv, NFDWorldVecEnv])
def test_many_episodes_share_a_window(pygame, make):
    envs = make(4, ToyWorld(), render_mode="human")
    envs._window.fps = 1000
    envs.reset()
    frames = envs.step(np.zeros(4, int))[0]
    assert np.array_equal(shown()[::16, ::16], tile(frames))
    assert envs.render() is None
    envs.close()


def test_a_missing_pygame_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    env = NFDWorldEnv(ToyWorld(), render_mode="human")
    with pytest.raises(DependencyNotInstalled, match=r"nfd-world\[play\]"):
        env.reset()


def test_a_window_that_never_opened_closes():
    Window("title", 10.0).close()
