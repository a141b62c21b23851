"""Keys and mouse to actions: by names where there are any, by number where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from nfd_env.controls import KEY_DEGREES, Controls, controls_or_reason
from nfd_env.key_bindings import KEYS, assign, wishes
from world_model.action_spec import ActionSpec
from world_model.errors import ActionError
from world_model.minecraft.formats import FORMATS

TAKE_COVER = ActionSpec.from_space(spaces.Discrete(3), names=["stay", "right", "left"])
ATARI = ["NOOP", "FIRE", "UP", "RIGHT", "LEFT", "DOWN", "UPRIGHT", "UPFIRE", "UPRIGHTFIRE"]
SPECS = [
    TAKE_COVER,
    ActionSpec.from_space(spaces.Discrete(9), names=ATARI),
    ActionSpec.from_space(spaces.Discrete(18)),
    ActionSpec.from_space(spaces.Discrete(3, start=5)),
    ActionSpec.from_space(spaces.MultiBinary(4)),
    ActionSpec.from_space(spaces.MultiDiscrete([3, 2, 5])),
    ActionSpec.from_space(spaces.Box(-1, 1, (3,))),
    ActionSpec.from_space(spaces.Box(0, 4, (2,), np.int64)),
    ActionSpec.from_space(
        spaces.Dict({"attack": spaces.Discrete(2), "camera": spaces.Box(-10, 10, (2,))})
    ),
    *(known.spec for known in FORMATS.values()),
]


def held_names(controls: Controls, keys: list[str], mouse=(0.0, 0.0)) -> str:
    return controls.spec.describe(controls.vector(keys, mouse))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_every_key_gives_an_action_and_means_one_thing(spec: ActionSpec) -> None:
    controls = Controls(spec)
    keys = [key for binding in controls.bindings for key in binding.keys]
    assert len(set(keys)) == len(keys)
    assert set(keys) == controls.keys <= set(KEYS)
    for held in ([], *([key] for key in keys), keys, keys[::-1]):
        action = controls.action(held, (7.0, -3.0))
        spec.encode(action)  # raises outside the space


@pytest.mark.parametrize("spec", [s for s in SPECS if not s.convention], ids=str)
def test_every_key_does_something(spec: ActionSpec) -> None:
    controls = Controls(spec)
    rest = controls.vector([])
    for key in controls.keys:
        assert not np.array_equal(controls.vector([key]), rest), key


@pytest.mark.parametrize("name", ["minerl", "oasis", "multidiscrete-full"])
def test_every_key_of_minecraft_does_something_else(name: str) -> None:
    controls = Controls(FORMATS[name].spec)
    vectors = [controls.vector([b.keys[0]]).tobytes() for b in controls.bindings]
    vectors.append(controls.vector([]).tobytes())
    assert len(set(vectors)) == len(vectors) == 23 + 4 + 1


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ([], "stay"),
        (["a"], "left"),
        (["left"], "left"),
        (["d"], "right"),
        (["a", "d"], "right"),
        (["d", "a"], "left"),
        (["w", "space", "escape", "1"], "stay"),
    ],
)
def test_the_key_pressed_last_counts(keys: list[str], name: str) -> None:
    assert held_names(Controls(TAKE_COVER), keys) == name


def test_combinations_win_over_single_actions() -> None:
    controls = Controls(SPECS[1])
    assert held_names(controls, ["up", "right", "space"]) == "UPRIGHTFIRE"
    assert held_names(controls, ["w", "space"]) == "UPFIRE"
    assert held_names(controls, ["left", "right"]) == "RIGHT"


def test_unnamed_actions_are_on_number_keys() -> None:
    controls = Controls(ActionSpec.from_space(spaces.Discrete(18, start=3)))
    assert int(controls.action([])) == 3
    assert int(controls.action(["7"])) == 10
    assert (controls.bindings[6].does, controls.bindings[6].keys) == ("Action 7", ("7",))
    assert controls.rest == "Action 0"


@pytest.mark.parametrize(
    ("space", "shown"),
    [
        (spaces.MultiDiscrete([3, 2]), ["Action 0: 1", "Action 0: 2", "Action 1"]),
        (spaces.MultiBinary(2), ["Action 0", "Action 1"]),
        (spaces.Box(-1, 1, (1,)), ["Action 0 -", "Action 0 +"]),
        (spaces.Dict({"turn": spaces.Discrete(3), "use": spaces.Discrete(2)}),
         ["turn 1", "turn 2", "use"]),
    ],
    ids=str,
)  # fmt: skip
def test_what_nobody_named_is_shown_in_words(space: spaces.Space, shown: list[str]) -> None:
    assert [b.does for b in Controls(ActionSpec.from_space(space)).bindings] == shown


def test_mouse_and_arrows_turn_the_camera() -> None:
    controls = Controls(FORMATS["minerl"].spec)
    turned = controls.action(["w", "mouse left"], (20, -10))
    assert turned["forward"] == turned["attack"] == 1
    assert turned["back"] == turned["jump"] == 0
    assert turned["camera"].tolist() == pytest.approx([-1.5, 3.0])
    assert controls.action(["up", "right"])["camera"].tolist() == [-KEY_DEGREES, KEY_DEGREES]
    assert controls.action([], (1e9, 1e9))["camera"][0] == 180


def test_contradictions_cancel_as_recordings_have_it() -> None:
    controls = Controls(FORMATS["multidiscrete"].spec)
    assert "fore_back=none" in held_names(controls, ["w", "s"])
    assert "fore_back=forward" in held_names(controls, ["w"])


def test_the_cameras_of_doom_turn_as_the_mouse_does() -> None:
    names = ("turn_left_right_delta", "look_up_down_delta")
    plain = ActionSpec.from_space(spaces.Box(-5, 5, (2,)))
    described = {**plain.to_dict(), "labels": [list(names)]}
    controls = Controls(ActionSpec.from_dict(described))
    assert controls.uses_mouse
    # There, up is positive.
    assert controls.vector([], (10, 20)).tolist() == pytest.approx([1.5, -3.0])
    assert controls.vector(["left", "up"]).tolist() == [-5, 5]


@pytest.mark.parametrize(
    ("space", "part"),
    [
        (spaces.Discrete(50), "'action' has 50 choices"),
        (spaces.Box(-np.inf, np.inf, (3,)), "'action.0' is a number without bounds"),
        (spaces.Box(-1, 1, (40,)), "none is left for Action "),
        (spaces.Dict({"a": spaces.Discrete(2), "odd": spaces.Discrete(99)}), "'odd' has 99"),
    ],
    ids=str,
)
def test_what_cannot_be_played_is_named(space: spaces.Space, part: str) -> None:
    spec = ActionSpec.from_space(space)
    with pytest.raises(ActionError, match=part):
        Controls(spec)
    assert part in controls_or_reason(spec)[1]


def test_wishes_of_names() -> None:
    assert wishes("turn left a little") == {"turn left", "a little"}
    assert wishes("MOVE_LEFT") == {"left"}
    assert wishes("none") == frozenset()


def test_keys_run_out() -> None:
    keys, missing = assign([f"action={i}" for i in range(60)])
    assert len(keys) + len(missing) == 60
    assert len({key for held in keys.values() for key in held}) == len(keys) == 36
