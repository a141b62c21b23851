import numpy as np
import pytest
from gymnasium import spaces

from agents.collecting import skilled
from agents.collecting.choice import Choice
from agents.collecting.skilled import Hunt, draw_skilled, skill_for
from agents.foraging import FORAGE_ACTIONS
from tests.agents.test_following import BREAKOUT, follower
from world_model.action_spec import ActionSpec

DOOM = ("stay", "attack", "right", "left")
FRAME = np.zeros((64, 64, 3), np.uint8)


def choose(names: tuple[str, ...], target: int | None, player: str = "mix") -> Choice:
    spec = ActionSpec.from_space(spaces.Discrete(len(names)), names=names)
    return Choice((player,), spec, (64, 64, 3), target)


def test_who_knows_which_game():
    assert skill_for(DOOM, 1) == "hunt"
    assert skill_for(DOOM, None) is None  # nothing to aim at
    assert skill_for(reversed(BREAKOUT), None) == "follow"
    assert skill_for(("left", "right"), 1) is None
    assert skill_for(sorted(FORAGE_ACTIONS), None) == "forage"
    assert "hunt" in choose(DOOM, 1).kinds
    assert "follow" in choose(BREAKOUT, None).kinds
    assert choose(DOOM, None).kinds[0] == "mix"
    assert "hunt" not in choose(DOOM, None).kinds
    plain = Choice(("mix",), ActionSpec.from_space(spaces.Discrete(4)), (64, 64, 3))
    assert "follow" not in plain.kinds


def test_a_mix_has_its_share_of_them():
    drawn = [choose(DOOM, 1)(np.random.default_rng(i)).name.split("-")[0] for i in range(300)]
    assert drawn.count("hunt") / 300 == pytest.approx(skilled.SHARE, abs=0.08)
    assert len(set(drawn)) == 6
    for names, kind in ((BREAKOUT, "follow"), (tuple(sorted(FORAGE_ACTIONS)), "forage")):
        only = choose(names, None, kind)
        assert only(np.random.default_rng(0)).name.startswith(f"{kind}-")


def hunter(epsilon: float = 0.0) -> Hunt:
    player = Hunt({name: i for i, name in enumerate(DOOM)}, 1, epsilon, np.random.default_rng(0))
    player.near = 2
    return player


def seen(*blobs: tuple[int, int]) -> dict[str, np.ndarray]:
    """Labels with a monster at each (column, height)."""
    labels = np.zeros((64, 64), np.uint8)
    for column, height in blobs:
        labels[20 : 20 + height, column - 1 : column + 1] = 1
    labels[5, 5] = 2  # of another class
    return {"labels": labels}


@pytest.mark.parametrize(
    ("blobs", "action"),
    [
        ([(10, 6)], "left"),
        ([(50, 6)], "right"),
        ([(32, 6)], "attack"),
        ([(10, 3), (50, 9)], "right"),  # the nearer one
    ],
)
def test_hunters_turn_to_the_nearest_and_attack(blobs, action):
    assert DOOM[hunter().act(FRAME, seen(*blobs))] == action


def test_hunters_search_where_they_last_saw_one():
    player = hunter()
    player.act(FRAME, seen((50, 6)))
    assert [DOOM[player.act(FRAME, seen((40, 1)))] for _ in range(3)] == ["right"] * 3
    player.act(FRAME, seen((10, 6)))
    assert DOOM[player.act(FRAME, seen())] == "left"


@pytest.mark.parametrize(("kind", "names"), [("hunt", DOOM), ("follow", BREAKOUT)])
def test_careless_ones_do_anything(kind, names):
    players = [draw_skilled(kind, names, 1, np.random.default_rng(i)) for i in range(40)]
    assert {p.name for p in players} == {f"{kind}-{e}" for e in ("0.02", "0.10", "0.30", "0.50")}
    player = hunter(1.0) if kind == "hunt" else follower(1.0)
    actions = [player.act(FRAME, seen((32, 6))) for _ in range(200)]
    assert set(actions) == {0, 1, 2, 3}
