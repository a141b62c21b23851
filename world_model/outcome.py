"""The outcome model: what a transition earns and whether it ends the episode.

A small recurrent network that watches the frames of a stream and the actions between them. It is
separate from the frame model, whose features of a frame arrive one step late and whose attention
window forgets what ended an episode: damage taken long ago.

* The reward of the transition t -> t + 1 is read from the memory after frame t + 1.
* Its termination is read from the memory after frame t and the action a_t, because the frame
  after the last action may not exist.

The termination head is a hazard: the probability that an episode alive at frame t ends with this
transition, given everything seen so far. Both heads are independent of each other. While training,
further heads predict what the real environment knew (health, and its change with every step), so
that the memory learns to count it; nothing at run time needs them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from world_model import two_hot
from world_model.action_spec import ActionSpec
from world_model.embeddings import ActionEmbedding
from world_model.errors import ActionError, DataError
from world_model.outcome_config import OutcomeConfig
from world_model.vector_linear import VectorLinear, each_by_itself


@dataclass(frozen=True)
class OutcomeSequence:
    """Predictions for ``B`` sequences of ``T`` frames."""

    rewards: Tensor
    """float32 (B, T), expected reward of the transition into each frame."""
    termination_logits: Tensor
    """float32 (B, T), calibrated logit that each next action ends the episode."""
    states: Tensor
    """float32 (B, T, S), expected privileged state at each frame."""
    memory: Tensor
    """float32 (B, M), memory after the last frame."""
    raw_termination_logits: Tensor
    """float32 (B, T), before calibration."""
    reward_scores: Tensor
    """float32 (B, T, bins), logits over the reward support."""
    state_scores: tuple[Tensor, ...]
    """Per supervised state: float32 (B, T, bins)."""
    change_scores: tuple[Tensor, ...]
    """The same for its change into each frame."""
    next_change_scores: tuple[Tensor, ...]
    """The same for its change out of each frame, under the next action."""


class OutcomeModel(nn.Module):
    """Rewards and terminations from frames and actions, with an explicit recurrent memory.

    The memory is one float32 vector per stream: the recurrent state, and the number of frames
    seen. It does not grow, and no state hides in the module.
    """

    termination_scale: Tensor
    termination_bias: Tensor
    termination_threshold: Tensor
    reward_support: Tensor

    def __init__(self, config: OutcomeConfig, action_spec: ActionSpec) -> None:
        super().__init__()
        self.config = config
        self.action_spec = action_spec
        self.embed_action = ActionEmbedding(action_spec, config.action_embedding)
        height, width, previous = config.frame_shape
        levels: list[nn.Module] = []
        for channels in config.channels:
            convolution = nn.Conv2d(previous, channels, 3, stride=2, padding=1)
            # channels_last is how uint8 (H, W, 3) frames lie already, and fast on CPUs.
            kernel = convolution.weight.data
            convolution.weight.data = kernel.contiguous(memory_format=torch.channels_last)
            levels += [convolution, nn.SiLU()]
            height, width, previous = (height + 1) // 2, (width + 1) // 2, channels
        self.memory_size = config.hidden + 1

        # The grid is flattened, not pooled: where a fireball is decides whether it hits.
        self.embed = nn.Sequential(
            *levels,
            nn.Flatten(),
            VectorLinear(previous * height * width, config.embedding),
            nn.LayerNorm(config.embedding),
            nn.SiLU(),
            nn.Dropout(config.dropout),
        )
        inputs = config.embedding + config.action_embedding + 1
        self.input_gates = VectorLinear(inputs, 3 * config.hidden)
        self.hidden_gates = VectorLinear(config.hidden, 3 * config.hidden)
        nn.init.orthogonal_(self.hidden_gates.weight)
        # Begin by remembering: the update gate keeps most of the old state.
        nn.init.constant_(self.hidden_gates.bias[config.hidden : 2 * config.hidden], 1.0)

        self.reward_head = _head(config, config.hidden, len(config.reward_support))
        self.termination_trunk = _trunk(config, config.hidden + config.action_embedding + 1)
        self.termination_out = VectorLinear(config.head, 1)
        self._bins = [len(support) for support in (*config.state_supports, *config.change_supports)]
        self._next_bins = [len(support) for support in config.change_supports]
        if config.state_names:
            self.state_head = _head(config, config.hidden, sum(self._bins))
            self.next_change_out = VectorLinear(config.head, sum(self._next_bins))

        self.register_buffer("termination_scale", torch.ones(()))
        self.register_buffer("termination_bias", torch.zeros(()))
        # Logit above which the mode "threshold" ends an episode: 0 is a probability of one half.
        self.register_buffer("termination_threshold", torch.zeros(()))
        self._register_support("reward_support", config.reward_support)
        for i, support in enumerate(config.state_supports):
            self._register_support(f"state_support_{i}", support)

    # -- one step at a time --------------------------------------------------------------------

    def initial_memory(self, batch: int, device: torch.device | str | None = None) -> Tensor:
        """Memory (B, M) of streams that have seen nothing: right at the start of an episode."""
        device = device if device is not None else self.reward_support.device
        return torch.zeros(batch, self.memory_size, device=device)

    def observe(self, memory: Tensor, frames: Tensor, actions: Tensor) -> Tensor:
        """Memory after one more frame.

        Args:
            memory: float32 (B, M), before the frame.
            frames: uint8 (B, H, W, 3).
            actions: float32 (B, K), the action that produced the frame; NaN rows are null.

        Raises:
            DataError: if the frames or the memory have another shape or dtype.
            ActionError: if the actions have another shape.
        """
        self._check(memory, frames, actions, steps=())
        hidden, age = memory[:, :-1], memory[:, -1:]
        hidden = self._recur(self._gates(frames, actions, age), hidden)
        return torch.cat([hidden, age + 1], dim=1)

    def reward(self, memory: Tensor) -> Tensor:
        """Expected reward (B,) of the transition into the frame that was observed last."""
        return two_hot.expectation(self.reward_scores(memory), self.reward_support)

    def reward_mode(self, memory: Tensor) -> Tensor:
        """Most probable reward (B,) of that transition."""
        return two_hot.mode(self.reward_scores(memory), self.reward_support)

    def reward_sample(self, memory: Tensor, uniform: Tensor) -> Tensor:
        """A reward (B,) drawn by ``uniform`` (B,), numbers in [0, 1): a pure function of both."""
        return two_hot.sample(self.reward_scores(memory), self.reward_support, uniform)

    def states(self, memory: Tensor) -> Tensor:
        """Expected state (B, S) after the frame that was observed last, ``config.state_names``."""
        if not self.config.state_names:
            return memory.new_zeros(len(memory), 0)
        scores = self.state_head(memory[:, :-1]).float().split(self._bins, dim=-1)
        return self._expected_states(scores[: len(self._next_bins)])

    def expected_changes(self, memory: Tensor, actions: Tensor) -> Tensor:
        """Expected change (B, S) of each state that taking ``actions`` (B, K) now brings.

        Raises:
            ActionError: if the actions have the wrong shape.
        """
        if actions.shape != (len(memory), self.action_spec.dim):
            raise self._wrong_actions(actions, (len(memory), self.action_spec.dim))
        if not self.config.state_names:
            return memory.new_zeros(len(memory), 0)
        foreseen = self._foresee(memory[:, :-1], actions, memory[:, -1:])
        scores = self.next_change_out(foreseen).float().split(self._next_bins, dim=-1)
        return torch.stack(
            [
                two_hot.expectation(score, score.new_tensor(support))
                for score, support in zip(scores, self.config.change_supports, strict=True)
            ],
            dim=-1,
        )

    def reward_scores(self, memory: Tensor) -> Tensor:
        """Logits (B, bins) of the reward over ``config.reward_support``."""
        return self.reward_head(memory[:, :-1]).float()

    def termination_logits(self, memory: Tensor, actions: Tensor) -> Tensor:
        """Calibrated logit (B,) that taking ``actions`` (B, K) now ends the episode."""
        if actions.shape != (len(memory), self.action_spec.dim):
            raise self._wrong_actions(actions, (len(memory), self.action_spec.dim))
        hidden, age = memory[:, :-1], memory[:, -1:]
        return self._calibrate(self.termination_out(self._foresee(hidden, actions, age)))

    def terminates(self, logits: Tensor, uniform: Tensor | None = None) -> Tensor:
        """Whether episodes end, bool like ``logits``.

        With ``uniform`` (numbers in [0, 1)) a draw: True with probability ``sigmoid(logits)``.
        Without, True where the logit exceeds ``termination_threshold``, which calibration sets
        where F1 is best: a hazard of a few percent a step hardly ever passes one half.
        """
        if uniform is None:
            return logits > self.termination_threshold
        return uniform < logits.sigmoid()

    # -- whole sequences -----------------------------------------------------------------------

    def forward_sequence(
        self,
        frames: Tensor,
        actions: Tensor,
        next_actions: Tensor,
        memory: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> OutcomeSequence:
        """Observes ``T`` frames in one pass; equal to ``T`` times :meth:`observe` and the heads.

        Args:
            frames: uint8 (B, T, H, W, 3).
            actions: float32 (B, T, K); ``actions[:, i]`` produced frame i, NaN rows are null.
            next_actions: float32 (B, T, K); ``next_actions[:, i]`` is taken at frame i. NaN rows,
                where no action was taken, give a termination logit without meaning.
            memory: float32 (B, M) before the first frame; None for a fresh one.
            resets: bool (B, T), True where the memory is emptied before the frame, that is, where
                another episode starts; None for nowhere.

        Raises:
            DataError: if frames, memory or resets have another shape or dtype.
            ActionError: if the actions have another shape.
        """
        batch, steps = frames.shape[:2]
        memory = self.initial_memory(batch, frames.device) if memory is None else memory
        self._check(memory, frames, actions, steps=(steps,))
        if next_actions.shape != actions.shape:
            raise self._wrong_actions(next_actions, tuple(actions.shape))
        if resets is None:
            resets = torch.zeros(batch, steps, dtype=torch.bool, device=frames.device)
        elif resets.shape != (batch, steps):
            raise DataError(f"resets have shape {tuple(resets.shape)}; expected {(batch, steps)}.")
        keep = (~resets).float()
        ages = _ages(memory[:, -1], resets)  # (B, T), before each frame
        gates = self._gates(frames.flatten(0, 1), actions.flatten(0, 1), ages.reshape(-1, 1))
        gates = gates.unflatten(0, (batch, steps))
        state, states = memory[:, :-1], []
        for step in range(steps):
            state = self._recur(gates[:, step], state * keep[:, step, None])
            states.append(state)
        hidden = torch.stack(states, dim=1)  # (B, T, hidden)
        memory = torch.cat([state, ages[:, -1:] + 1], dim=1)
        return self._predict(hidden, next_actions, ages.unsqueeze(-1) + 1, memory)

    def _predict(
        self, hidden: Tensor, actions: Tensor, ages: Tensor, memory: Tensor
    ) -> OutcomeSequence:
        reward_scores = self.reward_head(hidden).float()
        foreseen = self._foresee(hidden, actions, ages)
        raw = self.termination_out(foreseen).float()
        levels: tuple[Tensor, ...] = ()
        changes: tuple[Tensor, ...] = ()
        next_changes: tuple[Tensor, ...] = ()
        states = hidden.new_zeros((*hidden.shape[:2], 0), dtype=torch.float32)
        if self.config.state_names:
            scores = self.state_head(hidden).float().split(self._bins, dim=-1)
            levels = scores[: len(self._next_bins)]
            changes = scores[len(self._next_bins) :]
            next_changes = self.next_change_out(foreseen).float().split(self._next_bins, dim=-1)
            states = self._expected_states(levels)
        return OutcomeSequence(
            rewards=two_hot.expectation(reward_scores, self.reward_support),
            termination_logits=self._calibrate(raw),
            states=states,
            memory=memory,
            raw_termination_logits=raw.squeeze(-1),
            reward_scores=reward_scores,
            state_scores=levels,
            change_scores=changes,
            next_change_scores=next_changes,
        )

    def features(self, frames: Tensor) -> Tensor:
        """What the model sees in frames uint8 (N, H, W, 3): (N, embedding)."""
        images = frames.permute(0, 3, 1, 2).float() / 127.5 - 1
        if len(images) == 1 and each_by_itself(images):
            # A single image is convolved in another order than one of several, with another last
            # digit; so it is given company.
            return self.embed(images.expand(2, -1, -1, -1))[:1]
        return self.embed(images)

    # -- parts ---------------------------------------------------------------------------------

    def _gates(self, frames: Tensor, actions: Tensor, age: Tensor) -> Tensor:
        """What frames (N, H, W, 3), actions and ages tell the memory: (N, 3 * hidden)."""
        embedded = self.features(frames)
        inputs = [embedded, self.embed_action(actions), _clock(age)]
        return self.input_gates(torch.cat([part.to(embedded.dtype) for part in inputs], dim=-1))

    def _recur(self, gates: Tensor, hidden: Tensor) -> Tensor:
        """One step of a gated recurrent unit, in float32: a memory kept in bf16 would drift."""
        size = self.config.hidden
        ours, theirs = gates.float(), self.hidden_gates(hidden).float()
        reset, update = (ours[:, : 2 * size] + theirs[:, : 2 * size]).sigmoid().chunk(2, dim=1)
        new = torch.tanh(ours[:, 2 * size :] + reset * theirs[:, 2 * size :])
        return new + update * (hidden - new)

    def _foresee(self, hidden: Tensor, actions: Tensor, age: Tensor) -> Tensor:
        parts = [hidden, self.embed_action(actions), _clock(age)]
        return self.termination_trunk(torch.cat(parts, dim=-1))

    def _expected_states(self, levels: tuple[Tensor, ...]) -> Tensor:
        expected = [
            two_hot.expectation(level, self.get_buffer(f"state_support_{i}"))
            for i, level in enumerate(levels)
        ]
        return torch.stack(expected, dim=-1)

    def _calibrate(self, raw: Tensor) -> Tensor:
        return raw.float().squeeze(-1) * self.termination_scale + self.termination_bias

    def _register_support(self, name: str, support: tuple[float, ...]) -> None:
        # Not saved with the weights: the config holds it.
        self.register_buffer(name, torch.tensor(support, dtype=torch.float32), persistent=False)

    def _check(self, memory: Tensor, frames: Tensor, actions: Tensor, steps: tuple) -> None:
        shape = (len(memory), *steps, *self.config.frame_shape)
        if frames.shape != shape or frames.dtype != torch.uint8:
            raise DataError(
                f"frames are {frames.dtype} of shape {tuple(frames.shape)}; expected torch.uint8 "
                f"of shape {shape}."
            )
        if memory.shape != (len(frames), self.memory_size):
            raise DataError(
                f"outcome memory has shape {tuple(memory.shape)}; expected "
                f"{(len(frames), self.memory_size)}. It belongs to another outcome model."
            )
        expected = (len(memory), *steps, self.action_spec.dim)
        if actions.shape != expected:
            raise self._wrong_actions(actions, expected)

    @staticmethod
    def _wrong_actions(actions: Tensor, expected: tuple[int, ...]) -> ActionError:
        return ActionError(f"actions have shape {tuple(actions.shape)}; expected {expected}.")


def _trunk(config: OutcomeConfig, inputs: int) -> nn.Sequential:
    layers = (VectorLinear(inputs, config.head), nn.LayerNorm(config.head), nn.SiLU())
    return nn.Sequential(*layers, nn.Dropout(config.dropout))


def _head(config: OutcomeConfig, inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*_trunk(config, inputs), VectorLinear(config.head, outputs))


def _clock(age: Tensor) -> Tensor:
    """Time since the start on a log scale, 0..1 over a thousand frames; it stays there."""
    return (torch.log1p(age) / 7.0).clamp(max=1.0)


def _ages(start: Tensor, resets: Tensor) -> Tensor:
    """Frames seen before each frame (B, T), from ``start`` (B,) and counted anew at resets."""
    steps = resets.shape[1]
    index = torch.arange(steps, device=resets.device).expand_as(resets)
    last_reset = torch.where(resets, index, -1).cummax(dim=1).values
    return torch.where(last_reset >= 0, index - last_reset, index + start[:, None])
