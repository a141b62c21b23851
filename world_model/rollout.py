"""Streaming imagination: frame after frame from a world, with explicit state.

One :meth:`Rollout.advance` is one environment step. The clean pass that turns the last frame into
cached keys and values is folded into the first denoising pass of the next frame, so with a
one-step sampler a step of the environment is one forward pass of the transformer.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from world_model.compiling import CompiledParts
from world_model.distillation.boundary import anchored
from world_model.errors import ActionError
from world_model.flow import add_noise, predict_x0
from world_model.frame_outcome import FrameOutcome
from world_model.modulation_table import ModulationTable, fits
from world_model.noise import Purpose, normals, quantiles
from world_model.precision import choose_precision
from world_model.prefill import prefill
from world_model.rollout_state import RolloutState
from world_model.samplers import draws_of, get_sampler, time_grid
from world_model.step_graphs import StepGraphs
from world_model.types import Context, StepOutcome
from world_model.world import World


class Rollout:
    """Imagines ``B`` independent streams in a world.

    Args:
        world: the world; its modules are moved to ``device`` and never written to, so that many
            rollouts can share it.
        sampling_steps: denoising steps per frame; None for the world's default.
        sampler: ``euler``, ``dpmpp2m`` or ``consistency``; None for the world's default.
        device: where to compute.
        reward_mode: ``expected`` value, a ``sample``, or the most likely value (``threshold``).
        termination_mode: ``sample`` with the predicted probability, ``threshold`` where it exceeds
            the one that calibration found best (one half in a world without), or ``never``.
        pessimism: added to the logit of termination: above 0 episodes end sooner than the world
            believes, with odds ``exp(pessimism)`` times as high. For training agents, which find
            whatever a world is too lenient about.
        context_noise: noise level t in [0, 1) of frames looked back at; None for the world's.
        precision: of the transformer's matrix products: ``float32``, ``bfloat16``, or ``auto``
            for the faster of the two on this hardware. With float32 on a CPU a stream does not
            depend on the batch it sits in; else it does in the last digit, of which a world may
            make more with every step, though each batch is reproducible.
        cuda_graphs: on a GPU, capture steps of shapes that come back, and replay them whole.
        compile: compile a step's parts with ``torch.compile``: it is faster, after a minute or more
            at the first one of each batch size. Needs a C++ compiler on a CPU; where there is none,
            steps are taken as they are, with a warning. The last digit differs from one that is not
            compiled.

    Raises:
        ValueError: if an option is unknown.
    """

    def __init__(
        self,
        world: World,
        *,
        sampling_steps: int | None = None,
        sampler: str | None = None,
        device: torch.device | str = "cpu",
        reward_mode: str = "expected",
        termination_mode: str = "sample",
        pessimism: float = 0.0,
        context_noise: float | None = None,
        precision: str = "float32",
        cuda_graphs: bool = True,
        compile: bool = False,
    ) -> None:
        self.device = torch.device(device)
        self.world = world.to(self.device)
        dtype = choose_precision(precision, self.device)
        self.network = world.network_in(dtype)
        self.tokenizer = world.tokenizer.in_precision(dtype)
        config = world.config
        self.outcome = FrameOutcome(
            self.world, self.tokenizer, self.device, reward_mode, termination_mode, pessimism
        )
        self.sampler = config.sampler if sampler is None else sampler
        self.sample = get_sampler(self.sampler)
        self._set_steps(config.sampling_steps if sampling_steps is None else sampling_steps)
        self.context_noise = config.context_noise if context_noise is None else context_noise
        if not 0 <= self.context_noise < 1:
            raise ValueError(f"context_noise must lie in [0, 1), not {self.context_noise}.")
        replays = cuda_graphs and self.device.type == "cuda"
        self.graphs = StepGraphs(self.device) if replays else None
        self.compiled = CompiledParts(self.network, self.outcome.settle) if compile else None

    # -- the contract ----------------------------------------------------------------------------

    def begin(self, contexts: Context, seeds: Tensor, *, spare_slots: int = 0) -> RolloutState:
        """Starts one stream per context: encodes all of its frames but the last, in one pass.

        Args:
            contexts: at least one frame per stream, all streams with equally many.
            seeds: int64 (B,), noise seed of each stream.
            spare_slots: room in the rings for more frames at once than a step needs.

        Raises:
            ContextError: if frames, actions or seeds do not fit the world or each other.
        """
        return prefill(
            contexts,
            seeds,
            world=self.world,
            network=self.network,
            tokenizer=self.tokenizer,
            noise_level=self.context_noise,
            spare_slots=spare_slots,
        )

    @torch.no_grad()
    def advance(self, state: RolloutState, actions: Tensor) -> tuple[RolloutState, StepOutcome]:
        """One step of every stream.

        Args:
            state: reused for the result; clone it first if it is needed again.
            actions: float32 (B, K), encoded by the world's ActionSpec, never null.

        Returns:
            The new state, and what the step brought.

        Raises:
            ActionError: if the actions have the wrong shape or one of them is null.
        """
        actions = self.checked(actions, state)
        self._renew_table()
        if self.graphs is None:
            state, outcome = self._step(state, actions)
        else:
            state, outcome = self.graphs.advance(self._step, state, actions, self._weights())
        state.cache.unfilled = max(0, state.cache.unfilled - 1)
        return state, outcome

    @property
    def stream(self) -> Callable[..., Tensor | None]:
        """The transformer's pass, compiled where that was asked for."""
        return self.network.stream if self.compiled is None else self.compiled.stream

    @property
    def modulation(self) -> Callable[..., Tensor]:
        """What noise levels and actions make of the transformer's blocks, compiled as its pass."""
        return self.network.modulation if self.compiled is None else self.compiled.modulation

    def checked(self, actions: Tensor, state: RolloutState) -> Tensor:
        """``actions`` on the rollout's device, float32 (B, K).

        Raises:
            ActionError: if they have the wrong shape or one of them is null.
        """
        actions = actions.to(self.device, torch.float32)
        if actions.shape != state.action.shape:
            raise ActionError(
                f"actions have shape {tuple(actions.shape)}; expected {tuple(state.action.shape)}."
            )
        if actions.isnan().any():
            raise ActionError("an action contains NaN. Encode it with the world's ActionSpec.")
        return actions

    def commit(
        self, state: RolloutState, actions: Tensor, latents: Tensor, first_estimate: Tensor
    ) -> tuple[RolloutState, StepOutcome]:
        """Makes sampled tokens the last frame: what it looks like, earns and ends.

        Args:
            state: of the frame before; reused.
            actions: float32 (B, K), what produced the frame.
            latents: float32 (B, N, D), the frame as it was sampled.
            first_estimate: float32 (B, N, D), the first denoising estimate of it.
        """
        # Of a single denoising step there is one estimate only; then what counts is what is new.
        guess = first_estimate if self.sampling_steps > 1 else state.latent
        settle = self.outcome.settle if self.compiled is None else self.compiled.outcome
        return settle(state, actions, latents, guess)

    def with_sampling_steps(self, steps: int) -> Rollout:
        """The same rollout with another number of denoising steps; either goes on from any state.

        The network is shared, and so is what was compiled.

        Raises:
            ValueError: if it is below 1.
        """
        other = copy(self)
        other.compiled = self.compiled
        other._set_steps(steps)
        return other

    def __getstate__(self) -> dict[str, Any]:
        """For copies: all but what is captured and compiled, tied to its buffers and network."""
        made = {name: self.__dict__[name] is not None for name in ("graphs", "compiled")}
        return {**self.__dict__, **made, "_table": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """See :meth:`__getstate__`."""
        self.__dict__.update(state)
        self.graphs = StepGraphs(self.device) if state["graphs"] else None
        made = state["compiled"]
        self.compiled = CompiledParts(self.network, self.outcome.settle) if made else None

    # -- the parts -------------------------------------------------------------------------------

    def _set_steps(self, steps: int) -> None:
        self.sampling_steps = steps
        self.grid = time_grid(steps, self.world.config.sampling_shift)
        self._draws = draws_of(self.sampler, steps)
        self._table: ModulationTable | None = None

    def _step(self, state: RolloutState, actions: Tensor) -> tuple[RolloutState, StepOutcome]:
        """See :meth:`advance`; nothing here waits for the device, so that it can be captured."""
        latents, first_estimate = self._denoise(state, actions)
        return self.commit(state, actions, latents, first_estimate)

    def _weights(self) -> tuple[int, ...]:
        """Where the weights lie: a world that was moved in the meantime has others."""
        modules: list[nn.Module] = [self.network, self.tokenizer]
        if self.world.outcome is not None:
            modules.append(self.world.outcome)
        first = [next(module.parameters(), None) for module in modules]
        read: list[Tensor] = [parameter for parameter in first if parameter is not None]
        if self._table is not None:
            read.append(self._table.rows)
        return tuple(tensor.data_ptr() for tensor in read)

    def _renew_table(self) -> None:
        """Makes the table of modulations, and makes it anew if the weights are others by now."""
        if self._table is not None and self._table.is_current():
            return
        if fits(self.network, self.world.action_spec, self.sampling_steps):
            self._table = ModulationTable(
                self.network, self.world.action_spec, self.context_noise, self.grid
            )

    def _denoise(self, state: RolloutState, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Samples the next frame's tokens; also returns the first estimate of them."""
        network, flow = self.network, self.world.flow
        index = state.frame_index
        following = index + 1
        wanted = [(following, Purpose.SAMPLE, step) for step in range(self._draws)]
        if self.context_noise:
            wanted += [(index, Purpose.CONTEXT, 0), (index, Purpose.PREVIOUS, 0)]
        table = quantiles(self.device)
        draw = normals if self.compiled is None else self.compiled.noise
        noise = draw(state.seeds, wanted, tuple(state.latent.shape[1:]), table)
        level = torch.full_like(state.previous_t, self.context_noise)
        context = last = state.latent
        if self.context_noise:
            context, last = (add_noise(state.latent, part, level) for part in noise[-2:])
        previous = torch.cat([last, state.previous], -1)[..., : state.previous.shape[-1]]
        estimates: list[Tensor] = []
        full = state.cache.unfilled == 0
        modulations = self._modulations(state, actions, level)
        places = torch.stack([index, following], dim=1)
        cos, sin = network.rotation(places)

        def estimate(x: Tensor, t: float, step: int) -> Tensor:
            modulation = modulations[:, :2] if step == 0 else modulations[:, step + 1, None]
            if self.compiled is not None:
                # Compiled for one layout, whatever the number of passes that it was made for.
                modulation = modulation.clone(memory_format=torch.contiguous_format)
            if step == 0:  # with the clean pass of the last frame folded in
                raw = self.stream(
                    torch.stack([context, x], dim=1),
                    modulation,
                    places,
                    state.cache,
                    torch.stack([state.previous, previous], dim=1),
                    full=full,
                    turned=(cos, sin),
                )
            else:
                raw = self.stream(
                    x[:, None],
                    modulation,
                    places[:, 1:],
                    state.cache,
                    previous[:, None],
                    full=full,
                    turned=(cos[:, 1:], sin[:, 1:]),
                )
            assert raw is not None
            base = previous if network.config.previous_frames else None
            now = torch.full_like(level, t)
            x0 = predict_x0(raw[:, 0], x, now, base, flow)
            if flow.blended:
                x0 = anchored(x, now, x0)
            if not estimates:
                estimates.append(x0)
            return x0

        latents = self.sample(noise.__getitem__, self.grid, estimate)
        state.previous, state.previous_t = previous, level
        return latents, estimates[0]

    def _modulations(self, state: RolloutState, actions: Tensor, level: Tensor) -> Tensor:
        """What noise levels and actions make of the last frame and of the next one in each pass."""
        if self._table is not None:
            return self._table.look_up(state.action, state.previous_t, actions)
        passes = self.sampling_steps
        times = torch.stack([level, *(torch.full_like(level, t) for t in self.grid[:-1])], dim=1)
        steps = [torch.full_like(level, t - below) for t, below in pairwise(self.grid)]
        sizes = torch.stack([torch.zeros_like(level), *steps], dim=1)
        taken = torch.stack([state.action, *[actions] * passes], dim=1)
        previous_t = torch.stack([state.previous_t, *[level] * passes], dim=1)
        whole = (times, taken, previous_t, sizes)
        if self.compiled is None:
            return self.network.modulation(*whole)
        # As the passes are: compiled for the same shapes, whatever their number.
        spans = [slice(0, 2), *(slice(i, i + 1) for i in range(2, 1 + passes))]
        layout = torch.contiguous_format
        parts = [[part[:, span].clone(memory_format=layout) for part in whole] for span in spans]
        return torch.cat([self.modulation(*part) for part in parts], dim=1)
