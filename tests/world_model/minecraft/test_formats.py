"""Formats of Minecraft actions: what survives a translation, and what becomes of the rest."""

from __future__ import annotations

import json
from collections import OrderedDict
from copy import deepcopy
from functools import cache

import numpy as np
import pytest
from gymnasium import spaces

from world_model.action_spec import ActionSpec
from world_model.errors import ActionError
from world_model.minecraft.actions import BUTTONS, HOTBAR, MinecraftActions
from world_model.minecraft.camera import MINEWORLD_CAMERA, VPT_CAMERA
from world_model.minecraft.discrete import DISCRETE, TABLE
from world_model.minecraft.factored import MINEWORLD, VPT, VPT_FULL
from world_model.minecraft.formats import FORMATS, format_of, understood
from world_model.minecraft.minerl import MineRLFormat, minerl_space, minerl_spec
from world_model.minecraft.oasis import OASIS, OASIS_ORDER, camera_bins

MINERL = FORMATS["minerl"]


def act(*buttons: str, camera: tuple[float, float] = (0.0, 0.0)) -> MinecraftActions:
    """One action of a player."""
    action = MinecraftActions.none(1)
    for button in buttons:
        action.buttons[0, BUTTONS.index(button)] = True
    action.camera[0] = camera
    return action


def held(actions: MinecraftActions) -> list[set[str]]:
    return [{b for b, on in zip(BUTTONS, row, strict=True) if on} for row in actions.buttons]


def through(fmt, action: MinecraftActions) -> set[str]:
    """What is held after writing one action in a format and reading it back."""
    return held(fmt.read(fmt.write(action)))[0]


@cache
def samples(fmt, count: int = 100) -> np.ndarray:
    """Random encoded actions of a format; every one of a Discrete."""
    if isinstance(fmt.spec.space, spaces.Discrete):
        return np.arange(fmt.spec.space.n, dtype=np.float32)[:, None]
    space = deepcopy(fmt.spec.space)
    space.seed(0)
    vectors = np.stack([fmt.spec.encode(space.sample()) for _ in range(count)])
    if fmt is MINEWORLD:  # its space has one contradiction that it never writes
        vectors[(vectors[:, 3] == 2) & (vectors[:, 5] == 1), 5] = 0
    # What a format does not tell apart in a Box is no loss of a translation.
    return fmt.write(fmt.read(vectors)) if fmt is OASIS else vectors


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_survives_minerl(name):
    fmt = FORMATS[name]
    vectors = samples(fmt)
    there = MINERL.write(fmt.read(vectors))
    MINERL.spec.check(there)
    np.testing.assert_array_equal(fmt.write(MINERL.read(there)), vectors)


@pytest.mark.parametrize(
    ("coarse", "fine"), [(DISCRETE, VPT), (DISCRETE, VPT_FULL), (VPT, VPT_FULL)]
)
def test_coarse_formats_survive_finer_ones(coarse, fine):
    vectors = samples(coarse)
    there = fine.write(coarse.read(vectors))
    np.testing.assert_array_equal(coarse.write(fine.read(there)), vectors)


@pytest.mark.parametrize("inner", FORMATS)
@pytest.mark.parametrize("outer", FORMATS)
def test_any_format_can_be_written_as_any_other_and_settles(outer, inner):
    """What is read back is an action of the inner format: translating again changes nothing."""
    outer, inner = FORMATS[outer], FORMATS[inner]
    once = inner.write(outer.read(samples(outer)))
    assert once.dtype == np.float32
    inner.spec.check(once)
    np.testing.assert_array_equal(inner.write(inner.read(once)), once)


# -- MineRL --------------------------------------------------------------------------------------


def test_minerl_has_23_buttons_and_degrees():
    space = minerl_space()
    assert len(BUTTONS) == 23 == len(set(BUTTONS))
    assert list(BUTTONS) == sorted(BUTTONS)
    assert set(space.spaces) == {*BUTTONS, "camera"}
    action = {name: 0 for name in BUTTONS} | {"camera": np.array([-12.5, 170], np.float32)}
    action |= {"jump": 1, "hotbar.9": 1}
    read = MINERL.read(MINERL.spec.encode(action)[None])
    assert held(read) == [{"jump", "hotbar.9"}]
    assert read.camera.tolist() == [[-12.5, 170]]


