from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from agents.pictures import find_image, is_image, read_state, state_columns, to_frame, to_rgb
from world_model.errors import ConfigError


def image(*shape: int, dtype: type = np.uint8, high: float = 255) -> spaces.Box:
    return spaces.Box(0, high, shape, dtype)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (image(12, 16, 3), True),
        (image(12, 16), True),
        (image(12, 16, 1), True),
        (image(3, 12, 16), True),
        (image(1, 12, 16), True),
        (image(12, 16, 3, dtype=np.float32, high=1), True),
        (image(12, 16, dtype=np.int64), True),
        (image(4, 84, 84), False),  # a stack: which of them?
        (image(12), False),
        (image(3, 3, dtype=np.float32, high=1), False),  # a matrix
        (image(12, 16, dtype=np.float32, high=7), False),
        (spaces.Box(-np.inf, np.inf, (12, 16), np.float32), False),
        (spaces.Discrete(3), False),
    ],
)
def test_what_an_image_is(space, expected):
    assert is_image(space) == expected


def test_the_image_among_observations():
    assert find_image(image(12, 16, 3), None, "it") is None
    several = spaces.Dict({"depth": image(8, 8), "screen": image(8, 8, 3), "x": image(2)})
    assert find_image(several, None, "it") == "screen"
    assert find_image(several, "depth", "it") == "depth"
    with pytest.raises(ConfigError, match=r"observation_key='x'.*Images: depth, screen"):
        find_image(several, "x", "it")
    with pytest.raises(ConfigError, match=r"several images \(left, right\).*--observation-key"):
        find_image(spaces.Dict({"left": image(8, 8), "right": image(8, 8)}), None, "it")
    with pytest.raises(ConfigError, match=r"no image.*--render"):
        find_image(image(4), None, "it")
    with pytest.raises(ConfigError, match="no Dict"):
        find_image(image(12, 16), "screen", "it")


def test_pictures_become_rgb():
    grey = np.arange(30, dtype=np.uint8).reshape(5, 6)
    for shaped in (grey, grey[..., None], grey[None]):
        np.testing.assert_array_equal(to_rgb(shaped), np.stack([grey] * 3, -1))
    rgba = np.random.default_rng(0).integers(256, size=(5, 6, 4), dtype=np.uint8)
    np.testing.assert_array_equal(to_rgb(rgba), rgba[..., :3])
    np.testing.assert_array_equal(to_rgb(np.moveaxis(rgba[..., :3], -1, 0)), rgba[..., :3])
    unit = np.array([[0.0, 0.5, 1.0]], np.float32)
    assert to_rgb(unit, unit=True)[0, :, 0].tolist() == [0, 128, 255]
    assert to_rgb(np.array([[-4.0, 99.6, 300.0]]))[0, :, 0].tolist() == [0, 100, 255]


def test_frames_are_averages_of_areas():
    picture = np.zeros((4, 8, 3), np.uint8)
    picture[:2, :4] = 100
    picture[2, 4] = 80
    assert to_frame(picture, (2, 2), None)[..., 0].tolist() == [[100, 0], [0, 10]]
    assert to_frame(picture, (1, 1), (2, 4, 4, 6))[0, 0].tolist() == [20, 20, 20]
    same = to_frame(picture, (4, 8), None)
    np.testing.assert_array_equal(same, picture)
    assert same is not picture


def test_numbers_beside_the_picture_are_the_state():
    vector = spaces.Box(-1, 1, (2,), np.float32)
    assert state_columns(vector, None, render=True) == ("observation.0", "observation.1")
    assert state_columns(image(8, 8), None, render=False) == ()
    assert state_columns(spaces.Box(-1, 1, (99,)), None, render=True) == ()
    space = spaces.Dict({"a.b": vector, "n": spaces.Discrete(3), "z": image(8, 8)})
    columns = state_columns(space, "z", render=False)
    assert columns == ("a.b.0", "a.b.1")
    assert read_state({"a.b": [0.5, 1], "n": 1, "z": None}, columns).tolist() == [0.5, 1]
    assert read_state(None, ()).shape == (0,)
