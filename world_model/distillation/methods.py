"""The methods by name."""

from __future__ import annotations

from world_model.distillation.adversarial import Adversary
from world_model.distillation.consistency import DiscreteConsistency
from world_model.distillation.energy import EnergyScore
from world_model.distillation.method import Method
from world_model.distillation.scm import ContinuousConsistency
from world_model.errors import ConfigError
from world_model.flow import FlowConfig
from world_model.tokenizer import PixelPatchTokenizer
from world_model.world import World

WITH_TEACHER = ("scm", "consistency")
"""Methods that learn from a many-step network, as ``FlowConfig.loss`` names them."""


def make_method(
    flow: FlowConfig,
    tokenizer: PixelPatchTokenizer,
    teacher: World | None = None,
    *,
    adversarial: bool = False,
) -> Method:
    """The method that ``flow.loss`` names.

    Args:
        flow: of the student.
        tokenizer: says where tokens lie.
        teacher: the world to learn from, where the method needs one.
        adversarial: whether the teacher's features judge the frames as well (``scm`` alone).

    Raises:
        ConfigError: if the loss is not that of a few-step method, or the teacher is missing or
            makes samples itself.
    """
    if adversarial and flow.loss != "scm":
        raise ConfigError(f"the adversarial stage belongs to --method scm, not to {flow.loss!r}.")
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
    if flow.loss == "consistency":
        return DiscreteConsistency(flow, network, teacher.flow)
    adversary = Adversary(network, teacher.flow) if adversarial else None
    return ContinuousConsistency(flow, network, teacher.flow, adversary=adversary)