def test_the_order_of_the_keys_does_not_matter():
    keys = ["use", "camera", *(b for b in BUTTONS if b != "use")]
    space = spaces.Dict(OrderedDict((key, minerl_space()[key]) for key in keys))
    spec = understood(ActionSpec.from_space(space))
    name, fmt = format_of(spec)
    assert name == "minerl"
    vectors = samples(MINERL, 20)
    translated = fmt.write(MINERL.read(vectors))
    for vector, other in zip(vectors, translated, strict=True):
        action, same = MINERL.spec.decode(vector), spec.decode(other)
        assert all(np.array_equal(action[key], same[key]) for key in keys)
    np.testing.assert_array_equal(MINERL.write(fmt.read(translated)), vectors)


# -- factored ------------------------------------------------------------------------------------


def test_vpt_groups_and_their_order():
    assert VPT.spec.space == spaces.MultiDiscrete([10, 3, 3, 3, 2, 2, 2, 2, 11, 11])
    assert VPT_FULL.spec.space == spaces.MultiDiscrete([10, 3, 3, 3, *[2] * 8, 11, 11])
    assert MINEWORLD.spec.space == spaces.MultiDiscrete([10, 3, 3, 3, 3, 2, 3, 21, 21])
    action = [3, 1, 2, 2, 1, 0, 1, 1, 0, 10]
    assert VPT.spec.describe(VPT.spec.encode(action)) == (
        "hotbar=hotbar.3 fore_back=forward left_right=right sprint_sneak=sneak use=use drop=none "
        "attack=attack jump=jump pitch=-10 yaw=10"
    )
    read = VPT.read(VPT.spec.encode(action)[None])
    assert held(read) == [{"hotbar.3", "forward", "right", "sneak", "use", "attack", "jump"}]
    np.testing.assert_allclose(read.camera, [[-10, 10]])


@pytest.mark.parametrize("fmt", [VPT, VPT_FULL, MINEWORLD], ids=lambda f: f.convention)
def test_contradictions_cancel_and_touch_nothing_else(fmt):
    for pair in (("forward", "back"), ("left", "right"), ("sprint", "sneak")):
        assert through(fmt, act(*pair, "hotbar.2")) == {"hotbar.2"}


def test_mineworld_cancels_more_than_vpt():
    for pair in (("jump", "sneak"), ("attack", "use")):
        assert through(MINEWORLD, act(*pair, "left")) == {"left"}
        assert through(VPT, act(*pair, "left")) == {*pair, "left"}
    # One button in two contradictions: all three are released.
    assert through(MINEWORLD, act("sprint", "sneak", "jump")) == set()


def test_the_lowest_hotbar_key_is_taken():
    for fmt in (VPT, VPT_FULL, MINEWORLD):
        assert through(fmt, act(*HOTBAR[3:])) == {"hotbar.4"}
    assert through(MINEWORLD, act("drop", "pickItem")) == {"drop"}


def test_buttons_that_a_format_lacks_are_released():
    lacking = ("inventory", "ESC", "swapHands", "pickItem")
    assert through(VPT, act(*lacking, "use")) == {"use"}
    assert through(VPT_FULL, act(*lacking, "use")) == {*lacking, "use"}
    assert through(MINEWORLD, act(*lacking, "use")) == {"pickItem", "use"}


@pytest.mark.parametrize(("fmt", "bins"), [(VPT, VPT_CAMERA), (MINEWORLD, MINEWORLD_CAMERA)])
def test_the_camera_takes_the_nearest_bin_pitch_first(fmt, bins):
    read = fmt.read(fmt.write(act(camera=(4.0, -179.0))))
    assert read.camera.tolist() == [[bins.undo(bins.quantise(4.0)), -bins.centres[-1]]]


# -- Oasis ---------------------------------------------------------------------------------------


