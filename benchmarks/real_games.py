"""The real game at any moment of a recorded episode: reset with its seed, and played again.

No game is asked to save itself. A moment is the seed of its episode and all actions since the
start, which says everything where the game is deterministic; whether it is, the recorded frames
tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from agents.real_env import RealEnv
from benchmarks.clips import Origin
from nfd_env.seeding import SHORT_SEEDS
from world_model.action_spec import ActionSpec
from world_model.errors import NFDError

GAMES = 8
"""Games side by side, at most: each may be a process of its own."""


@dataclass(frozen=True, eq=False)
class Moment:
    """A moment of an episode of the real game, and what the last step to it brought."""

    seed: int
    """Of the episode."""
    actions: tuple[np.ndarray, ...]
    """All actions since the start, float32 (K,) each."""
    frame: np.ndarray
    """uint8 (H, W, 3); the last one that there was, if the game ended without one."""
    reward: float = 0.0
    """Of the last step."""
    terminated: bool = False
    """Whether the last step ended the episode; never where it only cut it off."""
    over: bool = False
    """Whether the episode has ended: nothing happens any more."""


class RealGames:
    """Some games side by side, each at some moment; made when they are first needed.

    Args:
        make_env: makes the real environment, whose observations are frames.
        action_spec: encodes its actions.
        count: games at most. More moments than that can be asked for; those whose game has gone on
            are played again from the start.
    """

    def __init__(
        self, make_env: Callable[[], Any], action_spec: ActionSpec, count: int = GAMES
    ) -> None:
        self.make_env, self.action_spec, self.count = make_env, action_spec, count
        self._games: list[_Game] = []
        self._round = 0
        self.steps = 0
        """Steps that the games have made."""

    def start(self, seeds: Sequence[int]) -> list[Moment]:
        """The first moments of the episodes with these seeds."""
        return self._play([(self._start, seed) for seed in seeds])

    def advance(self, moments: Sequence[Moment], actions: np.ndarray) -> list[Moment]:
        """The moments that follow, by one action each: float32 (B, K)."""
        pairs = list(zip(moments, actions, strict=True))
        # Equal moments and actions have equal futures, so they are played once.
        asked = {(id(m), a.tobytes()): (m, a.copy()) for m, a in pairs if not m.over}
        played = self._play([(self._step, *task) for task in asked.values()])
        answers = dict(zip(asked, played, strict=True))
        still = {id(m): replace(m, reward=0.0, terminated=False) for m in moments if m.over}
        return [answers.get((id(m), a.tobytes())) or still[id(m)] for m, a in pairs]

    def restore(
        self, origins: Sequence[Origin], frames: np.ndarray
    ) -> list[tuple[Moment | None, str]]:
        """The last moments of recorded beginnings, where their last frames are what they were.

        Args:
            origins: how the episodes began.
            frames: uint8 (B, C, H, W, 3), the last frames that were recorded of each.

        Returns:
            For each the moment and an empty text, or None and why there is no such moment.
        """
        unknown = (None, "it was recorded without the seed of its episode")
        asked = {id(o): (o, f) for o, f in zip(origins, frames, strict=True) if o.seed is not None}
        played = self._play([(self._restore, *task) for task in asked.values()])
        answers = dict(zip(asked, played, strict=True))
        return [answers.get(id(origin), unknown) for origin in origins]

    def close(self) -> None:
        """Ends all games; they are made anew if more is asked."""
        for game in self._games:
            game.env.close()
        self._games.clear()

    # -- what one game does ----------------------------------------------------------------------

    def _start(self, env: Any, seed: int) -> Moment:
        # ViZDoom's presets were recorded with the whole of it, all other games with 31 bits.
        whole = isinstance(getattr(env, "unwrapped", env), RealEnv)
        frame, _ = env.reset(seed=seed if whole else seed & SHORT_SEEDS)
        return Moment(seed, (), np.array(frame))

    def _step(self, env: Any, moment: Moment, action: np.ndarray) -> Moment:
        frame, reward, terminated, truncated, _ = env.step(self.action_spec.decode(action))
        self.steps += 1
        return Moment(
            moment.seed,
            (*moment.actions, action),
            np.array(frame),
            float(reward),
            bool(terminated and not truncated),
            bool(terminated or truncated),
        )

    def _again(self, env: Any, seed: int, actions: Iterable[np.ndarray]) -> Iterator[Moment]:
        moment = self._start(env, seed)
        yield moment
        for action in actions:
            moment = self._step(env, moment, action)
            yield moment

    def _restore(self, env: Any, origin: Origin, frames: np.ndarray) -> tuple[Moment | None, str]:
        assert origin.seed is not None  # restore() has looked
        first = len(origin.actions) + 1 - len(frames)
        moment: Moment | None = None
        for t, moment in enumerate(self._again(env, origin.seed, origin.actions)):
            if moment.over:
                return None, f"played again, it ends at step {t}, where it once went on"
            if t < first:
                continue
            recorded = frames[t - first]
            if moment.frame.shape != recorded.shape:
                return None, f"the game shows {moment.frame.shape}, recorded is {recorded.shape}"
            if not np.array_equal(moment.frame, recorded):
                off = np.abs(moment.frame.astype(np.int16) - recorded).max()
                return None, f"played again, frame {t} differs by up to {off} grey levels"
        return moment, ""

    # -- which game does it ----------------------------------------------------------------------

    def _play(self, asked: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Does what is asked, ``(method, its arguments)`` each, in some games at a time.

        A first argument that is a moment says where the game must be; else any game will do.
        """
        answers: list[Any] = []
        for first in range(0, len(asked), self.count):
            some = asked[first : first + self.count]
            games = self._assign([task[1] for task in some])
            apart = all(getattr(_inner(game.env), "steps_in_threads", False) for game in games)
            if not apart:  # here and now: what draws may be tied to the thread that made it
                answers += map(self._do, games, some)
                continue
            with ThreadPoolExecutor(len(some)) as threads:
                answers += threads.map(self._do, games, some)
        return answers

    def _do(self, game: _Game, task: tuple[Any, ...]) -> Any:
        method, *arguments = task
        wanted = arguments[0]
        if isinstance(wanted, Moment) and game.at is not wanted:
            game.at = None
            *_, again = self._again(game.env, wanted.seed, wanted.actions)
            if not np.array_equal(again.frame, wanted.frame):
                raise NFDError(
                    "the real game is not deterministic: played again, an episode of seed "
                    f"{wanted.seed} differs at step {len(wanted.actions)}."
                )
        answer = method(game.env, *arguments)
        game.at = answer[0] if isinstance(answer, tuple) else answer
        return answer

    def _assign(self, wanted: Sequence[Any]) -> list[_Game]:
        """A different game for each: one that is there already, a new one, or one long unused."""
        given: list[_Game | None] = []
        for moment in wanted:
            there = (g for g in self._games if g.at is moment is not None and g not in given)
            given.append(next(there, None))
        for i, game in enumerate(given):
            if game is None:
                if len(self._games) < self.count:
                    self._games.append(_Game(self.make_env()))
                    given[i] = self._games[-1]
                else:
                    given[i] = min((g for g in self._games if g not in given), key=_last_use)
        assigned = [game for game in given if game is not None]
        self._round += 1
        for game in assigned:
            game.used = self._round
        return assigned


@dataclass(eq=False)
class _Game:
    """A game, where it is, and when it was last needed."""

    env: Any
    at: Moment | None = None
    used: int = 0


def _last_use(game: _Game) -> int:
    return game.used


def _inner(env: Any) -> Any:
    return getattr(env, "unwrapped", env)
