"""What ``ahead`` and ``branch`` share: steps prepared by a background thread for one stream."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from world_model.errors import ActionError
from world_model.protocol import RolloutProtocol
from world_model.speculation.counts import SpeculationCounts
from world_model.speculation.drafts import Drafts
from world_model.speculation.stamp import Stamp, can_be_stamped
from world_model.speculation.worker import Chain, Worker
from world_model.types import Context, StepOutcome


class BackgroundRollout:
    """A rollout of one stream that prepares steps before they are asked for.

    The state of a step is never written to by what is computed in the background, so frames,
    rewards and ends are those of the plain rollout, whatever is expected, reset, restored or
    branched in the meantime: work that turns out useless is only lost. A state that torch has seen
    written to is computed anew. Under autocast, and on a CUDA stream of one's own, which the
    background thread would not share, nothing is prepared.

    Args:
        rollout: what imagines.
    """

    def __init__(self, rollout: RolloutProtocol[Any]) -> None:
        self.rollout = rollout
        self.world: Any = rollout.world  # type: ignore[attr-defined]
        self.device = torch.device(getattr(rollout, "device", "cpu"))
        self.sampling_steps = int(getattr(rollout, "sampling_steps", 1))
        self.counts = SpeculationCounts()
        self._drafts = Drafts(self.world.action_spec)
        self._worker = Worker()
        self._chain: Chain | None = None
        self._parent: Any = None
        self._stamp: Stamp | None = None

    def begin(self, contexts: Context, seeds: Tensor) -> Any:
        """As :meth:`world_model.rollout.Rollout.begin`."""
        self._drop()
        self._drafts.forget()
        state = self.rollout.begin(contexts, seeds)
        self._prepare(state)
        return state

    def advance(self, state: Any, actions: Tensor) -> tuple[Any, StepOutcome]:
        """As :meth:`world_model.rollout.Rollout.advance`."""
        if state.batch_size != 1:  # a batch of futures that somebody branched off
            return self.rollout.advance(state, actions)
        if actions.shape != (1, self.world.action_spec.dim):
            raise ActionError(
                f"actions have shape {tuple(actions.shape)}; expected "
                f"{(1, self.world.action_spec.dim)}."
            )
        # A copy: the caller may use the memory again, and we compare with it later.
        taken = actions.detach().cpu().float().clone()
        state, outcome = self._step(state, actions, taken)
        self.counts.steps += 1
        self.counts.repeats += self._drafts.note(taken)
        if self._chain is None:
            self._prepare(state)
        else:  # a longer one goes on
            self._parent, self._stamp = state, Stamp(state)
        return state, outcome

    def hint(self, state: Any, actions: Tensor) -> None:
        """Names likely next actions, float32 (n, K) encoded, the likeliest first.

        Raises:
            ActionError: if they do not fit the world.
        """
        self._drafts.hint(actions)
        if self._chain is not None and self._is_of(state) and self._is_what_is_drafted():
            return
        self._drop()
        self._prepare(state)

    def close(self) -> None:
        """Ends the background thread; the next step would start it anew."""
        self._drop()
        self._worker.close()

    def __getstate__(self) -> dict[str, Any]:
        """For copies: all but what is being computed."""
        own = {"_worker": Worker(), "_chain": None, "_parent": None, "_stamp": None}
        return {**self.__dict__, **own}

    # -- for the two modes -----------------------------------------------------------------------

    def _step(self, state: Any, actions: Tensor, taken: Tensor) -> tuple[Any, StepOutcome]:
        """The step, prepared or not."""
        raise NotImplementedError

    def _prepare(self, state: Any) -> None:
        """Starts on the next step from ``state``, if that can be done."""
        raise NotImplementedError

    def _is_what_is_drafted(self) -> bool:
        """Whether what is being prepared is still what is likely."""
        raise NotImplementedError

    def _lost(self, chain: Chain) -> int:
        """Frames of a chain that nobody asked for."""
        raise NotImplementedError

    # -- parts of the above ----------------------------------------------------------------------

    def _can_prepare(self, state: Any) -> bool:
        kind = self.device.type
        own_stream = kind == "cuda" and torch.cuda.current_stream(
            self.device
        ) != torch.cuda.default_stream(self.device)
        return (
            state.batch_size == 1
            and can_be_stamped(state)
            and not torch.is_autocast_enabled(kind)
            and not own_stream
        )

    def _start(self, state: Any, chain: Chain) -> None:
        self._chain, self._parent, self._stamp = chain, state, Stamp(state)
        self._worker.start(chain, self.rollout)

    def _is_of(self, state: Any) -> bool:
        """Whether what is being prepared starts from ``state``, as it is now."""
        return (
            self._chain is not None
            and self._chain.alive
            and state is self._parent
            and self._can_prepare(state)
            and self._stamp is not None
            and self._stamp.fits(state)
        )

    def _drop(self) -> None:
        """Forgets what is being computed."""
        chain, self._chain, self._parent, self._stamp = self._chain, None, None, None
        if chain is None:
            return
        chain.release()
        lost = self._lost(chain)
        self.counts.discarded += lost
        self.counts.wasted_passes += self._wasted(lost)

    def _wasted(self, lost: int) -> int:
        """Passes of the transformer that went into ``lost`` frames."""
        return lost * self.sampling_steps
