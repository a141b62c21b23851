"""Whether a world does the same again: equal seed and actions, in environments made anew.

What cannot be repeated cannot be debugged, and two agents are not compared by the same episodes. So
frames, rewards and ends must be equal bit for bit. Beside other streams a world may differ in the
last digits of its matrix products, so there it is also told by how much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

import nfd_env  # noqa: F401 - registers the ids
from benchmarks.env_players import batched

STEPS = 64
"""Steps that are played twice."""
STREAMS = 4
"""Streams of the batch in which the same episode is played once more, as the last of them."""
CHANGE = 0.1
"""Chance of another action at a step: what is held for a while leads further."""
ITS_OWN_ENDS = "it ends its episodes by itself, and is not played for long"
SOMEBODY_ELSES = "asked of worlds of this project only: others seed and batch in ways of their own"


@dataclass(frozen=True)
class Played:
    """What an agent saw of an episode, and of those that followed within ``T`` steps."""

    frames: np.ndarray
    """uint8 (T + 1, H, W, 3), the first one that of the start."""
    told: np.ndarray
    """float64 (T, 4): reward, terminated, truncated, and the chance of the end (NaN: not told)."""


def measure_determinism(
    world: Any, seed: int, steps: int = STEPS, streams: int = STREAMS, **settings: Any
) -> dict[str, Any]:
    """Plays the same seed and actions alone, alone again, and beside others.

    Args:
        world: a world of ours, or an adapter with ``fresh_env()``, which makes an environment of
            its own each time.
        seed: of the episode, and of the actions.
        steps: to play.
        streams: of the batch, at least 2.
        settings: of our environment, such as ``sampling_steps``; they say nothing to others.

    Returns:
        ``steps``; ``again`` and ``beside_others`` (also ``streams``), each as :func:`difference`
        has it, or with ``why_not``.
    """
    result: dict[str, Any] = {"steps": steps}
    if not getattr(world, "goes_on", True):
        return {**result, **{k: {"why_not": ITS_OWN_ENDS} for k in ("again", "beside_others")}}
    space = world.action_spec.space
    actions = draw_actions(space, steps, seed)
    if hasattr(world, "endless_env"):
        again = _again(world.fresh_env, actions, seed) if hasattr(world, "fresh_env") else {
            "why_not": "it says of no way to make its environment twice"
        }  # fmt: skip
        return {**result, "again": again, "beside_others": {"why_not": SOMEBODY_ELSES}}

    def make() -> Any:
        return gym.make("NFD-World-v0", world=world, **settings)

    alone, once_more = (play(make(), actions, seed, resets=True) for _ in range(2))
    others = [draw_actions(space, steps, seed + 1 + i) for i in range(streams - 1)]
    batch = gym.make_vec(
        "NFD-World-v0", num_envs=streams, world=world, autoreset_mode="disabled", **settings
    )
    beside = play_beside(batch, [*others, actions], [*range(seed + 1, seed + streams), seed])
    return {
        **result,
        "again": difference(alone, once_more),
        "beside_others": {"streams": streams, **difference(alone, beside)},
    }


def _again(make: Callable[[], Any], actions: Sequence[Any], seed: int) -> dict[str, Any]:
    """Somebody else's environment against another one of the same making."""
    played = []
    for _ in range(2):
        try:
            env = make()
        except Exception as error:  # whatever somebody else's code raises, the rest is measured
            return {"why_not": f"its environment could not be made again: {error}"}
        played.append(play(env, actions, seed, resets=False))
    return difference(*played)


def draw_actions(space: gym.Space[Any], steps: int, seed: int) -> list[Any]:
    """``steps`` random actions, each held for a random while; a function of the seed alone."""
    space, rng = deepcopy(space), np.random.default_rng(seed)
    space.seed(seed)
    actions = [space.sample()]
    while len(actions) < steps:
        actions.append(space.sample() if rng.random() < CHANGE else actions[-1])
    return actions


def play(env: Any, actions: Sequence[Any], seed: int, *, resets: bool) -> Played:
    """Plays the actions from the start of ``seed``, and closes the environment.

    Args:
        env: a single environment.
        actions: one a step.
        seed: of the first reset.
        resets: begin the next episode after an end, without a seed; else step on.
    """
    try:
        frames, told = [np.array(env.reset(seed=seed)[0])], []
        for action in actions:
            frame, reward, terminated, truncated, info = env.step(action)
            frames.append(np.array(frame))
            chance = info.get("termination_probability", np.nan)
            told.append((reward, terminated, truncated, chance))
            if resets and (terminated or truncated):
                env.reset()
    finally:
        env.close()
    return Played(np.stack(frames), np.array(told, np.float64))


def play_beside(env: Any, actions: Sequence[Sequence[Any]], seeds: Sequence[int]) -> Played:
    """What the last stream of a batch saw, and closes the environment.

    Args:
        env: a batch of ours that does not reset by itself.
        actions: for each stream, one a step.
        seeds: of the first reset, one for each stream.
    """
    try:
        frames, told = [np.array(env.reset(seed=list(seeds))[0][-1])], []
        for chosen in zip(*actions, strict=True):
            observed, rewards, terminated, truncated, infos = env.step(
                batched(env.single_action_space, chosen)
            )
            frames.append(np.array(observed[-1]))
            chance = infos["termination_probability"][-1]
            told.append((rewards[-1], terminated[-1], truncated[-1], chance))
            over = terminated | truncated
            if over.any():
                env.reset(options={"reset_mask": over})
    finally:
        env.close()
    return Played(np.stack(frames), np.array(told, np.float64))


def difference(one: Played, other: Played) -> dict[str, Any]:
    """In what two plays of ``T`` steps differ.

    Returns:
        ``equal_share``, in [0, 1], of the steps of which frame, reward, ends and the chance of the
        end are equal, bit for bit, and ``equal_frames``, of which the frame is;
        ``first_different``, the first step that is not equal (0: the start is another one), or
        None; ``largest_difference`` of any pixel, in grey levels.
    """
    apart = np.abs(one.frames.astype(np.int16) - other.frames.astype(np.int16))
    apart = apart.reshape(len(apart), -1).max(1)
    same = apart == 0
    same[1:] &= ((one.told == other.told) | (np.isnan(one.told) & np.isnan(other.told))).all(1)
    return {
        "equal_share": float(same[1:].mean()),
        "equal_frames": float((apart[1:] == 0).mean()),
        "first_different": None if same.all() else int(np.argmin(same)),
        "largest_difference": int(apart.max()),
    }
