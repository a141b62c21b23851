"""What ``nfd evaluate`` can be told."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from benchmarks.training_budget import TrainingBudget, refuse_below
from world_model.errors import ConfigError
from world_model.samplers import SAMPLERS

Part = Literal[
    "fidelity",
    "outcomes",
    "controllability",
    "probes",
    "uncertainty",
    "ranking",
    "lift",
    "exploitation",
    "stability",
]
LEAST = {
    "clips": 1, "horizon": 1, "samples": 1, "sampled_clips": 1, "reader_steps": 1,
    "probe_steps": 1, "networks": 1, "rollouts": 1, "rollout_steps": 1, "batch": 1, "seed": 0,
    "episodes": 1, "stable_steps": 10,
}  # fmt: skip
"""The smallest value of each option that is a number."""
MOST_SAMPLING_STEPS = 1_000
"""Beyond it samplers gain nothing."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Measures how faithful a world is, on episodes that it was not trained on."""

    world: Annotated[str, tyro.conf.Positional] = "doom-take-cover"
    """Name, folder or hub id of a world, or module:function that makes one. perfect:WORLD is the
    real game that it was learned from, teacher:WORLD the network that it was distilled from."""
    data: Path | None = None
    """Folder of the data set that the world was learned from (default: data/NAME, by the name of
    the world, of its recordings or of their preset)."""
    measure: tuple[Part, ...] = ("fidelity", "outcomes")
    """What to measure: frames (fidelity), rewards and ends (outcomes), whether actions do what they
    should (controllability), whether frames show what was true (probes), whether the world knows
    when it is wrong (uncertainty), policies in the real and the imagined game (ranking), what
    training in it is worth in the real game (lift), whether agents exploit its mistakes
    (exploitation), one very long episode (stability)."""
    tier: Literal["a", "b", "all"] | None = None
    """Instead of --measure. a: fidelity, outcomes, controllability, probes, uncertainty, stability;
    b, what it is worth for decisions: ranking, lift, exploitation; all: both."""
    steps: tuple[int, ...] = ()
    """Numbers of sampling steps to measure (default: the world's own)."""
    sampler: str | None = None
    """Sampler (default: the world's own)."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Of the transformer's matrix products; auto is the faster of the two on this hardware."""
    real_env: str | None = None
    """The real environment, for counterfactuals, perfect:WORLD, ranking, lift and exploitation: a
    recipe, module:function, or the folder of a data set recorded in it (default: what the world was
    learned from)."""
    out: Path | None = None
    """Folder for JSON, plots and films (default: runs/evaluate-NAME)."""
    split: str = "validation"
    """Split to measure on; anything but validation flatters the world."""
    clips: int = 128
    """Clips to imagine."""
    horizon: int = 16
    """Steps to imagine of each clip."""
    samples: int = 8
    """Futures of the same clip, for the best of them and the energy score; 1 leaves that out."""
    sampled_clips: int = 32
    """Clips with so many futures; also those whose futures under different actions are compared."""
    reader_steps: int = 300
    """Controllability: training steps, of 128 pairs of frames, of each network that reads actions
    off frames."""
    probe_steps: int = 1_000
    """Probes: training steps, of 128 pairs of frames, of each network that reads the game's state
    off frames; minutes on a CPU."""
    networks: int = 3
    """Controllability and probes: how many networks of each kind learn to read, from seeds of their
    own; what they read counts together."""
    lpips: Path | None = None
    """Fidelity: weights of LPIPS' network, a safetensors file
    (world_model/autoencoder/perceptual.py says how to make it); minutes on a CPU."""
    fvd: Path | None = None
    """Fidelity: weights of I3D, for the Frechet video distance, a safetensors file
    (benchmarks/i3d.py says how to make it); some seconds for each clip on a CPU."""
    rollouts: int = 32
    """Long rollouts, from the start of an episode, in which objects are counted."""
    rollout_steps: int = 64
    """Steps of each of them."""
    batch: int = 32
    """Streams at a time."""
    seed: int = 0
    """Of the choice of clips, and of the noise."""
    device: str = "auto"
    """auto, cpu or cuda."""
    pictures: bool = True
    """Also leave plots, strips of frames and films."""
    policies: tuple[str, ...] = ("graded",)
    """Ranking, lift and exploitation: which policies play; `baselines` are noop, left, uniform and
    four sweeps, `graded` also two that hold an action for long, two more sweeps, and in
    Breakout, Crafter and Defend the Center four that look (follow, forage, aim)."""
    episodes: int = 20
    """Ranking: episodes of each policy, in the real and in the imagined game."""
    agents: tuple[str, ...] = ()
    """Lift and exploitation: folders of trained policies, as one group of agents. Lift then trains
    none in imagination; exploitation none at all with --training.steps 0."""
    training: TrainingBudget = field(default_factory=TrainingBudget)
    """Lift and exploitation: how long agents train and play."""
    stable_steps: int = 4_000
    """Stability: steps of the long episode."""
    compare: tuple[str, ...] = ()
    """Measure nothing; put these evaluations side by side: folders of results, or worlds."""
    card: bool = False
    """Measure nothing; write what was measured into the card of the world."""
    report: bool = False
    """Measure nothing; write report.html anew from the results in the folder."""

    def __post_init__(self) -> None:
        refuse_below(LEAST, self, "--")
        for steps in self.steps:
            if not 1 <= steps <= MOST_SAMPLING_STEPS:
                raise ConfigError(
                    f"--steps {steps}: numbers of sampling steps lie between 1 and "
                    f"{MOST_SAMPLING_STEPS:,}."
                )
        if self.sampler is not None and self.sampler not in SAMPLERS:
            raise ConfigError(f"--sampler {self.sampler}: there are {', '.join(SAMPLERS)}.")

    @property
    def imagination(self) -> dict[str, Any]:
        """Settings of what imagines the world; None where it is left to that."""
        precision = None if self.precision == "float32" else self.precision
        return {"device": self.device, "sampler": self.sampler, "precision": precision}

    def figures(self) -> dict[str, Any]:
        """The options that decide the figures: all but paths, which say nothing elsewhere."""
        others = ("world", "data", "out", "compare", "card", "report", "lpips", "fvd", "tier")
        found = {k: v for k, v in asdict(self).items() if k not in others}
        # A function is found elsewhere as well, by a name that its world does not know.
        return found | ({"world": self.world} if ":" in self.world else {})