def test_oasis_order_and_scale():
    assert len(OASIS_ORDER) == 25 == len(set(OASIS_ORDER))
    assert OASIS_ORDER[:3] == ("inventory", "ESC", "hotbar.1")
    assert OASIS_ORDER[10:17] == (
        "hotbar.9",
        "forward",
        "back",
        "left",
        "right",
        "cameraX",
        "cameraY",
    )
    assert OASIS_ORDER[17:] == (
        *("jump", "sneak", "sprint", "swapHands", "attack", "use", "pickItem", "drop"),
    )
    vector = OASIS.write(act("inventory", "forward", "drop", camera=(-0.5, 20)))[0]
    expected = np.zeros(25, np.float32)
    expected[[0, 11, 24]] = 1
    expected[15], expected[16] = -1 / 40, 1  # cameraX is the pitch
    np.testing.assert_array_equal(vector, expected)


def test_oasis_bins():
    degrees = [-90, -20, -0.5, -0.2, 0, 0.3, 19.8, 20, 33]
    assert camera_bins(np.array(degrees)).tolist() == [0, 0, 39, 40, 40, 41, 80, 80, 80]
    every = (np.arange(81) - 40) * 0.5
    np.testing.assert_array_equal(camera_bins(every), np.arange(81))
    actions = MinecraftActions.none(81)
    actions.camera[:] = np.stack([every, -every], axis=1)
    np.testing.assert_array_equal(OASIS.read(OASIS.write(actions)).camera, actions.camera)


# -- the table -----------------------------------------------------------------------------------


def test_the_table_says_what_it_does():
    names = [name for name, _, _ in TABLE]
    assert len(set(names)) == len(names) == DISCRETE.spec.space.n
    assert names[0] == "noop"
    read = DISCRETE.read(np.arange(len(TABLE), dtype=np.float32)[:, None])
    turns = {
        "turn left": (1, -10),
        "turn right": (1, 10),
        "look up": (0, -10),
        "look down": (0, 10),
    }
    for name, buttons, camera in zip(names, held(read), read.camera, strict=True):
        words = name.removesuffix(" a little").split("+")
        assert {word for word in words if word in BUTTONS} == buttons
        expected = np.zeros(2)
        for word in turns.keys() & set(words):
            axis, degrees = turns[word]
            expected[axis] = degrees * (0.3215 if "a little" in name else 1)
        np.testing.assert_allclose(camera, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("action", "name"),
    [
        (act(), "noop"),
        (act("forward", "jump", "drop"), "forward+jump"),
        (act("attack", camera=(30, 0)), "attack"),  # a button weighs more than the camera
        (act("inventory", camera=(0, -40)), "turn left"),
        (act("forward", camera=(0, 8)), "forward+turn right"),
        (act(camera=(0.1, 2)), "turn right a little"),
        (act(camera=(-0.3, 0.2)), "noop"),
    ],
)
def test_the_nearest_row(action, name):
    assert DISCRETE.spec.describe(DISCRETE.write(action)[0]) == name


# -- which format a spec is ----------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_a_spec_names_its_format_through_json(name):
    spec = FORMATS[name].spec
    again = ActionSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert again.groups == spec.groups
    assert again.convention == f"minecraft/{name}"
    found, fmt = format_of(again)
    assert found == name
    vectors = samples(FORMATS[name], 10)
    np.testing.assert_array_equal(fmt.write(fmt.read(vectors)), vectors)


def test_other_spaces_are_none_of_minecraft():
    for space in (spaces.Discrete(23), VPT.spec.space, spaces.Dict(jump=spaces.Discrete(2))):
        spec = ActionSpec.from_space(space)
        assert understood(spec) is spec
        assert format_of(spec) is None


def test_minerls_space_is_recognised_without_a_convention():
    plain = ActionSpec.from_space(minerl_space())
    assert format_of(plain) is None
    assert understood(plain) == minerl_spec()
    assert isinstance(format_of(understood(plain))[1], MineRLFormat)


@pytest.mark.parametrize(
    ("convention", "text"),
    [("minecraft/vpt2", "known Minecraft formats"), ("minecraft/oasis", "Box")],
)
def test_conventions_that_cannot_be_true_say_so(convention, text):
    spec = ActionSpec.from_space(spaces.Discrete(3), convention=convention)
    with pytest.raises(ActionError, match=text):
        format_of(spec)
