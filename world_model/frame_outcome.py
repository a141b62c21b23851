"""What a frame that was just sampled looks like, earns and ends."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from world_model.noise import Purpose, stream_keys, uniform
from world_model.rollout_state import RolloutState
from world_model.tokenizer import Tokenizer
from world_model.types import StepOutcome
from world_model.world import World

REWARD_MODES = ("expected", "sample", "threshold")
TERMINATION_MODES = ("sample", "threshold", "never")


class FrameOutcome:
    """Makes sampled tokens the last frame of their streams. See ``Rollout`` for the options.

    Args:
        world: whose outcome model says what a frame earns and ends, if there is one.
        tokenizer: decodes, in the rollout's precision.
        device: of the rollout.
        reward_mode: one of :data:`REWARD_MODES`.
        termination_mode: one of :data:`TERMINATION_MODES`.
        pessimism: added to the logit of termination.

    Raises:
        ValueError: if an option is unknown, or the pessimism no finite number.
    """

    def __init__(
        self,
        world: World,
        tokenizer: Tokenizer,
        device: torch.device,
        reward_mode: str,
        termination_mode: str,
        pessimism: float,
    ) -> None:
        if reward_mode not in REWARD_MODES:
            raise ValueError(f"reward_mode must be one of {REWARD_MODES}, not {reward_mode!r}.")
        if termination_mode not in TERMINATION_MODES:
            raise ValueError(
                f"termination_mode must be one of {TERMINATION_MODES}, not {termination_mode!r}."
            )
        if not math.isfinite(pessimism):
            raise ValueError(f"pessimism must be a finite number, not {pessimism}.")
        self.world, self.tokenizer, self.device = world, tokenizer, device
        self.reward_mode, self.termination_mode = reward_mode, termination_mode
        self.pessimism = pessimism

    def settle(
        self, state: RolloutState, actions: Tensor, latents: Tensor, guess: Tensor
    ) -> tuple[RolloutState, StepOutcome]:
        """The state with the frame in it, and what the step brought.

        Args:
            state: of the frame before; reused.
            actions: float32 (B, K), what produced the frame.
            latents: float32 (B, N, D), the frame as it was sampled.
            guess: float32 (B, N, D), what it was expected to be: how far it is off says how
                uncertain it is.
        """
        terminated, probability = self._termination(state, actions)
        frames = self.tokenizer.decode(latents)
        if self.tokenizer.rounds_feedback:
            latents = self.tokenizer.encode(frames)
        state.latent, state.action = latents, actions
        state.frame_index = state.frame_index + 1
        rewards = torch.zeros(state.batch_size, device=self.device)
        if self.world.outcome is not None:
            state.memory = self.world.outcome.observe(state.memory, frames, actions)
            rewards = self._reward(state, terminated)
        uncertainty = (latents - guess).square().mean(dim=(1, 2)).sqrt()
        return state, StepOutcome(frames, latents, rewards, terminated, probability, uncertainty)

    def _termination(self, state: RolloutState, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Whether taking ``actions`` ends each episode, and the probability of it."""
        outcome = self.world.outcome
        if outcome is None:
            probability = torch.zeros(state.batch_size, device=self.device)
            return torch.zeros_like(probability, dtype=torch.bool), probability
        logits = outcome.termination_logits(state.memory, actions) + self.pessimism
        probability = logits.sigmoid()
        if self.termination_mode == "sample":
            keys = stream_keys(state.seeds, state.frame_index + 1, Purpose.TERMINATION)
            return uniform(keys) < probability, probability
        if self.termination_mode == "threshold":
            return outcome.terminates(logits), probability
        return torch.zeros_like(probability, dtype=torch.bool), probability

    def _reward(self, state: RolloutState, terminated: Tensor) -> Tensor:
        """Reward of the transition into the frame just observed, per stream."""
        outcome = self.world.outcome
        assert outcome is not None
        if self.reward_mode == "expected":
            rewards = outcome.reward(state.memory)
        elif self.reward_mode == "threshold":
            rewards = outcome.reward_mode(state.memory)
        else:
            keys = stream_keys(state.seeds, state.frame_index, Purpose.REWARD)
            rewards = outcome.reward_sample(state.memory, uniform(keys))
        ending = outcome.config.end_reward
        return rewards if ending is None else rewards.masked_fill(terminated, ending)
