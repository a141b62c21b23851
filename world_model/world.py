"""A world: all that is needed to imagine, in one class and one folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import torch
from torch import nn

from world_model.action_spec import ActionSpec
from world_model.contexts import ContextSet
from world_model.errors import ConfigError, StorageError, WorldFormatError
from world_model.flow import FlowConfig
from world_model.network import NextFrameDiffusion
from world_model.outcome import OutcomeModel
from world_model.outcome_config import OutcomeConfig
from world_model.registry import find_world
from world_model.storage import atomic_folder, save_tensors
from world_model.teacher import Teacher, TeacherConfig
from world_model.tokenizer import FrameTokenizer, tokenizer_from_dict
from world_model.weight_layout import lay_out
from world_model.weights import (
    file_hashes,
    load_weights,
    read_text,
    stored_weights,
    verify_file,
)
from world_model.world_config import WorldConfig, WorldParts, identity_of


@dataclass
class World:
    """A trained world. Its modules are read, never written, by whoever imagines with it."""

    config: WorldConfig
    """Name, shapes, sampling defaults, source."""
    action_spec: ActionSpec
    """The actions."""
    tokenizer: FrameTokenizer
    """Frames to tokens and back."""
    network: NextFrameDiffusion
    """The transformer."""
    flow: FlowConfig
    """What the transformer's output stands for."""
    outcome: OutcomeModel | None = None
    """Rewards and terminations; None where the world has neither."""
    contexts: ContextSet | None = None
    """Real clips that start episodes."""
    moments: ContextSet | None = None
    """Real clips from the midst of episodes, where short ones start; see
    :mod:`world_model.moments`."""
    teacher: Teacher | None = None
    """The many-step network that this world was distilled from, where it is kept."""
    card: str = ""
    """The README of the world: measured fidelity, hardware, notices."""
    content_hash: str = "unsaved"
    """SHA-256 over config and files; ``unsaved`` before the first save."""
    _networks: dict[torch.dtype, NextFrameDiffusion] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def model_id(self) -> str:
        """Name, version and hash, such as ``doom-take-cover@1#0123456789ab``."""
        return f"{self.config.name}@{self.config.version}#{self.content_hash[:12]}"

    def to(self, device: torch.device | str) -> Self:
        """Moves the modules to a device; returns self."""
        for module in self._modules():
            module.to(device)
        self._networks.clear()
        return self

    def network_in(self, dtype: torch.dtype) -> NextFrameDiffusion:
        """The transformer with matrix products in ``dtype``, made once and shared."""
        if dtype not in self._networks:
            network = self.network.in_precision(dtype)
            lay_out(network, network.config.tokens)
            self._networks[dtype] = network
        return self._networks[dtype]

    def num_parameters(self) -> int:
        """Number of trained numbers, the outcome model's included."""
        return sum(p.numel() for module in self._modules() for p in module.parameters())

    def as_teacher(self) -> Teacher | None:
        """What a world that is distilled from this one keeps: its network if it takes many steps.

        A few-step world passes on the teacher that it keeps itself, if there is one.
        """
        if self.flow.makes_samples:
            return self.teacher
        config = self.config
        return Teacher(
            TeacherConfig(
                self.network.config,
                self.flow,
                config.sampler,
                config.sampling_steps,
                config.sampling_shift,
            ),
            self.network,
        )

    def many_step(self) -> World:
        """The same world with its teacher in place of the distilled network.

        Raises:
            ConfigError: if no teacher is kept.
        """
        if self.teacher is None:
            raise ConfigError(
                f"{self.model_id} keeps no teacher: it was not distilled, or made without one. "
                "Leave teacher=True out, or load the world it was made from."
            )
        kept = self.teacher.config
        config = replace(
            self.config,
            sampler=kept.sampler,
            sampling_steps=kept.sampling_steps,
            sampling_shift=kept.sampling_shift,
        )
        return replace(
            self,
            config=config,
            network=self.teacher.network,
            flow=kept.flow,
            teacher=None,
            _networks={},
        )

    def save_pretrained(
        self,
        path: str | os.PathLike[str],
        *,
        dtype: torch.dtype = torch.float32,
        outcome_dtype: torch.dtype = torch.float32,
        teacher_dtype: torch.dtype | None = None,
    ) -> Path:
        """Writes the world as one folder, replacing an older one as a whole.

        Args:
            path: the folder.
            dtype: of the transformers' weights on disk: float32, float16, or int8, which stores
                matrices in 8 bits, each row with a scale of its own. An autoencoder, whose latents
                the transformer knows, stays float32.
            outcome_dtype: of the outcome model's, which is small and calibrated.
            teacher_dtype: of the teacher's, if there is one (default: ``dtype``).

        Returns:
            The folder.

        Raises:
            StorageError: if the disk is full, or the folder holds something else than a world;
                what stood there before is untouched.
        """
        _refuse_to_replace_others(Path(path))
        with atomic_folder(path) as folder:
            save_tensors(stored_weights(self.network, dtype), folder / "network.safetensors")
            if weights := stored_weights(self.tokenizer):
                save_tensors(weights, folder / "tokenizer.safetensors")
            if self.teacher is not None:
                save_tensors(
                    stored_weights(self.teacher.network, teacher_dtype or dtype),
                    folder / "teacher.safetensors",
                )
            if self.outcome is not None:
                save_tensors(
                    stored_weights(self.outcome, outcome_dtype), folder / "outcome.safetensors"
                )
            if self.contexts is not None:
                self.contexts.save(folder / "contexts.parquet")
            if self.moments is not None:
                self.moments.save(folder / "moments.parquet")
            text = replace(self._parts(), files=file_hashes(folder)).to_json()
            (folder / "config.json").write_text(text)
            (folder / "README.md").write_text(self.card, encoding="utf-8")
        self.content_hash = identity_of(text)
        return Path(path)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> World:
        """Loads a world onto the CPU.

        Args:
            name: a bundled name, a folder, or a repository on the Hugging Face Hub.

        Raises:
            WorldNotFoundError: if there is no such world.
            WorldFormatError: if a file is missing, damaged or of another format version.
        """
        folder = find_world(name)
        text = read_text(folder / "config.json")
        parts = WorldParts.from_json(text, str(folder / "config.json"))
        for file, expected in {**parts.files, **parts.repacked}.items():
            verify_file(folder / file, expected)
        tokenizer = tokenizer_from_dict(parts.tokenizer)
        if tokenizer.state_dict():
            load_weights(tokenizer, folder / "tokenizer.safetensors")
        network = NextFrameDiffusion(parts.network, parts.action_spec)
        load_weights(network, folder / "network.safetensors")
        teacher = None
        if parts.teacher is not None:
            taught_by = NextFrameDiffusion(parts.teacher.network, parts.action_spec)
            load_weights(taught_by, folder / "teacher.safetensors")
            teacher = Teacher(parts.teacher, taught_by.eval().requires_grad_(False))
        outcome = None
        if parts.outcome is not None:
            outcome = OutcomeModel(OutcomeConfig.from_dict(parts.outcome), parts.action_spec)
            load_weights(outcome, folder / "outcome.safetensors")
        clips: dict[str, ContextSet] = {}
        for kind in ("contexts", "moments"):
            if f"{kind}.parquet" in parts.files:
                clips[kind] = ContextSet.load(folder / f"{kind}.parquet")
                _check_contexts(clips[kind], parts)
        card = folder / "README.md"
        world = cls(
            config=parts.config,
            action_spec=parts.action_spec,
            tokenizer=tokenizer,
            network=network,
            flow=parts.flow,
            outcome=outcome,
            contexts=clips.get("contexts"),
            moments=clips.get("moments"),
            teacher=teacher,
            card=read_text(card) if card.is_file() else "",
            content_hash=identity_of(text),
        )
        for module in world._modules():
            module.eval().requires_grad_(False)
        return world

    def _parts(self) -> WorldParts:
        return WorldParts(
            config=self.config,
            network=self.network.config,
            flow=self.flow,
            tokenizer=self.tokenizer.to_dict(),
            action_spec=self.action_spec,
            outcome=None if self.outcome is None else self.outcome.config.to_dict(),
            teacher=None if self.teacher is None else self.teacher.config,
        )

    def _modules(self) -> list[nn.Module]:
        found: list[nn.Module] = [self.tokenizer, self.network]
        return found if self.outcome is None else [*found, self.outcome]


def _refuse_to_replace_others(path: Path) -> None:
    """Replacing removes what was there: never what is no world."""
    if path.is_dir() and any(path.iterdir()) and not (path / "config.json").is_file():
        raise StorageError(
            f"{path} holds files but no world, and saving would replace them. Choose a folder "
            "that is new, empty or a world."
        )


def _check_contexts(contexts: ContextSet, parts: WorldParts) -> None:
    found = (tuple(contexts.frame_shape), contexts.action_dim)
    wanted = (tuple(parts.config.frame_shape), parts.action_spec.dim)
    if found != wanted:
        raise WorldFormatError(
            f"the contexts of the world have frames of {found[0]} and actions of {found[1]} "
            f"numbers; its config says {wanted[0]} and {wanted[1]}. Download or save the world "
            "anew."
        )
