"""The end of every trajectory: where there is no noise the clean frame is what is there.

Consistency of the estimates along a trajectory says nothing of their common value: that follows
from the boundary condition f(x, 0) = x alone. A network that predicts clean frames need not obey
it, so it is blended into the identity where there is little noise: weakly, and all values drift.
Where there is much noise, at both of two sampling steps for one, f is the network itself.
"""

from __future__ import annotations

from torch import Tensor

REACH = 0.5
"""Flow time below which the estimate is blended with what is there. At 0.2 the distillation of a
normal distribution drifted away from its mean, at 0.5 it holds it."""


def anchored(x: Tensor, t: Tensor, estimate: Tensor) -> Tensor:
    """The consistency function f(x, t).

    Args:
        x: noised tokens (B, F, N, D).
        t: flow times, with the leading dimensions of x, in [0, 1].
        estimate: the network's clean tokens, as x.

    Returns:
        As x: ``estimate`` from t = :data:`REACH` on, ``x`` at 0, smooth in between.
    """
    far = 1 - (1 - t / REACH).clamp(min=0).square()
    return x + far[..., None, None] * (estimate - x)
