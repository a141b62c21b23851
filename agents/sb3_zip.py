"""Policies that Stable-Baselines3 saved (``agent.save("agent.zip")``), read without any pickle.

SB3's own ``load`` unpickles the settings in the archive, which runs whatever code the file holds.
Here only the weights are read, as plain tensors; the network is SB3's default one for frames.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticCnnPolicy
from stable_baselines3.common.save_util import load_from_zip_file

from agents.observers import StackedFrames
from agents.trained import TrainedPolicy
from world_model.action_spec import ActionSpec
from world_model.errors import CheckpointError

FIRST, LINEAR = "features_extractor.cnn.0.weight", "features_extractor.linear.0.weight"


def load_zip(
    path: Path,
    action_spec: ActionSpec,
    frame_shape: tuple[int, int, int],
    *,
    deterministic: bool = True,
) -> TrainedPolicy:
    """The policy in an archive of PPO or A2C with ``CnnPolicy``.

    Args:
        path: the archive.
        action_spec: the actions that it must take.
        frame_shape: the frames that it must see; how many of them are stacked, newest last (as
            ``VecFrameStack`` does), the weights tell.
        deterministic: see :class:`~agents.trained.TrainedPolicy`.

    Raises:
        CheckpointError: if the file is missing or damaged, or holds another kind of policy.
    """
    weights = _read_weights(path)
    if FIRST not in weights or LINEAR not in weights:
        raise CheckpointError(
            f"{path} is no actor and critic on frames (PPO or A2C with 'CnnPolicy'). {_otherwise()}"
        )
    channels, stack = frame_shape[-1], weights[FIRST].shape[1] // frame_shape[-1]
    if stack * channels != weights[FIRST].shape[1]:
        raise CheckpointError(
            f"{path} sees {weights[FIRST].shape[1]} channels, no stack of frames with {channels}. "
            f"{_otherwise()}"
        )
    observer = StackedFrames(frame_shape, stack)
    try:
        network = ActorCriticCnnPolicy(
            observer.space,
            action_spec.space,
            lr_schedule=lambda _: 0.0,
            features_extractor_kwargs={"features_dim": weights[LINEAR].shape[0]},
        )
        network.load_state_dict(weights)
    except Exception as error:  # SB3 asserts, torch raises RuntimeError
        text = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{path} does not fit frames of {frame_shape} and the actions {action_spec.space} "
            f"({text}). {_otherwise()}"
        ) from error
    return TrainedPolicy(
        network,
        action_spec,
        observer,
        frame_shape=frame_shape,
        name=path.stem,
        deterministic=deterministic,
    )


def zip_id(path: Path) -> str:
    """Name and content hash of an archive.

    Raises:
        CheckpointError: if it is missing.
    """
    try:
        return f"{path.name}#{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    except OSError as error:
        raise CheckpointError(f"no policy at {str(path)!r}: {error}.") from error


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise CheckpointError(f"no policy at {str(path)!r}: there is no such file.")
    try:
        # load_data=False: the settings, which are pickled, stay unread.
        params: Any = load_from_zip_file(path, load_data=False, device="cpu")[1]
        return dict(params["policy"])
    except Exception as error:
        raise CheckpointError(
            f"{path} is no archive of Stable-Baselines3, or damaged ({error!r:.200})."
        ) from error


def _otherwise() -> str:
    return (
        "Other policies play through --policy module:function, a function of yours that loads them."
    )
