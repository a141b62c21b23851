"""What a film shows, one shot a step, as it happens: nothing of it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from agents.policies import Policy
from nfd_env.action_adapter import ActionAdapter
from nfd_env.action_script import Step
from nfd_env.path_file import WorldPath
from nfd_env.play.dream import Dream
from world_model.action_spec import ActionSpec
from world_model.data.store import EpisodeStore
from world_model.errors import ConfigError, DataError

Choose = Callable[[np.ndarray], np.ndarray | None]
"""From a frame uint8 (H, W, 3) to an encoded action float32 (K,); None: nothing more to do."""


@dataclass(frozen=True)
class Shot:
    """One picture of a film."""

    imagined: np.ndarray
    """uint8 (H, W, 3)."""
    real: np.ndarray | None
    """The real frame under the same actions, uint8 (H, W, 3), where there is one."""
    action: np.ndarray | None
    """Encoded action that led here, float32 (K,); None at a start."""
    step: int
    """Since the start of the episode."""
    given: bool
    """Whether ``imagined`` is a real frame that the world was given to start from."""
    reward: float = 0.0
    """Of the step; imagined."""
    uncertainty: float = 0.0
    """Of the step."""
    ended: bool = False
    """Whether the imagined episode ended here."""


def imagined_shots(dream: Dream, make_choose: Callable[[int], Choose], seed: int) -> Iterator[Shot]:
    """Whoever chooses plays the imagined world; after the end of an episode comes the next."""
    episode = seed
    while True:
        frame, info = dream.reset(episode)
        choose = make_choose(episode)
        yield Shot(frame, None, None, 0, True)
        ended = False
        while not ended:
            vector = choose(frame)
            if vector is None:
                return
            frame, reward, terminated, truncated, info = dream.step(vector)
            ended = terminated or truncated
            step = int(info["imagined_steps"])
            yield Shot(frame, None, vector, step, False, reward, info["uncertainty"], ended)
        episode += 1


def path_shots(dream: Dream, path: WorldPath) -> Iterator[Shot]:
    """The frames of a saved path."""
    frame, _ = dream.reset(path.seed)
    yield Shot(frame, None, None, 0, True)
    own = dream.settings.get("sampling_steps")
    for vector, sampling_steps in path.steps():
        dream.change(sampling_steps=sampling_steps or own)
        frame, reward, terminated, truncated, info = dream.step(vector)
        ended, step = terminated or truncated, int(info["imagined_steps"])
        yield Shot(frame, None, vector, step, False, reward, info["uncertainty"], ended)
        if ended:
            return


def along(
    dream: Dream, frames: Iterable[np.ndarray], actions: Iterator[np.ndarray], spec: ActionSpec
) -> Iterator[Shot]:
    """A real episode, and what the world imagines under its actions from its first frames.

    Args:
        dream: the world; endless.
        frames: real ones, of which one more than actions is read.
        actions: encoded, float32 (K,); ``actions[t]`` leads from frame t to frame t + 1.
        spec: of the actions.
    """
    context = int(dream.world.config.context_length)
    given: list[np.ndarray] = []
    before: list[np.ndarray] = []
    for step, real in enumerate(frames):
        action = next(actions, None) if step else None
        if step and action is None:
            return
        if step < context:
            given.append(real)
            before += [action] if action is not None else []
            yield Shot(real, real, action, step, True)
            continue
        if step == context:
            played = [spec.decode(vector) for vector in before]
            dream.reset(0, {"frames": np.stack(given), "actions": played})
        assert action is not None
        frame, reward, *_, info = dream.step(action)
        yield Shot(frame, real, action, step, False, reward, info["uncertainty"])


def recorded_shots(dream: Dream, store: EpisodeStore, seed: int) -> Iterator[Shot]:
    """Recorded episodes in a random order, again and again, each imagined along.

    Raises:
        DataError: if the data set does not fit the world, or no episode is longer than a context.
    """
    if tuple(store.frame_shape) != tuple(dream.world.config.frame_shape):
        raise DataError(
            f"{store.root} has frames of shape {store.frame_shape}, the world "
            f"{dream.world.model_id} imagines {tuple(dream.world.config.frame_shape)}."
        )
    if store.action_spec.space != dream.world.action_spec.space:
        raise DataError(
            f"{store.root} has the actions {store.action_spec.space}, the world "
            f"{dream.world.model_id} takes {dream.world.action_spec.space}."
        )
    episodes = store.split("validation")
    episodes = episodes if len(episodes) else np.arange(store.num_episodes)
    long = episodes[store.lengths[episodes] > dream.world.config.context_length]
    if not len(long):
        raise DataError(f"no episode of {store.root} is longer than a context of the world.")
    rng = np.random.default_rng(seed)
    while True:
        for index in rng.permutation(long).tolist():
            episode = store.episode(index)
            yield from along(dream, episode.frames, iter(episode.actions), store.action_spec)


def played_shots(
    dream: Dream,
    make_real: Callable[[], gym.Env[np.ndarray, Any]],
    make_choose: Callable[[int], Choose],
    seed: int,
) -> Iterator[Shot]:
    """Whoever chooses plays the real game, and the world imagines along.

    Raises:
        ConfigError: if the game's frames or actions are not the world's.
    """
    env = make_real()
    try:
        spec = dream.world.action_spec
        shapes = env.observation_space.shape, tuple(dream.world.config.frame_shape)
        if shapes[0] != shapes[1] or env.action_space != spec.space:
            raise ConfigError(
                f"the real game shows frames of shape {shapes[0]} and takes {env.action_space}; "
                f"the world imagines {shapes[1]} and takes {spec.space}."
            )
        episode, going = seed, True
        while going:
            actions: list[np.ndarray] = []

            def frames(seed: int = episode, actions: list[np.ndarray] = actions) -> Iterator[Any]:
                nonlocal going
                frame, _ = env.reset(seed=seed)
                choose = make_choose(seed)
                ended = False
                while not ended:  # the last picture may be missing, where there is an end
                    yield frame
                    vector = choose(frame)
                    if vector is None:
                        going = False
                        return
                    frame, _, terminated, truncated, _ = env.step(spec.decode(vector))
                    actions.append(vector)
                    ended = terminated or truncated

            yield from along(dream, frames(), _taken(actions), spec)
            episode += 1
    finally:
        env.close()


def _taken(actions: list[np.ndarray]) -> Iterator[np.ndarray]:
    """The actions in the order in which they come, each forgotten as it is read."""
    while actions:
        yield actions.pop(0)


def by_policy(policy: Policy, actions: ActionAdapter) -> Callable[[int], Choose]:
    """A policy as the one who chooses; the seed is that of its episode."""

    def make(seed: int) -> Choose:
        state = policy.begin([seed])
        return lambda frame: actions.encode_batch(policy.act(frame[None], state), 1)[0]

    return make


def by_script(steps: list[Step]) -> Callable[[int], Choose]:
    """A script as the one who chooses; it goes on where it was when an episode ends."""
    rest = (vector for vector, count in steps for _ in range(count))
    return lambda seed: lambda frame: next(rest, None)
