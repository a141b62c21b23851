"""A film of the real game beside the imagined one, under the same actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from agents.policies import Policy

SCALE = 4
"""Every pixel of a frame is shown this many pixels wide and high."""
MARGIN, HEADER, FOOTER = 16, 44, 60
INK, FAINT, ACCENT, PAPER = (240, 240, 245), (140, 145, 160), (255, 176, 32), (18, 20, 28)


@dataclass(frozen=True)
class Take:
    """A stretch of the real game."""

    frames: np.ndarray
    """uint8 (N, H, W, 3)."""
    actions: list[Any]
    """The N - 1 actions between the frames."""


def record_take(
    policy: Policy,
    make_env: Callable[[], gym.Env[np.ndarray, Any]],
    seeds: Sequence[int],
    steps: int,
) -> Take:
    """Lets ``policy`` play for real until an episode lasts ``steps`` steps; else the longest."""
    best: Take | None = None
    env = make_env()
    try:
        for seed in seeds:
            observation, _ = env.reset(seed=seed)
            state = policy.begin([seed])
            frames: list[np.ndarray] = [observation]
            actions: list[Any] = []
            while len(actions) < steps:
                action = policy.act(observation[None], state)[0]
                observation, _, terminated, truncated, _ = env.step(action)
                if terminated or truncated:  # the picture of the end may be missing
                    break
                frames.append(observation)
                actions.append(action)
            if best is None or len(actions) > len(best.actions):
                best = Take(np.stack(frames), actions)
            if len(actions) == steps:
                break
    finally:
        env.close()
    if best is None:
        raise ValueError("no seeds: a take needs at least one episode.")
    return best


def imagine_along(take: Take, world: Any, **settings: Any) -> np.ndarray:
    """What ``world`` imagines under the actions of ``take``, from its first frames.

    Returns:
        Frames, uint8 (N, H, W, 3); the first ``context_length`` of them are the take's own.
    """
    context = min(int(world.config.context_length), len(take.frames))
    env = gym.make("NFD-World-v0", world=world, endless=True, **settings)
    try:
        env.reset(
            seed=0,
            options={"frames": take.frames[:context], "actions": take.actions[: context - 1]},
        )
        frames = list(take.frames[:context])
        for action in take.actions[context - 1 :]:
            frames.append(env.step(action)[0])
    finally:
        env.close()
    return np.stack(frames)


def compose(
    take: Take, imagined: np.ndarray, action_names: Sequence[str], context: int, world: str
) -> list[np.ndarray]:
    """The pictures of the film, uint8 (H', W', 3) with even sides, one a step."""
    pictures = []
    for step, (real, dream) in enumerate(zip(take.frames, imagined, strict=True)):
        # The action is the one taken at this frame, whose effect the next picture shows.
        action = int(take.actions[step]) if step < len(take.actions) else None
        given = step < context
        pictures.append(_picture(real, dream, step, action, action_names, given, world))
    return pictures


def _picture(
    real: np.ndarray,
    dream: np.ndarray,
    step: int,
    action: int | None,
    action_names: Sequence[str],
    given: bool,
    world: str,
) -> np.ndarray:
    height, width = real.shape[0] * SCALE, real.shape[1] * SCALE
    size = (2 * width + 3 * MARGIN, HEADER + height + FOOTER)
    # yuv420p halves the colours' resolution: both sides must be even.
    canvas = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2), PAPER)
    draw = ImageDraw.Draw(canvas)
    left, right = MARGIN, 2 * MARGIN + width
    for x, frame in ((left, real), (right, dream)):
        large = Image.fromarray(frame).resize((width, height), Image.Resampling.NEAREST)
        canvas.paste(large, (x, HEADER))
    title, small = ImageFont.load_default(16), ImageFont.load_default(14)
    draw.text((left, 14), "real game", INK, title)
    draw.text((right, 14), "given: real frames" if given else f"imagined by {world}",
              FAINT if given else ACCENT, title)  # fmt: skip
    y = HEADER + height + 14
    x = float(left)
    for index, name in enumerate(action_names):
        length = draw.textlength(name, small) + 16
        chosen = index == action
        draw.rounded_rectangle((x, y, x + length, y + 26), 6, ACCENT if chosen else None, FAINT)
        draw.text((x + 8, y + 5), name, PAPER if chosen else FAINT, small)
        x += length + 8
    text = f"step {step}"
    draw.text((canvas.width - MARGIN - draw.textlength(text, small), y + 5), text, INK, small)
    return np.asarray(canvas)
