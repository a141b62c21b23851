"""Which actions are likely to come next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from gymnasium import spaces
from torch import Tensor

from world_model.action_spec import ActionSpec
from world_model.errors import ActionError

REMEMBERED = 1024
"""Different actions that are counted: those of a continuous space hardly ever come again."""


class Drafts:
    """Names likely next actions: what the policy hints at, the last one, the frequent ones.

    Args:
        spec: the actions of the world.
    """

    def __init__(self, spec: ActionSpec) -> None:
        self._spec = spec
        self._seen: Counter[bytes] = Counter()
        self._hints: list[Tensor] = []
        self._last: Tensor | None = None

    def hint(self, actions: Tensor) -> None:
        """Names likely next actions, float32 (n, K), the likeliest first; they hold for one step.

        Raises:
            ActionError: if they have another shape or contain NaN.
        """
        if actions.ndim != 2 or actions.shape[1] != self._spec.dim or actions.isnan().any():
            raise ActionError(
                f"hinted actions have shape {tuple(actions.shape)}; expected (n, "
                f"{self._spec.dim}), encoded by the world's ActionSpec, without NaN."
            )
        self._hints = list(actions.cpu().float().split(1))

    def note(self, action: Tensor) -> bool:
        """Takes note of the action taken, float32 (1, K); True if it repeats the one before."""
        action = action.detach().cpu().float()
        repeats = self._last is not None and torch.equal(self._last, action)
        self._last, self._hints = action, []
        raw = action.numpy().tobytes()
        if raw in self._seen or len(self._seen) < REMEMBERED:
            self._seen[raw] += 1
        return repeats

    def forget(self) -> None:
        """A new episode: nothing came before."""
        self._last, self._hints = None, []

    def likeliest(self, count: int = 1) -> list[Tensor]:
        """Up to ``count`` different actions, float32 (1, K) each, the likeliest first."""
        frequent = [
            torch.frombuffer(bytearray(raw), dtype=torch.float32)[None]
            for raw, _ in self._seen.most_common(count)
        ]
        last = [] if self._last is None else [self._last]
        return _different([*self._hints, *last, *frequent, *self._every()], count)

    def _every(self) -> list[Tensor]:
        """All actions of a Discrete space, else none."""
        space = self._spec.space
        if not isinstance(space, spaces.Discrete):
            return []
        actions = range(int(space.start), int(space.start + space.n))
        return [torch.from_numpy(self._spec.encode(action))[None] for action in actions]


def _different(actions: Sequence[Tensor], count: int) -> list[Tensor]:
    found: list[Tensor] = []
    for action in actions:
        if len(found) == count:
            break
        if not any(torch.equal(action, other) for other in found):
            found.append(action)
    return found
