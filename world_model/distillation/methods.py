"""The methods by name."""

from __future__ import annotations

from dataclasses import dataclass, field

from world_model.action_spec import ActionSpec
from world_model.distillation.adversarial import AdversarialConfig, Adversary
from world_model.distillation.consistency import ConsistencyConfig, DiscreteConsistency
from world_model.distillation.energy import EnergyScore
from world_model.distillation.method import Method
from world_model.distillation.scm import ContinuousConsistency, ScmConfig
from world_model.distillation.shortcut import Shortcut, ShortcutConfig, told_step_sizes
from world_model.errors import ConfigError
from world_model.flow import CONSISTENCY_LOSSES, FlowConfig
from world_model.network import NextFrameDiffusion
from world_model.tokenizer import FrameTokenizer, PixelPatchTokenizer
from world_model.world import World


@dataclass(frozen=True)
class MethodSettings:
    """Settings of every method; those of the others are ignored."""

    adversarial: bool = False
    """With scm: the teacher's features also judge the frames, by heads that learn along."""
    scm: ScmConfig = field(default_factory=ScmConfig)
    """Of continuous-time consistency."""
    consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)
    """Of discrete consistency."""
    shortcut: ShortcutConfig = field(default_factory=ShortcutConfig)
    """Of shortcut forcing."""
    adversary: AdversarialConfig = field(default_factory=AdversarialConfig)
    """Of the adversarial stage."""


def make_method(
    flow: FlowConfig,
    tokenizer: FrameTokenizer,
    teacher: World | None = None,
    settings: MethodSettings | None = None,
) -> Method:
    """The method that ``flow.loss`` names.

    Args:
        flow: of the student.
        tokenizer: says where tokens lie.
        teacher: the world to learn from, where the method needs one; see :func:`check_teacher`.
        settings: of the method.

    Raises:
        ConfigError: if the loss is not that of a few-step method, or the teacher is missing or
            makes samples itself.
    """
    settings = settings or MethodSettings()
    if settings.adversarial and flow.loss != "scm":
        raise ConfigError(f"the adversarial stage belongs to --method scm, not to {flow.loss!r}.")
    if flow.loss == "energy":
        pixels = isinstance(tokenizer, PixelPatchTokenizer)
        parts = 2 if pixels and tokenizer.config.patch_size % 2 == 0 else 1
        return EnergyScore(flow, tokenizer.grid, parts)
    if flow.loss == "shortcut":
        return Shortcut(flow, settings.shortcut)
    if flow.loss not in CONSISTENCY_LOSSES:
        raise ConfigError(f"the loss {flow.loss!r} does not make a few-step world.")
    if teacher is None or teacher.flow.makes_samples:
        found = "there is none" if teacher is None else f"{teacher.model_id} was distilled itself"
        raise ConfigError(
            f"the method {flow.loss!r} learns from a world that samples in many steps, but "
            f"{found}. Name one with --teacher, or choose --method energy or shortcut, which need "
            "none."
        )
    network = teacher.network.eval().requires_grad_(False)
    if flow.loss == "consistency":
        return DiscreteConsistency(flow, network, teacher.flow, settings.consistency)
    adversary = None
    if settings.adversarial:
        adversary = Adversary(network, teacher.flow, settings.adversary)
    return ContinuousConsistency(flow, network, teacher.flow, settings.scm, adversary)


def begin_with(network: NextFrameDiffusion, loss: str) -> NextFrameDiffusion:
    """The network that the method named by ``loss`` begins with: one that hears what it tells."""
    return told_step_sizes(network) if loss == "shortcut" else network


def sampler_for(loss: str) -> str:
    """Name of the sampler that networks trained with a few-step ``loss`` are made for."""
    return "euler" if loss == "shortcut" else "consistency"


def check_teacher(teacher: World, student: World) -> None:
    """Refuses a teacher whose frames, actions or previous frames are not the student's.

    Raises:
        ConfigError: if they differ; the message says in what.
    """
    pairs: dict[str, tuple[object, object]] = {
        "tokens": (teacher.tokenizer.to_dict(), student.tokenizer.to_dict()),
        "actions": (_actions(teacher.action_spec), _actions(student.action_spec)),
        "previous frames as input": (
            teacher.network.config.previous_frames,
            student.network.config.previous_frames,
        ),
    }
    for what, (theirs, ours) in pairs.items():
        if theirs != ours:
            raise ConfigError(
                f"{teacher.model_id} cannot teach {student.model_id}: it has other {what} "
                f"({theirs}, not {ours}). Name the world that this one was made from."
            )


def _actions(spec: ActionSpec) -> object:
    return spec.to_dict()["space"]
