"""Every kind of action space to a vector and back; nothing outside the space gets through."""

from __future__ import annotations

import json
from collections import OrderedDict

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector.utils import batch_space

from world_model.action_spec import ActionSpec
from world_model.companding import Companding
from world_model.errors import ActionError

SPACES = {
    "discrete": spaces.Discrete(3),
    "discrete from 5": spaces.Discrete(3, start=5),
    "discrete from -1": spaces.Discrete(3, start=-1),
    "discrete far out": spaces.Discrete(3, start=2**40),
    "discrete int32": spaces.Discrete(3, dtype=np.int32),
    "multi-discrete": spaces.MultiDiscrete([2, 5]),
    "multi-discrete from": spaces.MultiDiscrete([2, 5], start=[-3, 7]),
    "multi-discrete table": spaces.MultiDiscrete([[2, 3], [4, 5]], dtype=np.int32),
    "multi-binary": spaces.MultiBinary(4),
    "multi-binary list": spaces.MultiBinary([4]),
    "multi-binary table": spaces.MultiBinary([2, 3]),
    "box": spaces.Box(-1.0, 1.0, (3,)),
    "box scalar": spaces.Box(0.0, 2.0, ()),
    "box float64": spaces.Box(0.1, 0.3, (2,), np.float64),
    "box uneven": spaces.Box(np.array([[-1, 0], [2, 3]], np.float32), np.array([[1, 9], [4, 4]])),
    "box uint8": spaces.Box(0, 255, (2,), np.uint8),
    "box unbounded": spaces.Box(-np.inf, np.inf, (2,)),
    "dict": spaces.Dict(
        {
            "turn": spaces.Discrete(3, start=1),
            "look": spaces.Dict(
                {"yaw": spaces.Box(-180, 180, (1,)), "keys": spaces.MultiBinary(2)}
            ),
        }
    ),
    "dict unsorted": spaces.Dict(OrderedDict(z=spaces.Discrete(2), a=spaces.Discrete(3))),
    "tuple": spaces.Tuple([spaces.MultiDiscrete([2, 2]), spaces.Tuple([spaces.Box(-1, 1, (2,))])]),
}


@pytest.fixture(params=SPACES.values(), ids=SPACES.keys())
def space(request):
    request.param.seed(3)
    return request.param


def spec_of(space, **options) -> ActionSpec:
    return ActionSpec.from_space(space, **options)


def assert_same(one, other):
    """Equal to the precision of float32, the vector's."""
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, tuple):
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_round_trip(space):
    spec = spec_of(space)
    for _ in range(30):
        action = space.sample()
        vector = spec.encode(action)
        assert vector.dtype == np.float32
        assert vector.shape == (spec.dim,)
        decoded = spec.decode(vector)
        assert space.contains(decoded)
        assert_same(decoded, action)
        np.testing.assert_array_equal(spec.encode(decoded), vector)


def test_a_batch_is_a_stack_of_single_actions(space):
    spec = spec_of(space)
    batched = batch_space(space, 7)
    batched.seed(1)
    actions = batched.sample()
    from gymnasium.vector.utils import iterate

    expected = np.stack([spec.encode(action) for action in iterate(batched, actions)])
    found = spec.encode_batch(actions, 7)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_through_json_and_back(space):
    spec = spec_of(space)
    again = ActionSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again.space == space
    assert again.groups == spec.groups
    assert again == spec
    assert hash(again) == hash(spec)
    action = space.sample()
    np.testing.assert_array_equal(again.encode(action), spec.encode(action))
    assert data_equivalence(again.decode(again.encode(action)), spec.decode(spec.encode(action)))


def test_names_survive_json_and_make_another_spec():
    spec = spec_of(spaces.Discrete(3), names=["stay", "left", "right"])
    again = ActionSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again.describe(again.encode(2)) == "right"
    assert spec != spec_of(spaces.Discrete(3))


def test_choices_count_from_zero_in_the_order_of_the_columns():
    np.testing.assert_array_equal(spec_of(SPACES["discrete from 5"]).encode(6), [1])
    np.testing.assert_array_equal(spec_of(SPACES["multi-discrete from"]).encode([-2, 9]), [1, 2])
    np.testing.assert_array_equal(spec_of(SPACES["discrete far out"]).encode(2**40 + 1), [1])
    nested = spec_of(SPACES["dict"])
    # Gymnasium sorts the keys of a plain dict: look (keys, yaw), then turn.
    action = {"turn": 3, "look": {"yaw": [90.0], "keys": [0, 1]}}
    np.testing.assert_array_equal(nested.encode(action), [0, 1, 90, 2])
    unsorted = spec_of(SPACES["dict unsorted"])
    np.testing.assert_array_equal(unsorted.encode({"a": 2, "z": 1}), [1, 2])
    assert [group.name for group in unsorted.groups] == ["z", "a"]


