"""Crafter as a Gymnasium environment, with the real game, where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

from agents.presets import CRAFTER

crafter = pytest.importorskip("crafter")
pytestmark = pytest.mark.slow  # a world of Crafter takes a second to make


@pytest.fixture
def game():
    from agents.crafter_game import CrafterGame

    return CrafterGame()


def test_the_recipe_fits_the_game():
    from agents.presets import make_real_env

    env = make_real_env(CRAFTER)
    labels = env.action_spec.groups[0].labels
    assert (len(labels), labels[:6]) == (
        17, ("noop", "move_left", "move_right", "move_up", "move_down", "do")
    )  # fmt: skip
    assert (env.fps, env.max_episode_steps, env.state_names) == (10.0, 145, ())
    frame, _ = env.reset(seed=3)
    np.testing.assert_array_equal(frame, env._env.unwrapped.render())  # neither cut nor scaled
    assert env.source["versions"]["crafter"]
    # Grass is everywhere the same 8 by 8 pixels: tiles are whole, and lie where patches do.
    assert frame.shape == (72, 72, 3)
    tiles = frame[:56].reshape(7, 8, 9, 8, 3).swapaxes(1, 2).reshape(63, -1)
    assert np.unique(tiles, axis=0, return_counts=True)[1].max() > 15


def test_any_size_height_first():
    from agents.crafter_game import CrafterGame

    game = CrafterGame(size=(36, 54))
    assert game.observation_space.shape == game.reset(seed=0)[0].shape == (36, 54, 3)


def test_a_seed_says_what_happens(game):
    """Unless creatures are kept in order, they vanish by the addresses of objects in memory."""
    seen = []
    for waste in (0, 3000):
        kept = [bytearray(i % 977) for i in range(waste)]  # other addresses from here on
        frames = [game.reset(seed=0)[0]]
        for t in range(60):
            frames.append(game.step(1 + t // 4 % 4)[0])
        world = game._game._world
        where = [(type(o).__name__, *o.pos.tolist()) for o in world.objects]
        seen.append((np.stack(frames), where, len(kept)))
    np.testing.assert_array_equal(seen[0][0], seen[1][0])
    assert seen[0][1] == seen[1][1]
    assert not np.array_equal(game.reset(seed=1)[0], seen[0][0][0])


def test_creatures_of_a_region_come_in_the_order_of_their_birth(game, monkeypatch):
    given = []
    monkeypatch.setattr(
        crafter.Env, "_balance_object", lambda self, chunk, objs, *rest: given.append(objs)
    )
    game.reset(seed=0)
    world = game._game._world
    born = {id(obj): i for i, obj in enumerate(world.objects)}
    for chunk, objs in world.chunks.items():
        given.clear()
        game._game._balance_chunk(chunk, objs)
        ages = [[born[id(obj)] for obj in part] for part in given]
        assert ages == [sorted(born[id(obj)] for obj in objs)] * 3
    assert len(born) > 20


def test_looking_changes_nothing(game):
    seen = []
    for looks in (0, 2):
        frames = [game.reset(seed=0)[0]]
        for _ in range(20):
            frames.append(game.step(5)[0])
            for _ in range(looks):
                np.testing.assert_array_equal(game.render(), frames[-1])
        seen.append(np.stack(frames))
    np.testing.assert_array_equal(seen[0], seen[1])


def test_death_terminates_and_time_truncates(game):
    game.reset(seed=0)
    game._game._player.health = 0
    _, reward, terminated, truncated, _ = game.step(0)
    assert (terminated, truncated) == (True, False)
    assert reward == pytest.approx(-0.9)
    game.reset(seed=0)
    game._game._step = 9999
    assert game.step(0)[2:4] == (False, True)


def test_foragers_see_the_land_as_it_is():
    from agents.foraging import tiles
    from agents.presets import make_real_env

    env = make_real_env(CRAFTER)
    known = agreed = 0
    for seed in range(3):
        frame, _ = env.reset(seed=seed)
        for t in range(140):
            game = env._env.unwrapped._game
            x, y = game._player.pos
            area = game._world._mat_map[x - 4 : x + 5, y - 3 : y + 4].T
            names = [game._world._mat_names[number] for number in area.ravel()]
            for name, seen in zip(names, tiles(frame).ravel(), strict=True):
                if name in ("water", "tree", "stone", "sand"):
                    known, agreed = known + 1, agreed + (seen == name)
            frame, _, terminated, truncated, _ = env.step(1 + t // 3 % 4)
            if terminated or truncated:
                break
    assert known > 500
    assert agreed / known > 0.9
