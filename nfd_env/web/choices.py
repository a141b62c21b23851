"""What a visitor may choose: the actions that they have, and denoising steps per frame."""

from __future__ import annotations

from typing import Any

from nfd_env.action_adapter import action_modes, find_adapter
from nfd_env.controls import Controls, controls_or_reason
from nfd_env.core import ImaginedCore
from nfd_env.play.session import SAMPLING
from nfd_env.web.limits import Limits, RequestError
from world_model.errors import ConfigError


class Modes:
    """The action modes of a world that keys can play.

    A world with none but its own actions has one, called ``""``.

    Args:
        world: the world.
        default: the mode of visitors who have not chosen; None: the world's own actions.

    Raises:
        ConfigError: if there is no such mode, or keys cannot play it.
    """

    def __init__(self, world: Any, default: str | None = None) -> None:
        spec = world.action_spec
        adapters = dict(action_modes(spec)) or {"": spec}
        self.own = next((name for name, adapter in adapters.items() if adapter is spec), "")
        """The world's own mode."""
        find_adapter(world, default)  # which says what is wrong with it
        self.default = self.own if default is None else default
        """Of visitors who have not chosen."""
        self.controls: dict[str, Controls] = {}
        """What keys do in each mode."""
        for name, adapter in adapters.items():
            controls, why = controls_or_reason(adapter)
            if controls is not None:
                self.controls[name] = controls
            elif name == self.default:
                mode = "" if default is None else f" with --action-mode {default}"
                raise ConfigError(f"{world.model_id} cannot be played in a browser{mode}: {why}")

    @property
    def names(self) -> list[str]:
        """What there is to choose from; nothing where there is no choice."""
        return list(self.controls) if len(self.controls) > 1 else []

    def find(self, name: Any) -> str:
        """The mode of that name; None: the default.

        Raises:
            RequestError: if there is none.
        """
        if name is None:
            return self.default
        if not isinstance(name, str) or name not in self.controls:
            known = f"choose one of {', '.join(self.names)}" if self.names else "leave it out"
            raise RequestError(f"there is no action mode {str(name)[:40]!r} here: {known}.")
        return name


def offered_steps(core: ImaginedCore, limits: Limits) -> tuple[int, ...]:
    """The numbers of denoising steps that visitors of a core may choose from, in their order.

    The world's own and the core's are always among them. None where a rollout knows of no others.
    """
    if not hasattr(core.rollout, "with_sampling_steps"):
        return ()
    always = {core.rollout.sampling_steps, core.world.config.sampling_steps}
    return tuple(sorted(always | {n for n in SAMPLING if n <= limits.sampling_steps}))
