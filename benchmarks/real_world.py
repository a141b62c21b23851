"""The real game in the place of a world: ``nfd evaluate perfect:WORLD``.

It tells what the suite says of a world without a fault, on the same clips: the ceiling of every
metric. A clip begins where its recorded episode was (reset with its seed, its actions taken again);
an episode that begins with nothing but a seed is the real one of that seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from agents.environments import real_environment, source_of
from benchmarks.clips import Clips
from benchmarks.real_games import GAMES, Moment, RealGames
from nfd_env.seeding import SHORT_SEEDS
from nfd_env.start_sources import RealEnvStarts
from world_model.errors import ContextError, NFDError
from world_model.types import Context, StepOutcome


@dataclass(frozen=True)
class RealState:
    """Moments of the real game, one a stream; each says how to come there again."""

    seeds: torch.Tensor
    """int64 (B,), as they were given. Another one changes nothing: chance is the game's own."""
    moments: list[Moment]
    """B of them."""

    @property
    def batch_size(self) -> int:
        """Number of streams."""
        return len(self.moments)

    def clone(self) -> RealState:
        """A copy that shares nothing that is written to."""
        return RealState(self.seeds.clone(), list(self.moments))

    def select(self, indices: torch.Tensor) -> RealState:
        """The streams at ``indices``, which may repeat."""
        return RealState(self.seeds[indices], [self.moments[i] for i in indices.tolist()])

    def scatter(self, indices: torch.Tensor, other: RealState) -> RealState:
        """Writes the streams of ``other`` over those at ``indices``, in place."""
        self.seeds[indices] = other.seeds
        for i, moment in zip(indices.tolist(), other.moments, strict=True):
            self.moments[i] = moment
        return self

    def to(self, device: Any) -> RealState:
        """The same: a game is where it is."""
        return self


class RealWorld:
    """What the suite needs to know of a world, of the game that a world was learned from.

    Args:
        world: the world in whose place it stands: its frames, actions, context and name are the
            same, so that both are asked about the same clips.
        make_env: makes the real environment; default: as the world says.
        games: side by side, at most.

    Raises:
        NFDError: if the world does not say what it was learned from, or that cannot be played.
    """

    goes_on = False
    """The game's own ends cannot be switched off."""
    outcome = tokenizer = network = contexts = None

    def __init__(
        self, world: Any, make_env: Callable[[], Any] | None = None, games: int = GAMES
    ) -> None:
        # Asked of the world itself, so that what is from elsewhere names no code to run.
        make_env = real_environment(source_of(world)) if make_env is None else make_env
        name = f"perfect-{world.config.name}"
        self.config = replace(world.config, name=name, sampling_steps=1)
        self.action_spec = world.action_spec
        self.model_id = f"perfect:{world.config.name}@{world.config.version}#real"
        self.max_streams = games
        self.games = RealGames(make_env, world.action_spec, games)
        self.starts = RealEnvStarts(make_env, self)

    def make_rollout(self, **settings: Any) -> RealRollout:
        """What plays; the settings are a world's, and say nothing here."""
        return RealRollout(self)

    def close(self) -> None:
        """Ends all games."""
        self.games.close()
        self.starts.close()


class RealRollout:
    """Plays the real game where others imagine it."""

    device = torch.device("cpu")

    def __init__(self, world: RealWorld) -> None:
        self.world, self.max_streams = world, world.max_streams

    def begin_clips(self, clips: Clips, seeds: torch.Tensor) -> RealState:
        """Streams where the recorded episodes of ``clips`` were.

        Raises:
            NFDError: if the game cannot be brought there.
        """
        found = restore(self.world.games, clips)
        lost = [why for moment, why in found if moment is None]
        if lost:
            raise NFDError(cannot_restore(len(lost), len(clips), lost[0]))
        return RealState(seeds.clone(), [moment for moment, _ in found if moment is not None])

    def begin(self, contexts: Context, seeds: torch.Tensor) -> RealState:
        """Streams that begin as the real episodes of ``seeds`` do.

        Raises:
            ContextError: if the contexts are others than these episodes have: nobody can start a
                game from frames alone.
        """
        moments = self.world.games.start([seed & SHORT_SEEDS for seed in seeds.tolist()])
        actions = contexts.actions.cpu().numpy()
        for c in range(1, contexts.frames.shape[1]):
            moments = self.world.games.advance(moments, actions[:, c])
        for moment, frame in zip(moments, contexts.frames[:, -1].cpu().numpy(), strict=True):
            if not np.array_equal(moment.frame, frame):
                raise ContextError(
                    f"the real game cannot begin with given frames: its episode of seed "
                    f"{moment.seed} begins with others. Start it with contexts=world.starts."
                )
        return RealState(seeds.clone(), moments)

    def advance(self, state: RealState, actions: torch.Tensor) -> tuple[RealState, StepOutcome]:
        """One step of every game. After its end a game shows its last frame and pays nothing."""
        moments = self.world.games.advance(state.moments, actions.cpu().numpy())
        frames = torch.from_numpy(np.stack([moment.frame for moment in moments]))
        terminated = torch.tensor([moment.terminated for moment in moments])
        zeros = torch.zeros(len(moments))
        outcome = StepOutcome(
            frames,
            zeros[:, None, None],
            torch.tensor([moment.reward for moment in moments]),
            terminated,
            terminated.float(),
            zeros,
        )
        return RealState(state.seeds, moments), outcome


def restore(games: RealGames, clips: Clips) -> Sequence[tuple[Moment | None, str]]:
    """The moments in which the clips begin, or why there are none, see :class:`RealGames`.

    Raises:
        NFDError: if the clips do not know where they are from.
    """
    if len(clips.origins) != len(clips):
        raise NFDError("these clips do not say which recorded episodes they are from.")
    return games.restore(clips.origins, clips.context.frames.numpy())


def cannot_restore(lost: int, count: int, why: str) -> str:
    """What to say where the game cannot be brought back to ``lost`` of ``count`` clips."""
    return (
        f"{lost} of {count} clips cannot be restored in the real game ({why}). It must be of the "
        "version that was recorded, and what it does follow from its seed and the actions."
    )
