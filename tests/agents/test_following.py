"""The player of Breakout that sees the ball."""

import numpy as np
import pytest
from gymnasium import spaces

from agents.following import Follow
from agents.policies import GRADED, available, make_policy
from world_model.errors import ActionError

BREAKOUT = ("noop", "fire", "right", "left")
SPACE = spaces.Discrete(4)


def board(ball: tuple[int, int] | None, paddle: int) -> np.ndarray:
    """Breakout as its recipe shows it: walls, bricks, ball (row, column), paddle."""
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[4:63, :3] = frame[4:63, 61:] = 142
    frame[18:30, 3:61] = (200, 72, 72)
    frame[62:, paddle - 3 : paddle + 3] = (200, 72, 72)
    if ball is not None:
        frame[ball] = (120, 40, 40)
    return frame


def follower(epsilon: float = 0.0) -> Follow:
    index = {name: i for i, name in enumerate(BREAKOUT)}
    return Follow(index, epsilon, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("ball", "paddle", "action"),
    [((50, 12), 40, "left"), ((40, 50), 20, "right"), ((45, 30), 31, "noop")],
)
def test_followers_stay_under_the_ball(ball, paddle, action):
    assert BREAKOUT[follower().act(board(ball, paddle), {})] == action


def test_followers_serve_where_there_is_no_ball():
    player = follower()
    actions = {BREAKOUT[player.act(board(None, 30), {})] for _ in range(40)}
    assert actions == {"fire", "noop"}


def test_followers_aim_elsewhere_with_every_stroke():
    player = follower()
    offsets = set()
    for _ in range(5):
        for row in (40, 50, 60, 50, 40):
            player.act(board((row, 30), 30), {})
        offsets.add(player.offset)
    assert len(offsets) == 5
    assert all(abs(offset) <= 0.035 for offset in offsets)


def test_policies_of_graded_care_play_the_game_they_know_and_no_other():
    found = available(GRADED, SPACE, BREAKOUT)
    assert [name for name in found if name.startswith("follow")] == [
        "follow-0", "follow-25", "follow-50", "follow-75"
    ]  # fmt: skip
    others = available(GRADED, SPACE, ("noop", "fire", "right", "up"))
    assert not [name for name in others if name.startswith("follow")]
    for name in ("follow-101", "follow-x", "follow"):
        with pytest.raises(ActionError, match="no policy is called 'follow"):
            make_policy(name, SPACE, BREAKOUT)


def test_a_policy_sees_each_stream_alone():
    policy = make_policy("follow-0", SPACE, BREAKOUT)
    boards = [board((50, 12), 40), board((40, 50), 20), board((45, 30), 31)]
    chosen = policy.act(np.stack(boards), policy.begin([1, 2, 3]))
    assert chosen.dtype == np.int64
    assert [BREAKOUT[i] for i in chosen] == ["left", "right", "noop"]
    with pytest.raises(ValueError, match="1 observations for a state of 2 streams"):
        policy.act(np.stack(boards[:1]), policy.begin([1, 2]))


def test_a_streams_actions_follow_from_its_seed():
    policy = make_policy("follow-50", spaces.Discrete(4, start=2), BREAKOUT)
    frames = np.stack([board((50, 12), 40)] * 2)

    def played(seeds: list[int], restart: int | None = None) -> np.ndarray:
        state = policy.begin(seeds)
        if restart is not None:
            policy.act(frames, state)
            policy.restart(state, 0, restart)
        return np.array([policy.act(frames, state) for _ in range(60)])

    first = played([7, 8])
    assert set(np.unique(first)) == {2, 3, 4, 5}
    assert 0.4 < (first == 2 + BREAKOUT.index("left")).mean() < 0.85
    np.testing.assert_array_equal(first[:, 0], played([7, 9])[:, 0])
    np.testing.assert_array_equal(first[:, 0], played([5, 8], restart=7)[:, 0])
    assert (first[:, 0] != first[:, 1]).any()
