"""Blind policies of graded skill: they never look, so their worth is the world's doing alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass
class ScriptState:
    """State of ``B`` scripted streams."""

    clock: np.ndarray
    """int64 (B,), steps since each episode began."""
    last: np.ndarray
    """int64 (B,), the previous action of each stream."""
    generators: list[np.random.Generator]
    """One source of randomness a stream, so that streams never disturb each other."""


@dataclass(frozen=True)
class ScriptedPolicy:
    """Base of the policies that do not look at what they see."""

    name: str
    """Short name for tables."""

    def begin(self, seeds: Sequence[int]) -> ScriptState:
        """State of ``len(seeds)`` streams that start an episode."""
        zeros = np.zeros(len(seeds), np.int64)
        return ScriptState(zeros, zeros.copy(), [np.random.default_rng(s) for s in seeds])

    def restart(self, state: ScriptState, stream: int, seed: int) -> None:
        """Makes one stream start a new episode, in place."""
        state.clock[stream] = state.last[stream] = 0
        state.generators[stream] = np.random.default_rng(seed)

    def act(self, observations: np.ndarray, state: ScriptState) -> np.ndarray:
        """One action a stream, int64 (B,); only the number of observations matters."""
        if len(observations) != len(state.clock):
            raise ValueError(
                f"{len(observations)} observations for a state of {len(state.clock)} streams."
            )
        state.last = self._choose(state)
        state.clock += 1
        return state.last.copy()

    def _choose(self, state: ScriptState) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class ConstantPolicy(ScriptedPolicy):
    """Always the same action."""

    action: int
    """The action."""

    def _choose(self, state: ScriptState) -> np.ndarray:
        return np.full(len(state.clock), self.action, np.int64)


@dataclass(frozen=True)
class UniformPolicy(ScriptedPolicy):
    """Every action equally likely, independently at each step."""

    count: int
    """Number of actions."""
    first: int = 0
    """Smallest action."""

    def _choose(self, state: ScriptState) -> np.ndarray:
        return np.array([self.first + g.integers(self.count) for g in state.generators], np.int64)


@dataclass(frozen=True)
class StickyPolicy(UniformPolicy):
    """Repeats its previous action, or draws a new one uniformly."""

    repeat: float = 0.8
    """Probability of repeating."""

    def _choose(self, state: ScriptState) -> np.ndarray:
        fresh = super()._choose(state)
        draws = np.array([g.random() for g in state.generators])
        return np.where((draws < self.repeat) & (state.clock > 0), state.last, fresh)


@dataclass(frozen=True)
class SweepPolicy(ScriptedPolicy):
    """``half_period`` steps of one action, ``half_period`` of the other, and again."""

    left: int
    """The first action."""
    right: int
    """The second action."""
    half_period: int = 20
    """Steps before turning round."""

    def _choose(self, state: ScriptState) -> np.ndarray:
        return np.where((state.clock // self.half_period) % 2 == 0, self.left, self.right)
