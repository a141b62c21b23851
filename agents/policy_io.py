"""Trained policies on disk: ``config.json`` and safetensors, rebuilt without any pickle.

A folder holds ``config.json`` (network, spaces, provenance), ``model.safetensors`` (fp16 to share,
fp32 to continue); ``outcome/``, where the policy sees through a world's outcome model; and, where
training is to go on exactly, ``optimizer.safetensors``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    MultiInputActorCriticPolicy,
)
from torch import nn

from agents.observers import FramesAndMemory, Observer, StackedFrames, WorldMemory
from agents.trained import TrainedPolicy
from world_model.action_spec import ActionSpec
from world_model.errors import CheckpointError, WorldFormatError, WorldNotFoundError
from world_model.outcome import OutcomeModel
from world_model.outcome_storage import load_outcome, save_outcome
from world_model.storage import atomic_folder, save_tensors

FORMAT_VERSION = 1
CONFIG, WEIGHTS, OPTIMIZER = "config.json", "model.safetensors", "optimizer.safetensors"
OUTCOME = "outcome"
BUNDLED = Path(__file__).parent / "policies_bundled"


@dataclass(frozen=True)
class PolicyConfig:
    """All that is needed to rebuild the network of a trained policy, and where it came from."""

    action_spec: dict[str, Any]
    """From :meth:`ActionSpec.to_dict`."""
    frame_shape: tuple[int, int, int]
    """Height, width and channels of one frame."""
    observation: str = "frames"
    """What the network sees: the last ``frames``, an outcome model's ``memory``, or ``both``."""
    frame_stack: int = 4
    """Number of frames that the network sees at once."""
    features_dim: int = 512
    """Width of the layer after the convolutions on frames (SB3's "Nature" network)."""
    memory_width: int = 256
    """Width of the hidden layer where the network sees a memory."""
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


class Seeing(Protocol):
    """What settings of a policy say about what its network sees, and its shape."""

    @property
    def observation(self) -> str:
        """``frames``, ``memory`` or ``both``."""
        ...

    @property
    def frame_stack(self) -> int:
        """Number of frames that the network sees at once."""
        ...

    @property
    def features_dim(self) -> int:
        """Width of the layer after the convolutions on frames."""
        ...

    @property
    def memory_width(self) -> int:
        """Width of the hidden layer where the network sees a memory."""
        ...


def network_settings(config: Seeing) -> tuple[type[ActorCriticPolicy], dict[str, Any]]:
    """SB3's policy class for what the network sees, and its settings."""
    if config.observation == "frames":
        extractor = {"features_dim": config.features_dim}
        return ActorCriticCnnPolicy, {"features_extractor_kwargs": extractor}
    hidden: dict[str, Any] = {"net_arch": [config.memory_width], "activation_fn": nn.SiLU}
    if config.observation == "memory":
        return ActorCriticPolicy, hidden
    extractor = {"cnn_output_dim": config.features_dim}
    return MultiInputActorCriticPolicy, {**hidden, "features_extractor_kwargs": extractor}


def make_observer(
    config: Seeing, frame_shape: tuple[int, int, int], outcome: OutcomeModel | None
) -> Observer:
    """What turns frames into the network's inputs.

    Raises:
        CheckpointError: if it takes an outcome model and there is none.
    """
    if config.observation not in ("frames", "memory", "both"):
        raise CheckpointError(
            f"observation={config.observation!r}: expected 'auto', 'frames', 'memory' or 'both'."
        )
    frames = StackedFrames(frame_shape, config.frame_stack)
    if config.observation == "frames":
        return frames
    if outcome is None:
        raise CheckpointError(
            f"observation={config.observation!r} needs a world with an outcome model, and there is "
            "none here. Use 'frames'."
        )
    memory = WorldMemory(outcome)
    return memory if config.observation == "memory" else FramesAndMemory(frames, memory)


def make_network(config: PolicyConfig, observer: Observer) -> ActorCriticPolicy:
    """The untrained network that ``config`` describes, for what ``observer`` sees."""
    policy, settings = network_settings(config)
    return policy(observer.space, config.spec.space, lr_schedule=lambda _: 0.0, **settings)


def save_policy(
    path: str | os.PathLike[str],
    network: ActorCriticPolicy,
    config: PolicyConfig,
    *,
    half: bool = False,
    optimizer: bool = False,
    outcome: OutcomeModel | None = None,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Writes the policy folder ``path``, whole or not at all.

    Args:
        path: the folder; an older one is replaced.
        network: the network, on any device.
        config: describes it.
        half: stores the weights in fp16 (half the size; the same actions but for near ties).
        optimizer: stores Adam's state as well, for training to go on exactly.
        outcome: the outcome model that the policy sees through, if it does.
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
        if outcome is not None:
            save_outcome(outcome, folder / OUTCOME, dtype)
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
    observer = make_observer(config, config.frame_shape, load_eyes(folder))
    network = make_network(config, observer)
    load_weights(folder, network)
    return TrainedPolicy(
        network,
        config.spec,
        observer,
        frame_shape=config.frame_shape,
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


def load_eyes(path: str | os.PathLike[str]) -> OutcomeModel | None:
    """The outcome model in the policy folder ``path``; None for a policy that sees frames."""
    if load_config(path).observation == "frames":
        return None
    try:
        return load_outcome(find_policy(path) / OUTCOME)
    except (WorldFormatError, WorldNotFoundError) as error:
        raise CheckpointError(f"{error} Copy the policy folder again.") from error


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
    found = {name.partition(":")[2] for name in tensors}
    parameters = dict(network.named_parameters())
    # Adam knows nothing of parameters that have not learned yet.
    _check_same(file, found, found & set(parameters))
    for name in found:
        parameter = parameters[name]
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
