"""Which actions are named as likely."""

from __future__ import annotations

import pytest
import torch
from gymnasium import spaces

from world_model.action_spec import ActionSpec
from world_model.errors import ActionError
from world_model.speculation.drafts import REMEMBERED, Drafts

THREE = ActionSpec.from_space(spaces.Discrete(3))
MANY = ActionSpec.from_space(spaces.Discrete(50))


def action(value):
    return torch.tensor([[float(value)]])


def values(actions):
    return [float(a) for a in actions]


def test_the_last_action_then_the_frequent_ones_then_any():
    drafts = Drafts(MANY)
    assert values(drafts.likeliest(2)) == [0.0, 1.0]
    for taken in (7, 7, 7, 5, 5, 9):
        drafts.note(action(taken))
    assert values(drafts.likeliest(1)) == [9.0]
    assert values(drafts.likeliest(4)) == [9.0, 7.0, 5.0, 0.0]


def test_hints_come_first_and_hold_for_one_step():
    drafts = Drafts(MANY)
    drafts.note(action(9))
    drafts.hint(torch.tensor([[4.0], [9.0]]))
    assert values(drafts.likeliest(3)) == [4.0, 9.0, 0.0]
    drafts.note(action(2))
    assert values(drafts.likeliest(1)) == [2.0]


def test_all_actions_of_a_small_space():
    drafts = Drafts(THREE)
    drafts.note(action(2))
    assert values(drafts.likeliest(3)) == [2.0, 0.0, 1.0]
    assert values(drafts.likeliest(5)) == [2.0, 0.0, 1.0]
    assert values(drafts.likeliest(1)) == [2.0]


def test_repeats_are_noticed_within_an_episode():
    drafts = Drafts(THREE)
    assert [drafts.note(action(a)) for a in (1, 1, 2, 2, 2)] == [False, True, False, True, True]
    drafts.forget()
    assert not drafts.note(action(2))


def test_continuous_actions_do_not_pile_up():
    spec = ActionSpec.from_space(spaces.Box(-1.0, 1.0, (2,)))
    drafts = Drafts(spec)
    assert drafts.likeliest() == []
    for i in range(REMEMBERED + 50):
        drafts.note(torch.tensor([[i / 2000, 0.0]]))
    assert len(drafts._seen) == REMEMBERED
    assert values(part[0, 0] for part in drafts.likeliest(1)) == pytest.approx([1073 / 2000])


@pytest.mark.parametrize(
    "hint", [torch.zeros(2), torch.zeros(1, 2), torch.tensor([[float("nan")]])]
)
def test_a_hint_that_does_not_fit(hint):
    with pytest.raises(ActionError, match="hinted"):
        Drafts(THREE).hint(hint)
