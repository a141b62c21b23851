"""``joint``: the paper's speculation. Several frames in one go for a repeated action; not exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from world_model.distillation.boundary import anchored
from world_model.errors import ConfigError
from world_model.flow import predict_x0
from world_model.noise import Purpose, normals
from world_model.prefill import as_contexts
from world_model.rollout import Rollout
from world_model.rollout_state import RolloutState
from world_model.speculation.counts import SpeculationCounts
from world_model.speculation.gain import best_joint_depth
from world_model.types import Context, StepOutcome

MEMORY = 50
"""Steps that the rate of repeated actions looks back on."""


@dataclass
class JointState:
    """A rollout's state, the frames drafted beyond it, and those not looked back at yet."""

    base: RolloutState
    """Up to the last frame that was handed out; its ring has room for the drafts."""
    trail: Tensor
    """float32 (B, depth, N, D): frames handed out since the last pass, before the last one, whose
    clean keys and values are still to be computed."""
    trail_actions: Tensor
    """float32 (B, depth, K), the actions that produced them."""
    trailing: Tensor
    """int64 (B,), how many there are."""
    drafts: Tensor
    """float32 (B, depth, N, D): the last frames that were made in one go."""
    first_estimates: Tensor
    """float32 (B, depth, N, D), the first denoising estimates of them."""
    draft_action: Tensor
    """float32 (B, K), the action that they were made for; NaN for none."""
    draft_seeds: Tensor
    """int64 (B,), the noise seeds that they were made with."""
    drafted: Tensor
    """int64 (B,), how many there are."""
    used: Tensor
    """int64 (B,), how many of them have been handed out."""
    steps: Tensor
    """int64 (B,), steps since the episode began."""
    repeat_rate: Tensor
    """float32 (B,), running mean of how often an action was the one before again."""

    @property
    def kind(self) -> str:
        """What a snapshot of this state can be returned to."""
        return f"joint-{self.drafts.shape[1]}"

    @property
    def batch_size(self) -> int:
        """Number of streams."""
        return self.base.batch_size

    @property
    def seeds(self) -> Tensor:
        """int64 (B,), noise seed of each stream."""
        return self.base.seeds

    @property
    def memory(self) -> Tensor:
        """float32 (B, M), memory of the outcome model."""
        return self.base.memory

    def clone(self) -> JointState:
        """A copy that shares no memory with this state."""
        return self._map(torch.clone)

    def select(self, indices: Tensor) -> JointState:
        """The streams at ``indices`` (int64), as a new state."""
        return self._map(lambda tensor: tensor[indices.to(tensor.device)])

    def scatter(self, indices: Tensor, other: JointState) -> JointState:
        """Writes the streams of ``other`` over those at ``indices``, in place; returns self."""
        self.base.scatter(indices, other.base)
        for name in _PLAIN_FIELDS:
            target, source = getattr(self, name), getattr(other, name)
            target[indices.to(target.device)] = source.to(target.device)
        return self

    def to(self, device: torch.device | str) -> JointState:
        """The same state on another device."""
        return self._map(lambda tensor: tensor.to(device))

    def tensors(self) -> list[Tensor]:
        """Every tensor of the state, in a fixed order."""
        return self.base.tensors() + [getattr(self, name) for name in _PLAIN_FIELDS]

    def _map(self, change: Callable[[Tensor], Tensor]) -> JointState:
        plain = {name: change(getattr(self, name)) for name in _PLAIN_FIELDS}
        return JointState(self.base.map(change), **plain)


_PLAIN_FIELDS = [field.name for field in fields(JointState) if field.name != "base"]


