from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from agents.collecting.choice import Choice
from agents.collecting.players import MIX, CustomPlayer, StickyPlayer, draw_player
from tests.agents.fake_envs import DICT_ACTIONS
from tests.agents.fake_game import INFO
from world_model.action_spec import ActionSpec
from world_model.errors import CheckpointError, ConfigError, NFDError

FRAME = np.zeros((4, 4, 3), np.uint8)
SPACES = [
    spaces.Discrete(4, start=-1),
    spaces.MultiDiscrete([2, 5]),
    spaces.MultiBinary(3),
    spaces.Box(np.float32([-1, 2]), np.float32([1, 3])),
    spaces.Box(-2, 2, (2,), np.int32),
    spaces.Tuple([spaces.Discrete(2), spaces.Box(-1, 1, (1,), np.float64)]),
    DICT_ACTIONS,
]


def play(player, spec: ActionSpec, steps: int = 60) -> np.ndarray:
    """Encoded actions (steps, K); raises where one is outside the space."""
    return np.stack([spec.encode(player.act(FRAME, {})) for _ in range(steps)])


@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("kind", sorted(MIX))
def test_players_play_every_space_and_by_their_dice_alone(space, kind):
    spec = ActionSpec.from_space(space)
    one, other = (draw_player(spec, np.random.default_rng(4), kind) for _ in range(2))
    actions = play(one, spec)
    np.testing.assert_array_equal(actions, play(other, spec))
    assert one.name == other.name
    third = play(draw_player(spec, np.random.default_rng(5), kind), spec)
    assert (actions != third).any()


def test_random_players_try_everything_alike():
    spec = ActionSpec.from_space(DICT_ACTIONS)
    actions = play(draw_player(spec, np.random.default_rng(0), "random"), spec, 3000)
    columns = dict(zip(["item", "key", "key", "x", "y"], actions.T, strict=True))
    shares = np.bincount(columns["item"].astype(int), minlength=3) / 3000
    np.testing.assert_allclose(shares, 1 / 3, atol=0.04)
    assert abs(columns["key"].mean() - 0.5) < 0.04
    assert abs(columns["x"].mean()) < 0.06
    assert columns["x"].min() < -0.95
    assert columns["x"].max() > 0.95


def test_sticky_players_hold_each_part_for_itself():
    spec = ActionSpec.from_space(spaces.MultiDiscrete([10, 10]))
    player = StickyPlayer(spec, np.random.default_rng(0), repeat=0.8)
    kept = np.diff(play(player, spec, 3000), axis=0) == 0
    np.testing.assert_allclose(kept.mean(0), 0.8 + 0.2 / 10, atol=0.03)
    # Whether one is kept says nothing of the other.
    assert abs((kept[:, 0] & kept[:, 1]).mean() - kept[:, 0].mean() * kept[:, 1].mean()) < 0.03


def test_runs_have_drawn_lengths():
    spec = ActionSpec.from_space(spaces.Discrete(1000))
    actions = play(StickyPlayer(spec, np.random.default_rng(0), longest=8), spec, 4000)[:, 0]
    lengths = np.diff(np.flatnonzero(np.diff(actions)))
    assert set(lengths.tolist()) == set(range(1, 9))
    # As many of length 1 as of 4 to 8, more or less: their logarithms are uniform.
    assert 0.2 < (lengths == 1).mean() < 0.45
    assert 0.2 < (lengths >= 4).mean() < 0.5


def test_biased_players_have_favourites():
    spec = ActionSpec.from_space(spaces.Discrete(4))
    shares = []
    for seed in range(10):
        player = StickyPlayer(spec, np.random.default_rng(seed), repeat=0.01, biased=True)
        shares.append(np.bincount(play(player, spec, 400)[:, 0].astype(int), minlength=4) / 400)
    assert np.mean([share.max() for share in shares]) > 0.5
    assert len({int(share.argmax()) for share in shares}) > 1


def test_a_mouse_rests_at_times():
    spec = ActionSpec.from_space(spaces.Box(-1, 1, (2,), np.float32))
    values = play(draw_player(spec, np.random.default_rng(0), "sticky"), spec, 2000)
    assert 0.05 < (values == 0).all(1).mean() < 0.4
    assert np.abs(values).max() > 0.9
    # Zero may be out of reach.
    off = ActionSpec.from_space(spaces.Box(2, 3, (1,), np.float32))
    assert play(draw_player(off, np.random.default_rng(0), "sticky"), off).min() >= 2


# -- who is chosen -----------------------------------------------------------------------------


def choice(*names: str, spec: ActionSpec = INFO.action_spec) -> Choice:
    return Choice(names, spec, (4, 4, 3))


def test_names_choose_players():
    dodging = choice("mix")
    assert {"evade", "sweep", "random", "runs"} <= set(dodging.kinds)
    assert choice("random")(np.random.default_rng(0)).name == "random"
    # `sticky` is the dodging games' own there, and holds the whole action elsewhere.
    plain = ActionSpec.from_space(spaces.Discrete(3))
    names = [
        choice("mix", spec=plain)(np.random.default_rng(i)).name.split("-")[0] for i in range(60)
    ]
    assert set(names) == set(MIX)
    both = choice("random", "runs", spec=plain)
    drawn = [both(np.random.default_rng(i)).name.split("-")[0] for i in range(40)]
    assert 10 < drawn.count("random") < 30
    assert set(drawn) == {"random", "runs"}
    assert both.identify() == {}


def test_functions_play():
    name = "tests.agents.fake_envs:sweep_player"
    player = choice(name)(np.random.default_rng(0))
    assert player.name == name
    assert [player.act(FRAME, {}) for _ in range(4)] == [0, 1, 2, 0]
    assert choice(name).identify() == {}
    with pytest.raises(NFDError, match="could not be loaded"):
        choice("tests.agents.fake_envs:nobody").identify()
    with pytest.raises(ConfigError, match="must return a callable"):
        CustomPlayer("mine", 3)


def test_who_does_not_fit_is_refused():
    with pytest.raises(CheckpointError, match=r"'nobody'.*Kinds of players: mix, uniform"):
        choice("nobody").identify()
    with pytest.raises(CheckpointError, match=r"Discrete\(3\) on frames of \(64, 64, 3\), not"):
        choice("doom-take-cover").identify()
    with pytest.raises(CheckpointError, match=r"no policy at 'nobody\.zip'"):
        choice("nobody.zip").identify()
