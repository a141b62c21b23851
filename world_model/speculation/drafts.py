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
        self._every: list[Tensor] | None = None

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
        self._hints = list(actions.detach().cpu().float().clone().split(1))

    def note(self, action: Tensor) -> bool:
        """Takes note of the action taken, float32 (1, K) on the CPU, which is kept.

        Returns:
            Whether it repeats the one before.
        """
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
        found: list[Tensor] = []
        last = [] if self._last is None else [self._last]
        for source in ([*self._hints, *last], self._frequent(count), self._all()):
            if len(found) < count:
                found = _different([*found, *source], count)
        return found

    def _frequent(self, count: int) -> list[Tensor]:
        """The actions taken most often."""
        return [
            torch.frombuffer(bytearray(raw), dtype=torch.float32)[None]
            for raw, _ in self._seen.most_common(count)
        ]

    def _all(self) -> list[Tensor]:
        """All actions of a Discrete space, else none."""
        if self._every is None:
            space, actions = self._spec.space, []
            if isinstance(space, spaces.Discrete):
                actions = [int(space.start) + i for i in range(int(space.n))]
            self._every = [torch.from_numpy(self._spec.encode(action))[None] for action in actions]
        return self._every


def _different(actions: Sequence[Tensor], count: int) -> list[Tensor]:
    found: list[Tensor] = []
    for action in actions:
        if len(found) == count:
            break
        if not any(torch.equal(action, other) for other in found):
            found.append(action)
    return found