class JointRollout:
    """Imagines one stream, up to ``depth`` frames in one go while the action repeats. Not exact.

    The frames of one go attend to each other half denoised, which the network was trained for
    (every frame has a noise level of its own) but which is not what it does a frame at a time. With
    a depth of 1, nothing is speculated and frames equal the plain rollout's.

    On another action than drafted for, what is left is thrown away. Nothing needs to be rolled
    back: in the ring, frames that lie in the future of a query are never seen, and the next pass
    writes over them.

    Args:
        rollout: a plain rollout, whose settings are used.
        depth: frames in one go.
        adaptive: choose the depth up to that by the rate of repeated actions in the episode so far
            and ``marginal_cost``: by nothing that a clock or another episode would change.
        marginal_cost: cost of one more frame in a go, relative to the first; 0.25 is typical of a
            GPU at batch 1, 1 of a CPU.

    Raises:
        ConfigError: if the world's network is given previous frames.
        ValueError: if the depth is below 1.
    """

    def __init__(
        self,
        rollout: Rollout,
        depth: int = 4,
        *,
        adaptive: bool = False,
        marginal_cost: float = 0.25,
    ) -> None:
        if depth < 1:
            raise ValueError(f"speculation_depth must be at least 1, not {depth}.")
        config = rollout.world.network.config
        if config.previous_frames:
            raise ConfigError(
                f"{rollout.world.config.name} cannot speculate jointly: its network is given the "
                f"{config.previous_frames} frames before each frame, and in one go those are still "
                "noise. Use speculation='ahead' or 'branch'."
            )
        self.rollout, self.depth = rollout, depth
        self.adaptive, self.marginal_cost = adaptive, marginal_cost
        self.world, self.device = rollout.world, rollout.device
        self.sampling_steps = rollout.sampling_steps
        self.counts = SpeculationCounts()
        self.state_kind = f"joint-{depth}"
        """Which states it goes on from."""

    @torch.no_grad()
    def begin(self, contexts: Context, seeds: Tensor) -> JointState:
        """As :meth:`Rollout.begin`.

        Raises:
            ContextError: as there.
            ConfigError: for more than one stream.
        """
        if len(seeds) != 1:
            raise _one_stream(len(seeds))
        spare = 2 * self.depth if self.depth > 1 else 0
        base = self.rollout.begin(contexts, seeds, spare_slots=spare)
        batch, tokens, dim = base.latent.shape
        frames = torch.zeros(batch, self.depth, tokens, dim, device=self.device)
        actions = torch.full((batch, self.depth, base.action.shape[1]), torch.nan)
        count = torch.zeros(batch, dtype=torch.int64)
        return JointState(
            base=base,
            trail=frames,
            trail_actions=actions.to(self.device),
            trailing=count.clone(),
            drafts=frames.clone(),
            first_estimates=frames.clone(),
            draft_action=torch.full_like(base.action, torch.nan),
            draft_seeds=base.seeds.clone(),
            drafted=count.clone(),
            used=count.clone(),
            steps=count.clone(),
            repeat_rate=count.float(),
        )

    @torch.no_grad()
    def advance(self, state: JointState, actions: Tensor) -> tuple[JointState, StepOutcome]:
        """As :meth:`Rollout.advance`, for one stream.

        Raises:
            ActionError: as there.
            ConfigError: for more than one stream.
        """
        if state.batch_size != 1:
            raise _one_stream(state.batch_size)
        actions = self.rollout.checked(actions, state.base)
        repeated = torch.equal(state.base.action, actions)
        self.counts.steps += 1
        self.counts.repeats += repeated
        state.steps = state.steps + 1
        share = (float(repeated) - state.repeat_rate) / state.steps.clamp(max=MEMORY)
        state.repeat_rate = state.repeat_rate + share
        left = int(state.drafted) - int(state.used)
        same = torch.equal(state.draft_action, actions)
        if left > 0 and same and torch.equal(state.draft_seeds, state.base.seeds):
            self.counts.accepted += 1
        else:
            self.counts.discarded += left
            self._draft(state, actions)
        base, place = state.base, int(state.used)
        latents = state.drafts[:, place].clone()  # the next go writes over the drafts
        # The frame before the new one has left its clean keys and values if this is a new go.
        if place:
            trailing = int(state.trailing)
            state.trail[:, trailing] = base.latent
            state.trail_actions[:, trailing] = base.action
            state.trailing = state.trailing + 1
        state.used = state.used + 1
        base, outcome = self.rollout.commit(base, actions, latents, state.first_estimates[:, place])
        state.base = base
        return state, outcome

    def hint(self, state: JointState, actions: Tensor) -> None:
        """Takes no notice: frames are drafted for the action that is taken."""

    def close(self) -> None:
        """There is nothing to close."""

    def _draft(self, state: JointState, actions: Tensor) -> None:
        """Makes ``count`` frames in one go, and the clean keys and values of those before them."""
        rollout, base = self.rollout, state.base
        count = self.depth
        if self.adaptive:
            rate = float(state.repeat_rate)
            count = best_joint_depth(rate, self.marginal_cost, self.depth)
        trailing = int(state.trailing)
        clean = torch.cat([state.trail[:, :trailing], base.latent[:, None]], dim=1)
        clean_actions = torch.cat([state.trail_actions[:, :trailing], base.action[:, None]], dim=1)
        back = torch.arange(-trailing, 1, device=self.device)
        clean_index = base.frame_index[:, None] + back
        context = as_contexts(clean, base.seeds, clean_index, rollout.context_noise)
        following = base.frame_index[:, None] + torch.arange(1, count + 1, device=self.device)
        repeated = actions[:, None].expand(-1, count, -1)
        level = torch.full(clean.shape[:2], rollout.context_noise, device=self.device)
        grid, flow, stream = rollout.grid, self.world.flow, rollout.stream
        modulation_of = rollout.modulation
        everywhere = torch.cat([clean_index, following], dim=1)
        cos, sin = rollout.network.rotation(everywhere)
        estimates: list[Tensor] = []

        def draw(step: int) -> Tensor:
            wanted = [(following[:, i], Purpose.SAMPLE, step) for i in range(count)]
            return torch.stack(normals(base.seeds, wanted, tuple(base.latent.shape[1:])), dim=1)

        def estimate(x: Tensor, t: float, step: int) -> Tensor:
            now = torch.full(x.shape[:2], t, device=self.device)
            size = torch.full_like(now, grid[step] - grid[step + 1])
            if step == 0:  # with the clean passes folded in
                modulation = modulation_of(
                    torch.cat([level, now], dim=1),
                    torch.cat([clean_actions, repeated], dim=1),
                    None,
                    torch.cat([torch.zeros_like(level), size], dim=1),
                )
                frames = torch.cat([context, x], dim=1)
                places, turned = everywhere, (cos, sin)
            else:
                modulation = modulation_of(now, repeated, None, size)
                frames, places = x, following
                turned = cos[:, -count:], sin[:, -count:]
            raw = stream(frames, modulation, places, base.cache, emit=count, turned=turned)
            assert raw is not None
            flat, levels = x.flatten(0, 1), now.flatten()
            x0 = predict_x0(raw.flatten(0, 1), flat, levels, None, flow)
            if flow.blended:
                x0 = anchored(flat, levels, x0)
            x0 = x0.unflatten(0, x.shape[:2])
            if not estimates:
                estimates.append(x0)
            return x0

        made = rollout.sample(draw, grid, estimate)
        state.drafts[:, :count], state.first_estimates[:, :count] = made, estimates[0]
        state.draft_action, state.draft_seeds = actions.clone(), base.seeds.clone()
        state.drafted = torch.full_like(state.drafted, count)
        state.used, state.trailing = torch.zeros_like(state.used), torch.zeros_like(state.trailing)


def _one_stream(found: int) -> ConfigError:
    return ConfigError(
        f"joint speculation imagines one stream, not {found}: streams change their actions at "
        "different times. Use speculation='off' for a batch."
    )
