"""What the outcome model is trained to say: one loss for each of its heads."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from world_model import two_hot
from world_model.outcome import OutcomeModel, OutcomeSequence
from world_model.outcome_data import OutcomeBatch


def outcome_losses(
    model: OutcomeModel, sequence: OutcomeSequence, batch: OutcomeBatch
) -> dict[str, Tensor]:
    """Mean loss of each head over what is known, in nats; a head with nothing known gives 0.

    Terminations are not reweighted although they are rare: the head learns a probability.
    """
    known = ~batch.ends.isnan()
    every = F.binary_cross_entropy_with_logits(
        sequence.raw_termination_logits, batch.ends.nan_to_num(), reduction="none"
    )
    losses = {
        "termination": (every * known).sum() / known.sum().clamp(min=1),
        "reward": _cross_entropy(
            sequence.reward_scores, batch.rewards, model.config.reward_support
        ),
    }
    kinds = (
        ("state", sequence.state_scores, batch.states, model.config.state_supports),
        ("change", sequence.change_scores, batch.changes, model.config.change_supports),
        ("next", sequence.next_change_scores, batch.next_changes, model.config.change_supports),
    )
    for kind, scores, targets, supports in kinds:
        for i, name in enumerate(model.config.state_names):
            losses[f"{kind}/{name}"] = _cross_entropy(scores[i], targets[..., i], supports[i])
    return losses


def total_loss(losses: dict[str, Tensor], reward_weight: float, state_weight: float) -> Tensor:
    """Weighted sum of the losses; that of the termination counts once."""
    weights = {"termination": 1.0, "reward": reward_weight}
    return torch.stack(
        [weights.get(name, state_weight) * loss for name, loss in losses.items()]
    ).sum()


def _cross_entropy(scores: Tensor, targets: Tensor, support: tuple[float, ...]) -> Tensor:
    known = ~targets.isnan()
    points = torch.tensor(support, device=scores.device)
    encoded = two_hot.two_hot(targets.nan_to_num(), points)
    every = -(encoded * scores.log_softmax(-1)).sum(-1)
    return (every * known).sum() / known.sum().clamp(min=1)
