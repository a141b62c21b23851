"""The player of Defend the Center that sees the monsters."""

import numpy as np
import pytest
from gymnasium import spaces

from agents.aiming import Aim
from agents.policies import GRADED, available, make_policy
from world_model.errors import ActionError

DOOM = ("stay", "attack", "right", "left")
SPACE = spaces.Discrete(4)
DEMON, MARINE, FLASH = (190, 90, 92), (70, 66, 72), (230, 160, 60)


def arena(*monsters: tuple[tuple[int, int, int], int, int], bright: int = 0) -> np.ndarray:
    """The arena as the recipe shows it, with monsters (colour, column of the middle, height)."""
    frame = np.full((64, 64, 3), (88, 88, 88), np.uint8)
    frame[:28] = (113, 90, 70)
    frame[:28] += np.uint8(bright)
    for colour, column, height in monsters:
        frame[32 - height // 2 : 32 + height // 2, column - 2 : column + 3] = colour
    frame[38:, 29:35] = (60, 40, 30)  # the gun
    return frame


def aimer(epsilon: float = 0.0) -> Aim:
    return Aim({name: i for i, name in enumerate(DOOM)}, epsilon, np.random.default_rng(0))


@pytest.mark.parametrize("colour", [DEMON, MARINE])
@pytest.mark.parametrize(("column", "action"), [(12, "left"), (50, "right"), (32, "attack")])
def test_it_turns_to_monsters_and_shoots(colour, column, action):
    assert DOOM[aimer().act(arena((colour, column, 24)), {})] == action


def test_the_tallest_is_the_nearest():
    both = arena((DEMON, 12, 12), (DEMON, 52, 20))
    assert DOOM[aimer().act(both, {})] == "right"
    assert Aim.find(both) == pytest.approx((52.5 - 32) / 64)


def test_nothing_is_no_monster():
    assert Aim.find(arena()) is None
    shot = arena(bright=20)
    shot[24:38, 30:34] = FLASH
    shot[28:34, 31:33] = (250, 250, 250)
    assert Aim.find(shot) is None


def test_it_goes_on_turning_the_way_it_turned_last():
    player = aimer()
    for column, way in ((10, "left"), (54, "right")):
        player.act(arena((DEMON, column, 20)), {})
        assert [DOOM[player.act(arena(), {})] for _ in range(3)] == [way] * 3


def test_chance_takes_its_share():
    player = aimer(0.5)
    actions = [player.act(arena((DEMON, 32, 20)), {}) for _ in range(400)]
    assert np.mean([DOOM[action] == "attack" for action in actions]) == pytest.approx(
        0.5 + 0.5 / 4, abs=0.08
    )


def test_policies_of_graded_care_play_the_game_they_know_and_no_other():
    found = available(GRADED, SPACE, DOOM)
    assert [name for name in found if name.startswith("aim")] == [
        "aim-0", "aim-25", "aim-50", "aim-75"
    ]  # fmt: skip
    assert not any(name.startswith(("follow", "forage")) for name in found)
    with pytest.raises(ActionError, match="no policy is called 'aim-0'"):
        make_policy("aim-0", SPACE, ("noop", "fire", "right", "left"))