def test_null_is_no_action(space):
    spec = spec_of(space)
    null = spec.null()
    assert null.dtype == np.float32
    assert null.shape == (spec.dim,)
    assert np.isnan(null).all()
    assert spec.describe(null) == "null"
    with pytest.raises(ActionError, match="null action has no counterpart"):
        spec.decode(null)
    with pytest.raises(ActionError):
        spec.check(null[None])


def test_descriptions():
    assert spec_of(spaces.Discrete(2)).describe(np.array([1])) == "Action 1"
    assert (
        spec_of(spaces.MultiDiscrete([2, 3])).describe(np.array([1, 2])) == "Action 0=1 Action 1=2"
    )
    nested = spec_of(SPACES["dict"])
    vector = nested.encode({"turn": 3, "look": {"yaw": [12.345], "keys": [0, 1]}})
    assert nested.describe(vector) == "look.keys 0=off look.keys 1=on look.yaw=12.3 turn=2"
    assert nested.describe(vector, brief=True) == "look.keys 1=on look.yaw=12.3 turn=2"
    discrete = spec_of(spaces.Discrete(3))
    with pytest.raises(ActionError, match=r"action \[7.0\] is outside"):
        discrete.describe(np.array([7.0]))


@pytest.mark.parametrize(
    ("space", "action", "message"),
    [
        (spaces.Discrete(3), 3, "integer choice of 3"),
        (spaces.Discrete(3), -1, "integer choice of 3"),
        (spaces.Discrete(3, start=1), 0, "integer choice of 3"),
        (spaces.Discrete(3), 1.5, "integer choice of 3"),
        (spaces.Discrete(3), float("nan"), "integer choice of 3"),
        (spaces.Discrete(3), 10**400, "does not fit"),
        (spaces.Discrete(3), "1", "expected numbers"),
        (spaces.Discrete(3), None, "expected numbers"),
        (spaces.Discrete(3), 1j, "expected numbers"),
        (spaces.Discrete(3), [1], r"expected shape \(\), got \(1,\)"),
        (spaces.Discrete(3), {"a": 1}, "expected numbers"),
        (spaces.MultiDiscrete([2, 2]), [0, 2], "'action.1' takes"),
        (spaces.MultiDiscrete([2, 2]), [0], "expected shape"),
        (spaces.MultiDiscrete([2, 2]), [[0], [1, 2]], "does not fit"),
        (spaces.MultiBinary(2), [0, 2], "'action.1' takes"),
        (spaces.Box(-1, 1, (2,)), [0, 1.01], r"numbers in \[-1, 1\]"),
        (spaces.Box(-1, 1, (2,)), [0, np.nan], r"numbers in \[-1, 1\]"),
        (spaces.Box(-np.inf, np.inf, (1,)), [np.inf], "numbers in"),
        (spaces.Box(0, 9, (1,), np.int64), [0.5], "whole numbers"),
        (spaces.Box(-1, 1, (2,)), 0.0, "expected shape"),
        (spaces.Dict(a=spaces.Discrete(2)), {"b": 0}, r"expected the keys \['a'\]"),
        (spaces.Dict(a=spaces.Discrete(2)), 0, r"expected the keys \['a'\]"),
        (spaces.Dict(a=spaces.Discrete(2)), {"a": 2}, "'a' takes"),
        (spaces.Tuple([spaces.Discrete(2)]), (), "expected 1 parts"),
        (spaces.Tuple([spaces.Discrete(2)]), 5, "does not fit"),
    ],
    ids=str,
)
def test_what_is_outside_is_refused(space, action, message):
    with pytest.raises(ActionError, match=message):
        spec_of(space).encode(action)


