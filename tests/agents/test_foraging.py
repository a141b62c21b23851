"""The player of Crafter that sees the land."""

import numpy as np
import pytest
from gymnasium import spaces

from agents.foraging import COLOURS, FORAGE_ACTIONS, GOALS, PATIENCE, Forage, route, tiles
from agents.policies import GRADED, available, make_policy

NAMES = sorted(FORAGE_ACTIONS)
INDEX = {name: i for i, name in enumerate(NAMES)}
PLAYER = (3, 4)


def land(**places: tuple[int, int]) -> np.ndarray:
    """Grass, but for tiles (row, column) of other kinds."""
    view = np.full((7, 9), "grass", dtype="<U8")
    view[PLAYER] = "other"
    for kind, place in places.items():
        view[place] = kind
    return view


def picture(view: np.ndarray, light: float = 1.0, side: int = 8) -> np.ndarray:
    """The frame that shows the land, and below it nothing that the player has."""
    frame = np.zeros((9, 9, 3), np.float32)
    frame[:7] = [[COLOURS[str(kind)] for kind in row] for row in view]
    grey = frame @ np.array([0.299, 0.587, 0.114], np.float32)
    night = 0.2 * frame + 0.3 * grey[..., None] + np.array([0, 8, 32], np.float32)
    shown = light * frame + (1 - light) * night
    return shown.round().astype(np.uint8).repeat(side, 0).repeat(side, 1)


def played(player: Forage, view: np.ndarray, steps: int) -> list[str]:
    return [NAMES[player.act(picture(view), {})] for _ in range(steps)]


@pytest.mark.parametrize("light", [1.0, 0.8, 0.6])
@pytest.mark.parametrize("side", [7, 8])
def test_tiles_are_known_from_morning_to_evening(light, side):
    view = land(tree=(0, 0), water=(6, 8), stone=(2, 2), sand=(5, 1), cow=(1, 7), lava=(4, 4))
    np.testing.assert_array_equal(tiles(picture(view, light, side)), view)


def test_routes_go_around_water():
    view = land(tree=(3, 7))
    assert route(view, "tree") == ("move_right", False)
    view[:6, 5] = "water"
    assert route(view, "tree") == ("move_down", False)
    view[:, 5] = "water"
    assert route(view, "tree") == (None, False)
    assert route(view, "water") == ("move_right", True)


def test_who_stands_beside_a_tree_uses_it_and_then_makes_tools():
    player = Forage(INDEX, 0.0, np.random.default_rng(0))
    uses = GOALS[0][1]
    actions = played(player, land(tree=(3, 5)), 2 * uses + 6)
    assert actions[: 2 * uses] == ["move_right", "do"] * uses
    assert actions[2 * uses + 1 :: 2] == ["place_table", "make_wood_pickaxe", "make_wood_sword"]


def test_what_cannot_be_found_is_looked_for_elsewhere():
    player = Forage(INDEX, 0.0, np.random.default_rng(0))
    actions = played(player, land(), PATIENCE)
    assert set(actions) <= {"move_left", "move_right", "move_up", "move_down"}
    assert len(set(actions)) > 1  # nothing moves here: it must turn


def test_policies_of_graded_care_play_crafter_alone():
    found = available(GRADED, spaces.Discrete(17), NAMES)
    assert [name for name in found if name.startswith("forage")] == [
        "forage-0", "forage-25", "forage-50", "forage-75"
    ]  # fmt: skip
    others = available(GRADED, spaces.Discrete(4), ("noop", "fire", "right", "left"))
    assert not [name for name in others if name.startswith("forage")]
    policy = make_policy("forage-50", spaces.Discrete(17), NAMES)
    frames, state = picture(land(tree=(3, 5)))[None], policy.begin([3])
    actions = np.array([policy.act(frames, state)[0] for _ in range(200)])
    share = np.isin(actions, [INDEX["move_right"], INDEX["do"]]).mean()
    assert share < 0.9
    assert len(set(actions)) == 17
