"""Speculation: have the next frame ready before the agent has chosen its action.

A player mostly repeats the last action, and an agent takes time to think. Three ways to use it:

* ``ahead``: while the agent thinks, the step for the action that is expected is computed, and is
  taken over if it was that one. Exact.
* ``branch``: the same for several actions at once, as one batch over the shared past. Exact.
* ``joint``: the paper's. Several frames in one go for a repeated action; those after a changed
  action are thrown away. More frames for about the price of one where launches bind, not
  arithmetic, but not exact: a frame sees its predecessors half denoised.

Exact means: the same frames, rewards and ends as without speculation, for any actions, bit for bit
for the same kernel shapes (``branch`` computes ``K`` rows, so its reference does too).
"""

from world_model.speculation.ahead import AheadRollout
from world_model.speculation.branch import BranchRollout
from world_model.speculation.counts import SpeculationCounts
from world_model.speculation.joint import JointRollout, JointState
from world_model.speculation.modes import MODES, speculative

__all__ = [
    "MODES",
    "AheadRollout",
    "BranchRollout",
    "JointRollout",
    "JointState",
    "SpeculationCounts",
    "speculative",
]
