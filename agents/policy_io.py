"""Trained policies on disk: ``config.json`` and safetensors, rebuilt without any pickle.

A folder holds ``config.json`` (network, spaces, provenance), ``model.safetensors`` (fp16 to share,
fp32 to continue) and, where training is to go on exactly, ``optimizer.safetensors``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from safetensors import SafetensorError
from safetensors.torch import load_file
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy

from agents.trained import TrainedPolicy
from world_model.action_spec import ActionSpec
from world_model.errors import CheckpointError
from world_model.storage import atomic_folder, save_tensors

FORMAT_VERSION = 1
CONFIG, WEIGHTS, OPTIMIZER = "config.json", "model.safetensors", "optimizer.safetensors"
BUNDLED = Path(__file__).parent / "policies_bundled"


@dataclass(frozen=True)
class PolicyConfig:
    """All that is needed to rebuild the network of a trained policy, and where it came from."""

    action_spec: dict[str, Any]
    """From :meth:`ActionSpec.to_dict`."""
    frame_shape: tuple[int, int, int]
    """Height, width and channels of one frame."""
    frame_stack: int = 4
    """Number of frames that the network sees at once, one for each of its latest decisions."""
    action_repeat: int = 1
    """Steps for which every decision is held."""
    features_dim: int = 512
    """Width of the layer after the convolutions (the "Nature" network of SB3's CnnPolicy)."""
    deterministic: bool = True
    """Whether the policy is meant to play its likeliest action rather than a sampled one."""
    reward_scale: dict[str, float] = field(default_factory=dict)
    """Running mean, variance and count of the returns, with which rewards were normalised."""
    training: dict[str, Any] = field(default_factory=dict)
    """Provenance: the world (with its hash) or real environment, timesteps, seed, settings."""
    format_version: int = FORMAT_VERSION
    """Of this file."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "frame_shape", tuple(self.frame_shape))

    @property
    def spec(self) -> ActionSpec:
        """The actions of the policy."""
        return ActionSpec.from_dict(self.action_spec)


def make_network(config: PolicyConfig) -> ActorCriticPolicy:
    """The untrained network that ``config`` describes."""
    height, width, channels = config.frame_shape
    observation_space = spaces.Box(0, 255, (channels * config.frame_stack, height, width), np.uint8)
    return ActorCriticCnnPolicy(
        observation_space,
        config.spec.space,
        lr_schedule=lambda _: 0.0,
        features_extractor_kwargs={"features_dim": config.features_dim},
    )


def save_policy(
    path: str | os.PathLike[str],
    network: ActorCriticPolicy,
    config: PolicyConfig,
    *,
    half: bool = False,
    optimizer: bool = False,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Writes the policy folder ``path``, whole or not at all.

    Args:
        path: the folder; an older one is replaced.
        network: the network, on any device.
        config: describes it.
        half: stores the weights in fp16 (half the size; the same actions but for near ties).
        optimizer: stores Adam's state as well, for training to go on exactly.
        texts: contents of further text files, by file name.

    Raises:
        StorageError: if the disk is full or the folder cannot be written.
    """
    dtype = torch.float16 if half else torch.float32
    # named_parameters, unlike state_dict, lists the shared feature extractor once.
    weights = {
        name: value.detach().to("cpu", dtype).contiguous()
        for name, value in network.named_parameters()
    }
    with atomic_folder(path) as folder:
        save_tensors(weights, folder / WEIGHTS)
        if optimizer:
            save_tensors(_optimizer_tensors(network), folder / OPTIMIZER)
        (folder / CONFIG).write_text(json.dumps(asdict(config), indent=2) + "\n")
        for name, text in (texts or {}).items():
            (folder / name).write_text(text)


def load_policy(
    path: str | os.PathLike[str], *, name: str | None = None, deterministic: bool | None = None
) -> TrainedPolicy:
    """A policy that is ready to play.

    Args:
        path: a policy folder, or the name of a bundled policy.
        name: for tables; default: the folder's name.
        deterministic: default: as the policy's config says.

    Raises:
        CheckpointError: if the folder is missing, damaged, or of an unknown format version.
    """
    folder = find_policy(path)
    config = load_config(folder)
    network = make_network(config)
    load_weights(folder, network)
    return TrainedPolicy(
        network,
        config.spec,
        frame_shape=config.frame_shape,
        frame_stack=config.frame_stack,
        action_repeat=config.action_repeat,
        name=name or folder.name,
        deterministic=config.deterministic if deterministic is None else deterministic,
    )


def find_policy(path: str | os.PathLike[str]) -> Path:
    """The folder of a policy: ``path`` itself, or the bundled policy of that name."""
    folder = Path(path)
    if not (folder / CONFIG).is_file() and folder.name == str(path):
        folder = BUNDLED / folder
    if not (folder / CONFIG).is_file():
        bundled = sorted(p.parent.name for p in BUNDLED.glob(f"*/{CONFIG}"))
        raise CheckpointError(
            f"no policy at {str(path)!r}: there is no {CONFIG}. Bundled policies: "
            f"{', '.join(bundled) or 'none'}; `nfd agent` trains new ones."
        )
    return folder


def load_config(path: str | os.PathLike[str]) -> PolicyConfig:
    """The config of the policy folder ``path``."""
    file = find_policy(path) / CONFIG
    try:
        data = json.loads(file.read_text())
        version = data.get("format_version")
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"{file} has format version {version}; this version of nfd-world reads "
                f"{FORMAT_VERSION}. Upgrade nfd-world, or train the policy anew."
            )
        return PolicyConfig(**data)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{file} cannot be read: {error}.") from error


