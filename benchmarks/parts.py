"""The parts of the suite, one module each, behind one small interface."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any, Literal

from rich.console import Console

from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.held_out import HeldOut, open_held_out

CLIPS = ("clips", "horizon")
SAME_CLIPS = ("split", "seed", "clips", "horizon", "context")
AGENTS = ("policies", "agents", "training", "real_env")
SAME_AGENTS = (
    "policies", "training.steps", "training.seeds", "training.episodes", "training.rollout",
)  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """What the parts measure."""

    options: EvaluateOptions
    """How."""
    console: Console
    """For progress and tables."""
    world: Any
    """The world, ours or anything that ``benchmarks/imagined_env.py`` adapts."""

    @cached_property
    def held_out(self) -> HeldOut:
        """The clips that several parts look at, made where the first of them asks.

        Raises:
            NFDError: if the data set is missing, or does not fit the world.
        """
        return open_held_out(self.options, self.console, self.world)


@dataclass(frozen=True)
class SuitePart:
    """One part: what measures it, and what decides its figures.

    Its module has a function ``run`` that measures, leaves one JSON document and pictures in the
    folder, prints tables, and returns the document.
    """

    module: str
    """Where ``run`` is."""
    tier: Literal["a", "b"]
    """a: how a world looks and behaves; b: what it is worth for decisions."""
    options: tuple[str, ...]
    """Options that decide its figures and not those of every part; the rest of them are left out of
    the command that repeats it."""
    protocol: tuple[str, ...]
    """Settings that must be equal for two documents to be put side by side; a dot leads to one
    within another."""
    of_clips: bool = True
    """Whether it imagines held-out clips again."""
    needed: tuple[str, ...] = ()
    """What every release wrote for each number of sampling steps, and a page cannot do without."""

    def measure(self, bench: Bench) -> dict[str, Any]:
        """Measures it, and returns its document.

        Raises:
            NFDError: if it cannot be measured.
        """
        run = import_module(self.module).run
        if self.of_clips:
            document: dict[str, Any] = run(bench.options, bench.console, held_out=bench.held_out)
        else:
            document = run(bench.options, bench.console, bench.world)
        return document


def _of_clips(module: str, *options: str, needed: tuple[str, ...] = ()) -> SuitePart:
    """A part of tier a that imagines held-out clips again; ``options``: beside those of clips."""
    return SuitePart(module, "a", (*CLIPS, *options), (*SAME_CLIPS, *options), needed=needed)


PARTS: dict[str, SuitePart] = {
    "fidelity": _of_clips(
        "benchmarks.fidelity",
        "samples",
        "sampled_clips",
        "rollouts",
        "rollout_steps",
        needed=("psnr", "psnr_gain_over", "psnr_changed", "long_rollouts"),
    ),
    "outcomes": _of_clips("benchmarks.outcomes"),
    "controllability": _of_clips(
        "benchmarks.controllability", "sampled_clips", "reader_steps", "networks", "real_env"
    ),
    "probes": _of_clips("benchmarks.probes", "probe_steps", "networks"),
    "uncertainty": _of_clips("benchmarks.uncertainty"),
    "ranking": SuitePart(
        "benchmarks.policy_ranking",
        "b",
        ("policies", "episodes", "real_env"),
        ("policies", "episodes", "first_seed"),
        of_clips=False,
        needed=("policies", "best"),
    ),
    # Where and for how long agents train, and a limit, make other rows of exploitation; how many
    # real steps the baseline takes makes other rows of lift.
    "lift": SuitePart(
        "benchmarks.lift",
        "b",
        AGENTS,
        SAME_AGENTS,
        of_clips=False,
        needed=("groups", "lift", "training", "of"),
    ),
    "exploitation": SuitePart(
        "benchmarks.exploitation",
        "b",
        AGENTS,
        SAME_AGENTS,
        of_clips=False,
        needed=("groups", "blind", "narrowed", "scale"),
    ),
    "stability": SuitePart(
        "benchmarks.stability",
        "a",
        ("stable_steps",),
        ("seed", "stable_steps", "policy"),
        of_clips=False,
        needed=("steps", "statistics", "memory_mb"),
    ),
}
"""All parts, in the order in which a page shows them."""