@pytest.mark.parametrize(
    ("space", "actions"),
    [
        (spaces.Discrete(3), [0, 1]),
        (spaces.Discrete(3), [0, 1, 2, 0]),
        (spaces.Discrete(3), [0, 1, 3]),
        (spaces.Discrete(3), [0, 1, np.nan]),
        (spaces.Discrete(3), [[0], [1], [2]]),
        (spaces.Discrete(3), [[0], [1, 2], [2]]),
        (spaces.Discrete(3), ["0", "1", "2"]),
        (spaces.Discrete(3), None),
        (spaces.Box(-1, 1, (2,)), np.full((3, 2), 2.0)),
        (spaces.Box(-1, 1, (2,)), np.zeros((2, 3))),
        (spaces.Dict(a=spaces.Discrete(2)), 5),
        (spaces.Dict(a=spaces.Discrete(2)), {"b": [0, 1, 0]}),
        (spaces.Dict(a=spaces.Discrete(2)), {"a": np.array([0, 1])}),
        (spaces.Dict(a=spaces.Discrete(2)), {"a": np.array([0, 1, 2])}),
        (spaces.Tuple([spaces.Discrete(2)] * 2), (np.zeros(3, int), np.zeros(4, int))),
    ],
    ids=str,
)
def test_wrong_batches_are_refused(space, actions):
    with pytest.raises(ActionError):
        spec_of(space).encode_batch(actions, 3)


def test_no_actions_are_an_empty_batch():
    assert spec_of(spaces.Discrete(3)).encode_batch([], 0).shape == (0, 1)


def test_vectors_that_stand_for_nothing_are_refused():
    spec = spec_of(spaces.Discrete(3))
    for vector in ([3.0], [-1.0], [0.5], [0.0, 0.0], 0.0):
        with pytest.raises(ActionError):
            spec.decode(np.asarray(vector))
    with pytest.raises(ActionError, match=r"expected \(batch, 1\)"):
        spec.check(np.zeros(1))


@pytest.mark.parametrize(
    ("space", "names", "message"),
    [
        (spaces.Text(3), None, "not supported"),
        (spaces.Dict(a=spaces.Text(3)), None, "not supported"),
        (spaces.Dict(), None, "nothing to choose"),
        (spaces.Discrete(3), ["left", "right"], "one for each action"),
        (spaces.MultiBinary(2), ["left", "right"], "Names are for Discrete"),
    ],
    ids=str,
)
def test_spaces_that_cannot_be_used(space, names, message):
    with pytest.raises(ActionError, match=message):
        spec_of(space, names=names)


@pytest.mark.parametrize(
    "data",
    [
        {},
        None,
        {"space": {"type": "Graph"}, "labels": []},
        {"space": {"type": "Discrete", "n": -1, "start": 0}, "labels": [[]]},
        {"space": {"type": "Discrete", "n": 2, "start": 0}, "labels": [["only one"]]},
        {"space": {"type": "Discrete", "n": 2, "start": 0}, "labels": []},
        {"space": {"type": "Box", "low": [0], "high": [1], "dtype": "float99"}, "labels": [["x"]]},
        {
            "space": {"type": "Box", "low": [0], "high": [1], "shape": [2], "dtype": "float32"},
            "labels": [["x", "y"]],
        },
    ],
    ids=str,
)
def test_damaged_descriptions_are_refused(data):
    with pytest.raises(ActionError, match="damaged description"):
        ActionSpec.from_dict(data)


# -- companding and conventions ----------------------------------------------------------------


def test_a_curve_and_a_convention_survive_json_and_make_another_spec():
    space = SPACES["dict"]
    curve = Companding(180.0, 180.0)
    spec = spec_of(space, companding={"look.yaw": curve}, convention="family/format")
    again = ActionSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert again.groups == spec.groups
    assert again.convention == "family/format"
    assert [g.companding for g in again.groups if g.name == "look.yaw"] == [curve]
    assert spec != spec_of(space)
    assert spec != spec_of(space, companding={"look.yaw": curve})
    # Vectors hold the numbers themselves.
    action = space.sample()
    np.testing.assert_array_equal(spec.encode(action), spec_of(space).encode(action))


def test_specs_without_them_are_described_as_ever():
    assert set(spec_of(SPACES["dict"]).to_dict()) == {"space", "labels"}


def test_curves_for_what_is_no_box_are_refused():
    with pytest.raises(ActionError, match=r"'turn'.*'look\.yaw'"):
        spec_of(SPACES["dict"], companding={"turn": Companding(1.0, 1.0)})
    damaged = spec_of(SPACES["box"]).to_dict() | {"companding": {"action": {"limit": 0, "mu": 1}}}
    with pytest.raises(ActionError, match="damaged"):
        ActionSpec.from_dict(damaged)
