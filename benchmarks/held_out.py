"""What the parts of ``nfd evaluate`` share: the world, held-out clips, and what it makes of them.

Several parts look at the same imagined clips; they are imagined once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from benchmarks.clips import Clips, cut_clips, remember_the_past
from benchmarks.dreaming import Dream, imagine_twice, make_rollout
from nfd_env.loading import load_rollout
from world_model.data import open_store_for
from world_model.data.locating import find_dataset
from world_model.data.store import EpisodeStore

if TYPE_CHECKING:
    from benchmarks.fidelity import EvaluateOptions


@dataclass
class HeldOut:
    """A world, episodes that it was not trained on, and clips of them."""

    options: EvaluateOptions
    """Which they are."""
    world: Any
    """The world."""
    store: EpisodeStore
    """The data set that it was learned from."""
    clips: Clips
    """Clips of the split, with what the outcome model knows of the time before them."""
    _dreams: dict[int, tuple[Dream, np.ndarray]] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[int, ...]:
        """Numbers of sampling steps to measure."""
        return self.options.steps or (int(self.world.config.sampling_steps),)

    def rollout(self, steps: int) -> Any:
        """What imagines the world in so many sampling steps, without ever ending an episode."""
        return make_rollout(self.world, self.options.device, steps, self.options.sampler)

    def frames_to_dream(self, steps: int) -> int:
        """Frames that :meth:`dreams` has yet to imagine."""
        return 0 if steps in self._dreams else 2 * self.clips.ended.size

    def dreams(self, steps: int, on_frames: Callable[[int], None]) -> tuple[Dream, np.ndarray]:
        """The clips imagined, and their frames under the actions of other clips; kept."""
        if steps not in self._dreams:
            self._dreams[steps] = imagine_twice(
                self.rollout(steps),
                self.clips,
                self.options.seed,
                batch=self.options.batch,
                on_frames=on_frames,
            )
        return self._dreams[steps]


def open_held_out(options: EvaluateOptions, console: Console, world: Any = None) -> HeldOut:
    """Loads world and data set, and cuts the clips.

    Args:
        options: what to measure.
        console: is told what there is.
        world: a world object, instead of loading ``options.world``.

    Raises:
        NFDError: if the world or the data set are missing, or do not fit each other.
    """
    from benchmarks.fidelity import check_fit

    world = load_rollout(options.world if world is None else world, options.device)[0]
    config = world.config
    store = open_store_for(find_dataset(config, options.data), config.frame_shape, config.source)
    check_fit(store, world)
    context = int(config.context_length)
    clips = cut_clips(store, options.split, options.clips, context, options.horizon, options.seed)
    clips = remember_the_past(clips, store, world)
    console.print(
        f"{world.model_id}: {len(clips)} clips of {len(np.unique(clips.episodes))} episodes "
        f"({options.split}) of {store.root}, {options.horizon} steps each"
    )
    return HeldOut(options, world, store, clips)
