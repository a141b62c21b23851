"""All formats of Minecraft actions by name, and which of them a spec is."""

from __future__ import annotations

from world_model.action_spec import ActionSpec
from world_model.errors import ActionError
from world_model.minecraft.actions import ActionFormat
from world_model.minecraft.discrete import DISCRETE
from world_model.minecraft.factored import MINEWORLD, VPT, VPT_FULL
from world_model.minecraft.minerl import MineRLFormat, is_minerl, minerl_spec
from world_model.minecraft.oasis import OASIS

FAMILY = "minecraft"

FORMATS: dict[str, ActionFormat] = {
    "discrete": DISCRETE,
    "multidiscrete": VPT,
    "multidiscrete-full": VPT_FULL,
    "mineworld": MINEWORLD,
    "minerl": MineRLFormat(minerl_spec()),
    "oasis": OASIS,
}
"""By name; the convention of a spec is ``minecraft/`` and the name."""


def format_of(spec: ActionSpec) -> tuple[str, ActionFormat] | None:
    """Name and format of a spec, as its convention says; None if it is of no Minecraft space.

    Raises:
        ActionError: if it names an unknown format, or its space is another one.
    """
    family, _, name = spec.convention.partition("/")
    if family != FAMILY:
        return None
    if name not in FORMATS:
        raise ActionError(
            f"the actions are said to follow {spec.convention!r}; known Minecraft formats are: "
            f"{', '.join(FORMATS)}. Upgrade nfd-world."
        )
    fits = is_minerl(spec.space) if name == "minerl" else spec.space == FORMATS[name].spec.space
    if not fits:
        raise ActionError(
            f"the actions are said to follow {spec.convention!r}, whose space is "
            f"{FORMATS[name].spec.space}, but theirs is {spec.space}."
        )
    return name, MineRLFormat(spec) if name == "minerl" else FORMATS[name]


def understood(spec: ActionSpec) -> ActionSpec:
    """``spec``; where it is MineRL's space without a convention, with that of ``minerl_spec``.

    That space cannot be mistaken for another, and its camera, in degrees, needs companding.
    """
    if spec.convention or not is_minerl(spec.space):
        return spec
    known = minerl_spec()
    curves = {group.name: group.companding for group in known.groups if group.companding}
    return ActionSpec.from_space(spec.space, companding=curves, convention=known.convention)
