"""The part of a world that is plain text: ``config.json``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from world_model.action_spec import ActionSpec
from world_model.errors import NFDError, WorldFormatError
from world_model.flow import FlowConfig
from world_model.network import NetworkConfig
from world_model.outcome_config import OutcomeConfig
from world_model.teacher import TeacherConfig
from world_model.tokenizer import tokenizer_config

FORMAT_VERSION = 1
"""Version of the folder layout; a newer one is refused."""


@dataclass(frozen=True)
class WorldConfig:
    """What a world is called, what it looks like, and how it is sampled."""

    name: str
    """Name of the world, such as ``doom-take-cover``."""
    version: int = 1
    """Version of the weights under that name."""
    frame_shape: tuple[int, int, int] = (64, 64, 3)
    """Height, width and channels of a frame, uint8."""
    fps: float = 10.0
    """Environment steps per second of the source environment."""
    context_length: int = 4
    """Real frames that start an episode."""
    context_noise: float = 0.02
    """Noise level t in [0, 1) of frames that later frames look back at."""
    sampler: str = "euler"
    """Default sampler."""
    sampling_steps: int = 2
    """Default number of sampling steps."""
    sampling_shift: float = 1.0
    """k of the grid of noise levels."""
    max_episode_steps: int | None = None
    """Horizon of the source environment, in steps, or None."""
    source: dict[str, Any] = field(default_factory=dict)
    """The real environment: id, preprocessing, what its data was made of."""
    hardware: str = ""
    """What the world was trained on."""
    license: str = ""
    """Licences and notices of the game's assets."""


@dataclass(frozen=True)
class WorldParts:
    """Everything that ``config.json`` says."""

    config: WorldConfig
    """Name, shapes, sampling."""
    network: NetworkConfig
    """The transformer."""
    flow: FlowConfig
    """What its output stands for."""
    tokenizer: dict[str, Any]
    """Description of the tokenizer."""
    action_spec: ActionSpec
    """The actions."""
    outcome: dict[str, Any] | None
    """Description of the outcome model, or None."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of every other file of the world."""
    teacher: TeacherConfig | None = None
    """The many-step network kept beside a distilled one, or None."""
    repacked: dict[str, str] = field(default_factory=dict)
    """SHA-256 of files that were since stored in fewer bits; the world keeps its identity, see
    :mod:`world_model.repacking`."""

    def to_json(self) -> str:
        """The text of ``config.json``."""
        data = {
            "format_version": FORMAT_VERSION,
            "world": asdict(self.config),
            "network": asdict(self.network),
            "flow": asdict(self.flow),
            "tokenizer": self.tokenizer,
            "action_spec": self.action_spec.to_dict(),
            "outcome": self.outcome,
            "teacher": None if self.teacher is None else self.teacher.to_dict(),
            "files": self.files,
        }
        if self.repacked:
            data["repacked"] = self.repacked
        return config_text(data)

    @classmethod
    def from_json(cls, text: str, where: str) -> WorldParts:
        """Reads ``config.json``.

        Raises:
            WorldFormatError: if it is damaged, incomplete, or of another format version.
        """
        try:
            data = json.loads(text)
            version = data["format_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise WorldFormatError(
                f"{where} is not the config of a world ({error!r}). Download or save it anew."
            ) from error
        if version != FORMAT_VERSION:
            newer = isinstance(version, int) and version > FORMAT_VERSION
            advice = "Upgrade nfd-world" if newer else "Save it anew"
            raise WorldFormatError(
                f"{where} has format version {version!r}; this version of nfd-world reads "
                f"{FORMAT_VERSION}. {advice}."
            )
        try:
            teacher = data.get("teacher")
            parts = cls(
                config=WorldConfig(**_tuples(data["world"])),
                network=NetworkConfig(**_tuples(data["network"])),
                flow=FlowConfig(**_tuples(data["flow"])),
                tokenizer=data["tokenizer"],
                action_spec=ActionSpec.from_dict(data["action_spec"]),
                outcome=data["outcome"],
                files=dict(data["files"]),
                repacked=dict(data.get("repacked", {})),
                teacher=None if teacher is None else TeacherConfig.from_dict(teacher),
            )
            parts.check()
            return parts
        except (KeyError, TypeError, ValueError, AttributeError, NFDError) as error:
            raise WorldFormatError(
                f"{where} is damaged or incomplete: {error}. Download or save the world anew."
            ) from error

    def check(self) -> None:
        """Raises ValueError unless the parts fit together."""
        frame_shape = tuple(self.config.frame_shape)
        tokenizer = tokenizer_config(self.tokenizer)
        if tokenizer.frame_shape != frame_shape:
            raise ValueError(
                f"the tokenizer takes frames of {tokenizer.frame_shape}, the world has "
                f"{frame_shape}"
            )
        made = (tokenizer.grid, tokenizer.token_dim)
        networks = {"network": self.network}
        if self.teacher is not None:
            networks["teacher"] = self.teacher.network
        for name, wanted in networks.items():
            if made != (tuple(wanted.grid), wanted.token_dim):
                raise ValueError(
                    f"the tokenizer makes a grid of {made[0]} tokens of {made[1]} numbers, the "
                    f"{name} takes {wanted.grid} of {wanted.token_dim}"
                )
        if self.outcome is not None:
            watched = OutcomeConfig.from_dict(self.outcome).frame_shape
            if tuple(watched) != frame_shape:
                raise ValueError(
                    f"the outcome model takes frames of {watched}, the world has {frame_shape}"
                )


def identity_of(text: str) -> str:
    """The SHA-256 that names a world, of the text of its ``config.json``.

    Files that were repacked count as what they were.
    """
    data = json.loads(text)
    if "repacked" in data:
        del data["repacked"]
        text = config_text(data)
    return hashlib.sha256(text.encode()).hexdigest()


def config_text(data: dict[str, Any]) -> str:
    """``data`` as ``config.json`` is written: the identity hangs on every character."""
    return json.dumps(data, indent=1) + "\n"


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no tuples; the configs hold no lists."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