def load_weights(path: str | os.PathLike[str], network: ActorCriticPolicy) -> None:
    """Copies the weights of the policy folder ``path`` into ``network``, in place."""
    file = find_policy(path) / WEIGHTS
    tensors = _read(file)
    parameters = dict(network.named_parameters())
    _check_same(file, set(tensors), set(parameters))
    with torch.no_grad():
        for name, parameter in parameters.items():
            if tensors[name].shape != parameter.shape:
                raise CheckpointError(
                    f"{file}: {name} has shape {tuple(tensors[name].shape)}, the network needs "
                    f"{tuple(parameter.shape)}. The folder's {CONFIG} belongs to other weights."
                )
            parameter.copy_(tensors[name])


def load_optimizer(path: str | os.PathLike[str], network: ActorCriticPolicy) -> bool:
    """Restores Adam's state in ``network.optimizer``; False if the folder holds none."""
    file = find_policy(path) / OPTIMIZER
    if not file.is_file():
        return False
    tensors = _read(file)
    if not tensors:  # saved before the first update
        return True
    _check_same(
        file,
        {name.partition(":")[2] for name in tensors},
        {name for name, _ in network.named_parameters()},
    )
    for name, parameter in network.named_parameters():
        network.optimizer.state[parameter] = {
            key: tensors[f"{key}:{name}"].to("cpu" if key == "step" else parameter.device)
            for key in ("step", "exp_avg", "exp_avg_sq")
        }
    return True


def policy_id(path: str | os.PathLike[str]) -> str:
    """Name and content hash of a policy folder, such as ``doom-take-cover#0123456789ab``."""
    folder = find_policy(path)
    return f"{folder.name}#{hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()[:12]}"


def _optimizer_tensors(network: ActorCriticPolicy) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, parameter in network.named_parameters():
        for key, value in network.optimizer.state.get(parameter, {}).items():
            tensors[f"{key}:{name}"] = value.detach().cpu().contiguous().clone()
    return tensors


def _read(file: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{file} is missing or damaged ({error}). Copy the policy folder again."
        ) from error


def _check_same(file: Path, found: set[str], expected: set[str]) -> None:
    if found != expected:
        raise CheckpointError(
            f"{file} does not fit its {CONFIG}: missing {sorted(expected - found)}, "
            f"unexpected {sorted(found - expected)}."
        )
