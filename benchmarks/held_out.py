"""What the parts of ``nfd evaluate`` share: the world, held-out clips, and what it makes of them.

Several parts look at the same imagined clips; they are imagined once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.console import Console

from benchmarks.clips import Clips, cut_clips, remember_the_past
from benchmarks.dreaming import Dream, imagine_shuffled, imagine_true, make_rollout
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.results import describe_data, write_benchmark
from nfd_env.loading import load_rollout
from world_model.data import open_store_for
from world_model.data.locating import find_dataset
from world_model.data.store import EpisodeStore
from world_model.errors import ContextError

Made = TypeVar("Made")


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
    _dreams: dict[int, Dream] = field(default_factory=dict)
    _shuffled: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """Folder for the results."""
        return find_out(self.options, self.world)

    @property
    def steps(self) -> tuple[int, ...]:
        """Numbers of sampling steps to measure."""
        return self.options.steps or (int(self.world.config.sampling_steps),)

    def rollout(self, steps: int) -> Any:
        """What imagines the world in so many sampling steps, without ever ending an episode."""
        return make_rollout(self.world, sampling_steps=steps, **self.options.imagination)

    def frames_to_dream(self, steps: int, *, shuffled: bool = False) -> int:
        """Frames that :meth:`dream`, and :meth:`shuffled` if wanted, have yet to imagine."""
        passes = (steps not in self._dreams) + (shuffled and steps not in self._shuffled)
        return passes * self.clips.ended.size

    def dream(self, steps: int, on_frames: Callable[[int], None]) -> Dream:
        """The clips imagined under their own actions; kept."""
        return self._once(self._dreams, imagine_true, steps, on_frames)

    def shuffled(self, steps: int, on_frames: Callable[[int], None]) -> np.ndarray:
        """Their frames under the actions of other clips; kept."""
        return self._once(self._shuffled, imagine_shuffled, steps, on_frames)

    def _once(
        self,
        kept: dict[int, Made],
        imagine: Callable[..., Made],
        steps: int,
        on_frames: Callable[[int], None],
    ) -> Made:
        """What was kept; imagined where it was not."""
        if steps not in kept:
            rollout, options = self.rollout(steps), self.options
            kept[steps] = imagine(
                rollout, self.clips, options.seed, batch=options.batch, on_frames=on_frames
            )
        return kept[steps]

    def write(
        self, kind: str, results: Mapping[str, Any], started: float, **settings: Any
    ) -> dict[str, Any]:
        """Writes and returns the document of one part; what was not found is None in it.

        Args:
            kind: the part.
            results: its figures.
            started: when it began, by ``time.perf_counter``.
            settings: what decides its figures beside the options, and the clips that were found.
        """
        config = self.world.config
        return write_benchmark(
            self.out / f"{kind}.json",
            kind,
            world=self.world.model_id,
            data=describe_data(self.store, self.options.split),
            settings={
                **self.options.figures(),
                "context": int(config.context_length),
                "clips": len(self.clips),
                "clip_episodes": len(np.unique(self.clips.episodes[self.clips.known[:, -1]])),
                "own_steps": int(config.sampling_steps),
                **settings,
            },
            results=results,
            seconds=time.perf_counter() - started,
        )


def open_held_out(options: EvaluateOptions, console: Console, world: Any = None) -> HeldOut:
    """Loads world and data set, and cuts the clips.

    Args:
        options: what to measure.
        console: is told what there is.
        world: a world object, instead of loading ``options.world``.

    Raises:
        NFDError: if the world or the data set are missing, or do not fit each other.
    """
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


def find_out(options: EvaluateOptions, world: Any) -> Path:
    """Folder for the results."""
    return options.out or Path("runs") / f"evaluate-{world.config.name}"


def check_fit(store: Any, world: Any) -> None:
    """Refuses a data set whose frames or actions the world does not know.

    Raises:
        ContextError: if they differ.
    """
    if tuple(store.frame_shape) != tuple(world.config.frame_shape):
        raise ContextError(
            f"the data set has frames of {tuple(store.frame_shape)}, the world {world.model_id} of "
            f"{tuple(world.config.frame_shape)}. Give the data set that it was learned from."
        )
    if store.action_spec.space != world.action_spec.space:
        raise ContextError(
            f"the data set's actions are {store.action_spec.space}, those of the world "
            f"{world.model_id} {world.action_spec.space}."
        )
