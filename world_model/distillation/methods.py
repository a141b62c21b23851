"""The methods by name."""

from __future__ import annotations

from world_model.distillation.consistency import DiscreteConsistency
from world_model.distillation.energy import EnergyScore
from world_model.distillation.method import Method
from world_model.distillation.scm import ContinuousConsistency
from world_model.errors import ConfigError
from world_model.flow import FlowConfig
from world_model.tokenizer import PixelPatchTokenizer
from world_model.world import World

WITH_TEACHER = {"scm": ContinuousConsistency, "consistency": DiscreteConsistency}
"""Methods that learn from a many-step network, by their names in ``FlowConfig.loss``."""


def make_method(
    flow: FlowConfig, tokenizer: PixelPatchTokenizer, teacher: World | None = None
) -> Method:
    """The method that ``flow.loss`` names.

    Args:
        flow: of the student.
        tokenizer: says where tokens lie.
        teacher: the world to learn from, where the method needs one.

    Raises:
        ConfigError: if the loss is not that of a few-step method, or the teacher is missing or
            makes samples itself.
    """
    if flow.loss == "energy":
        parts = 2 if tokenizer.config.patch_size % 2 == 0 else 1
        return EnergyScore(flow, tokenizer.grid, parts)
    if flow.loss not in WITH_TEACHER:
        raise ConfigError(f"the loss {flow.loss!r} does not make a few-step world.")
    if teacher is None or teacher.flow.makes_samples:
        found = "there is none" if teacher is None else f"{teacher.model_id} was distilled itself"
        raise ConfigError(
            f"the method {flow.loss!r} learns from a world that samples in many steps, but "
            f"{found}. Name one with --teacher, or choose --method energy, which needs none."
        )
    if teacher.tokenizer.to_dict() != tokenizer.to_dict():
        raise ConfigError(
            f"{teacher.model_id} cannot teach this world: it cuts frames into other tokens "
            f"({teacher.tokenizer.to_dict()}, not {tokenizer.to_dict()})."
        )
    network = teacher.network.eval().requires_grad_(False)
    return WITH_TEACHER[flow.loss](flow, network, teacher.flow)
