from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from nfd_env.env import NFDWorldEnv
from nfd_env.reset_options import given_context, parse_options, per_stream
from tests.toy import FRAME_SHAPE, ToyWorld, start_clip
from world_model.errors import ContextError

WORLD = ToyWorld()
FRAMES, ACTIONS = start_clip(1)


def columns(context):
    return context.actions[0, :, 0].tolist()


def test_actions_between_frames_are_moved_to_the_frames_they_produced():
    context = given_context(FRAMES, ACTIONS, WORLD)
    assert context.frames.shape == (1, 4, *FRAME_SHAPE)
    assert np.isnan(columns(context)[0])
    assert columns(context)[1:] == ACTIONS.tolist()


def test_one_action_for_each_frame_is_taken_as_it_is():
    assert columns(given_context(FRAMES, [2, *ACTIONS], WORLD)) == [2, *ACTIONS.tolist()]


def test_without_actions_none_is_known():
    assert torch.isnan(given_context(FRAMES, None, WORLD).actions).all()
    assert given_context(FRAMES[0], [], WORLD).frames.shape == (1, 1, *FRAME_SHAPE)


def test_frames_that_may_not_be_written_will_do():
    frames = FRAMES.copy()
    frames.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given_context(frames, ACTIONS, WORLD)


def test_the_usual_start():
    assert parse_options(None, WORLD) is None
    assert parse_options({}, WORLD) is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"frames": FRAMES.astype(np.float32)}, "float32"),
        ({"frames": np.full(FRAMES.shape, np.nan)}, "float64"),
        ({"frames": FRAMES[:, :8]}, r"\(4, 8, 16, 3\)"),
        ({"frames": FRAMES[:0]}, r"\(0, 16, 16, 3\)"),
        ({"frames": FRAMES.transpose(0, 3, 1, 2)}, r"\(4, 3, 16, 16\)"),
        ({"frames": "clip.png"}, "frames"),
        ({"frames": FRAMES, "actions": ACTIONS[:1]}, "1 actions for 4 frames"),
        ({"frames": FRAMES, "actions": [0, 1, 2, 1, 0]}, "5 actions for 4 frames"),
        ({"frames": FRAMES, "actions": [0, 1, 3]}, "outside the action space"),
        ({"frames": FRAMES, "actions": [0, 1, np.nan]}, "outside the action space"),
        ({"frames": FRAMES, "actions": [[0], [1], [2]]}, "does not fit"),
        ({"frames": FRAMES, "actions": 2}, "expected a sequence"),
        ({"actions": ACTIONS}, "needs 'frames'"),
        ({"frames": FRAMES, "snapshot": object()}, "not both"),
        ({"snapshot": object()}, "save_state"),
        ({"frame": FRAMES}, "frame.*frames, actions, snapshot"),
    ],
)
def test_what_does_not_fit_is_refused(options, text):
    env = NFDWorldEnv(WORLD)
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(ContextError, match=text):
        env.reset(seed=9, options=options)
    # The episode goes on as if nothing had been asked.
    assert env.step(0)[4]["imagined_steps"] == 2
    assert env.core.seeds.firsts.tolist() == [0]


def test_dealing_options_out():
    assert per_stream(None, 2) == [{}, {}]
    shared = per_stream({"frames": FRAMES}, 3)
    assert all(stream["frames"] is FRAMES for stream in shared)
    each = per_stream({"frames": np.stack([FRAMES, FRAMES + 1]), "actions": [ACTIONS, None]}, 2)
    assert each[1]["frames"][0, 0, 0, 0] == FRAMES[0, 0, 0, 0] + 1
    assert each[1]["actions"] is None
    with pytest.raises(ContextError, match="3 streams; expected 2"):
        per_stream({"frames": [FRAMES] * 3}, 2)
