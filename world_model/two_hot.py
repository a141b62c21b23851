"""Distributions over real numbers as weights on a fixed support (two-hot, as in DreamerV3).

A number between two support points is written as weights on both, linear in the number, so the
expectation of the encoding is the number itself: exact magnitudes survive the round trip. Where
the data holds only a few distinct values, these are the support, and the distribution is an
ordinary categorical one over the values that can occur.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from world_model.errors import DataError


def support_of(values: np.ndarray, bins: int = 41) -> tuple[float, ...]:
    """The support for ``values``: the distinct values themselves, or ``bins`` points over them.

    More than ``bins`` distinct values are covered by points evenly spaced in
    ``symlog(x) = sign(x) log(1 + |x|)``, close together near zero and wide apart far out.

    >>> support_of(np.array([4.0, 4.0, 1.0]))
    (1.0, 4.0)

    Raises:
        DataError: if there is no value, or one is not finite.
    """
    values = np.asarray(values, np.float64).ravel()
    if values.size == 0 or not np.isfinite(values).all():
        raise DataError(
            f"a support needs finite values, but got {values.size} of which "
            f"{int((~np.isfinite(values)).sum())} are NaN or infinite. Check the recorded rewards "
            "and states."
        )
    distinct = np.unique(values.astype(np.float32))
    if len(distinct) <= bins:
        return tuple(float(value) for value in distinct)
    low, high = (np.sign(v) * np.log1p(abs(v)) for v in (distinct[0], distinct[-1]))
    spaced = np.linspace(low, high, bins)
    points = np.sign(spaced) * np.expm1(np.abs(spaced))
    points[0], points[-1] = distinct[0], distinct[-1]
    return tuple(float(point) for point in points)


def two_hot(values: Tensor, support: Tensor) -> Tensor:
    """Weights (..., n) on ``support`` (n,) whose expectation is ``values`` (...), clipped to it."""
    count = len(support)
    if count == 1:
        return torch.ones(*values.shape, 1, dtype=support.dtype, device=values.device)
    values = values.to(support.dtype).clamp(support[0], support[-1])
    above = torch.searchsorted(support, values.contiguous()).clamp(1, count - 1)
    low, high = support[above - 1], support[above]
    weight = ((values - low) / (high - low)).unsqueeze(-1)
    encoded = F.one_hot(above - 1, count) * (1 - weight) + F.one_hot(above, count) * weight
    return encoded.to(support.dtype)


def expectation(logits: Tensor, support: Tensor) -> Tensor:
    """Mean (...) of the distribution with ``logits`` (..., n) on ``support`` (n,)."""
    return (logits.float().softmax(-1) * support).sum(-1)


def mode(logits: Tensor, support: Tensor) -> Tensor:
    """Most probable support point (...)."""
    return support[logits.argmax(-1)]


def sample(logits: Tensor, support: Tensor, uniform: Tensor) -> Tensor:
    """Inverse-CDF draw (...): a pure function of ``uniform`` (...), numbers in [0, 1)."""
    cumulative = logits.float().softmax(-1).cumsum(-1)
    index = (cumulative <= uniform.unsqueeze(-1)).sum(-1).clamp(max=len(support) - 1)
    return support[index]
