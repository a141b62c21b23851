"""Where imagined episodes start: each provider turns the seeds of episodes into real frames."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from nfd_env.seeding import draw_index, mix
from world_model.errors import ContextError
from world_model.types import Context


@runtime_checkable
class StartProvider(Protocol):
    """Supplies the real frames that episodes start from."""

    def draw(self, seeds: Sequence[int]) -> list[Context]:
        """One context (a batch of one) for each of the episode seeds.

        Which one a seed gets should depend on the seed alone, so that ``reset(seed=...)`` repeats
        an episode. A provider that has run dry raises ContextError.
        """
        ...


class BundledStarts:
    """The clips that come with a world; the seed chooses one.

    Args:
        world: the world.
        kind: ``contexts``, from where recorded episodes start, or ``moments``, from everywhere.
    """

    def __init__(self, world: Any, kind: str = "contexts") -> None:
        self.world, self.kind = world, kind

    def draw(self, seeds: Sequence[int]) -> list[Context]:
        """See :class:`StartProvider`."""
        contexts = getattr(self.world, self.kind, None)
        if contexts is None or len(contexts) == 0:
            raise ContextError(
                f"the world {self.world.model_id} brings no {self.kind} to start from. Give frames "
                "with reset(options={'frames': ...}), or name a data set or a real environment in "
                "contexts=."
            )
        indices = [draw_index(seed, len(contexts)) for seed in seeds]
        return split(contexts.pick(indices))


class ListedStarts:
    """Given contexts, each used once and in order; raises ContextError when they are used up."""

    def __init__(self, contexts: Iterable[Context]) -> None:
        self._waiting = [single for context in contexts for single in split(context)]
        self._count = len(self._waiting)

    def draw(self, seeds: Sequence[int]) -> list[Context]:
        """See :class:`StartProvider`."""
        if len(seeds) > len(self._waiting):
            raise ContextError(
                f"{len(seeds)} episodes need a start, but only {len(self._waiting)} of the "
                f"{self._count} given contexts are left. Give more, or use contexts='bundled', "
                "which never runs out."
            )
        drawn, self._waiting = self._waiting[: len(seeds)], self._waiting[len(seeds) :]
        return drawn


class MixedStarts:
    """Several providers; the seed chooses which one starts the episode."""

    def __init__(self, providers: Sequence[StartProvider]) -> None:
        self.providers = list(providers)

    def draw(self, seeds: Sequence[int]) -> list[Context]:
        """See :class:`StartProvider`."""
        chosen = [draw_index(seed, len(self.providers), purpose=1) for seed in seeds]
        drawn: list[Context | None] = [None] * len(seeds)
        for index, provider in enumerate(self.providers):
            places = [place for place, choice in enumerate(chosen) if choice == index]
            if places:
                # Hashed, or providers of equal size would all choose the same place in theirs.
                contexts = provider.draw([mix(seeds[place] + index) >> 1 for place in places])
                for place, context in zip(places, contexts, strict=True):
                    drawn[place] = context
        return [context for context in drawn if context is not None]

    def close(self) -> None:
        """Closes the providers that need it."""
        for provider in self.providers:
            close = getattr(provider, "close", None)
            if close is not None:
                close()


def make_starts(contexts: Any, world: Any) -> StartProvider:
    """The provider that ``contexts`` names.

    Args:
        contexts: ``"bundled"``; ``"moments"``, the world's clips from the midst of episodes; the
            folder of a data set, for its training split, or ``"folder#validation"`` or
            ``"folder#all"``; the id of a Gymnasium environment; ``"module:function"`` or a callable
            that makes an environment; a :class:`StartProvider`; or a list: of :class:`Context`
            (each used once), or of any of the others (mixed).
        world: the world that the contexts are for.

    Raises:
        ContextError: if it names nothing that exists, or does not fit the world.
    """
    from nfd_env import start_sources

    if isinstance(contexts, StartProvider):
        return contexts
    if isinstance(contexts, Context):
        return ListedStarts([contexts])
    if isinstance(contexts, list | tuple) and contexts:
        if all(isinstance(item, Context) for item in contexts):
            return ListedStarts(contexts)
        return MixedStarts([make_starts(item, world) for item in contexts])
    if callable(contexts):
        return start_sources.RealEnvStarts(contexts, world)
    if isinstance(contexts, str | Path):
        name = str(contexts)
        if name == "bundled":
            return BundledStarts(world)
        if name == "moments":
            return BundledStarts(world, "moments")
        if name and Path(name).is_dir():
            return start_sources.DatasetStarts(name, world)
        folder, _, split = name.rpartition("#")
        if folder and Path(folder).is_dir():
            return start_sources.DatasetStarts(folder, world, split=split)
        if re.search(r"-v\d+$", name):
            return start_sources.RealEnvStarts(start_sources.gymnasium_maker(name), world)
        if ":" in name:
            from nfd_env.loading import load_object

            return start_sources.RealEnvStarts(load_object(name), world)
    raise ContextError(
        f"contexts={contexts!r} names no start of episodes. Use 'bundled', 'moments', the folder "
        "of a data set, the id of a Gymnasium environment, 'module:function' or a callable that "
        "makes an environment, or a list of these."
    )


def draw_starts(provider: StartProvider, seeds: Sequence[int], world: Any) -> list[Context]:
    """One context, a batch of one, for each of the seeds.

    Raises:
        ContextError: if the provider has too few, or one does not fit the world.
    """
    if not seeds:
        return []
    drawn = provider.draw(seeds)
    if len(drawn) != len(seeds):
        raise ContextError(
            f"the start provider {type(provider).__name__} gave {len(drawn)} contexts for "
            f"{len(seeds)} episodes."
        )
    return [check_context(context, world) for context in drawn]


def split(context: Context) -> list[Context]:
    """The ``B`` contexts of a batch, as batches of one."""
    memory = context.outcome_memory
    return [
        Context(
            context.frames[i : i + 1],
            context.actions[i : i + 1],
            None if memory is None else memory[i : i + 1],
        )
        for i in range(len(context.frames))
    ]


def groups(contexts: Mapping[int, Context]) -> list[tuple[np.ndarray, Context]]:
    """Batches of contexts that have the same length.

    Args:
        contexts: batches of one, by the place that each is for.

    Returns:
        ``[(places int64 (b,) ascending, their contexts), ...]``.
    """
    places: dict[tuple[int, bool], list[int]] = {}
    for place in sorted(contexts):
        context = contexts[place]
        key = (context.frames.shape[1], context.outcome_memory is None)
        places.setdefault(key, []).append(place)
    return [(np.array(found), _join([contexts[p] for p in found])) for found in places.values()]


def _join(contexts: Sequence[Context]) -> Context:
    memories = [c.outcome_memory for c in contexts if c.outcome_memory is not None]
    return Context(
        torch.cat([context.frames for context in contexts]),
        torch.cat([context.actions for context in contexts]),
        torch.cat(memories) if memories else None,
    )


def check_context(context: Context, world: Any) -> Context:
    """Returns ``context`` if it is a batch of one that fits ``world``.

    Raises:
        ContextError: if it does not.
    """
    shape = tuple(world.config.frame_shape)
    frames, actions = context.frames, context.actions
    if frames.dtype != torch.uint8 or frames.ndim != 5 or tuple(frames.shape[2:]) != shape:
        raise ContextError(
            f"context frames are {frames.dtype} {tuple(frames.shape)}; the world "
            f"{world.model_id} takes torch.uint8 (1, C, {', '.join(map(str, shape))})."
        )
    if len(frames) != 1 or frames.shape[1] < 1:
        raise ContextError(
            f"context frames have shape {tuple(frames.shape)}: expected one context (not "
            f"{len(frames)}) of at least one frame."
        )
    expected = (1, frames.shape[1], world.action_spec.dim)
    if tuple(actions.shape) != expected:
        raise ContextError(
            f"context actions have shape {tuple(actions.shape)}; expected {expected}, one vector "
            "for each frame (a row of NaN where no action is known)."
        )
    return context
