"""A tiny game whose answers are known, and the perfect world model of it.

The picture shows 8 x 8 cells of 2 x 2 pixels. A paddle two cells wide slides along the bottom
row (green), a ball (red) falls one row a step, and its column comes from the seed. When the ball
reaches the bottom row the step is worth +1 (caught) or -1 (missed); the next step shows a new ball
at the top. After ``max_misses`` misses the episode terminates: nothing in the picture counts them,
so whoever predicts the end must remember more than a few frames.

* :class:`ToyGame` is the real environment, :class:`ToyRollout` imagines it without any error,
  :class:`ToyWorld` carries what the environment needs to know of a world.
* With equal seeds both give equal episodes, frame for frame, so that
  ``NFDWorldVectorEnv(ToyWorld(), n)`` can be compared with ``SyncVectorEnv([ToyGame] * n)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces

from nfd_env.seeding import draw_index, episode_seed
from world_model.action_spec import ActionSpec
from world_model.contexts import ContextSet
from world_model.types import Context, Episode, StepOutcome

CELLS = 8
PIXELS = 2
FRAME_SHAPE = (CELLS * PIXELS, CELLS * PIXELS, 3)
BOTTOM = CELLS - 1
ACTION_NAMES = ("stay", "left", "right")
STATE_NAMES = ("paddle", "ball_row", "ball_column", "misses", "balls")
NUM_STARTS = 5
CONTEXT_LENGTH = 4


def spawn_column(seed: Any, ball: Any) -> Any:
    """Column of the ``ball``-th ball: a pure function of (seed, ball), for ints and tensors."""
    # Products stay below 2**63: the same integers in Python and in an int64 tensor.
    mask = 0xFFFFFFFF
    x = (seed & mask) ^ ((seed >> 32) * 0x2C1B3C6D & mask) ^ (ball * 0x297A2D39 & mask)
    for _ in range(2):
        x = ((x ^ (x >> 16)) * 0x45D9F3B) & mask
    return (x ^ (x >> 16)) % CELLS


def draw(paddle: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """The frames uint8 (B, 16, 16, 3) of ``B`` states."""
    cells = np.zeros((len(paddle), CELLS, CELLS, 3), np.uint8)
    cells[..., 2] = 32  # a dark background: all black would hide broken colours
    streams = np.arange(len(paddle))
    cells[streams, row, column, 0] = 255
    cells[streams, BOTTOM, paddle, 1] = 200
    cells[streams, BOTTOM, paddle + 1, 1] = 200
    return cells.repeat(PIXELS, axis=1).repeat(PIXELS, axis=2)


def read(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The inverse of :func:`draw`: (paddle, row, column), int64 (B,) each."""
    cells = np.asarray(frames)[:, ::PIXELS, ::PIXELS]
    ball = cells[..., 0].reshape(len(cells), -1).argmax(axis=1)
    paddle = cells[:, BOTTOM, :, 1].argmax(axis=1)
    return paddle, ball // CELLS, ball % CELLS


def start_clip(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Clip ``index`` that starts episodes: frames uint8 (4, 16, 16, 3), actions int64 (3,).

    ``actions[t]`` takes frame t to frame t + 1; the ball does not land within the clip.
    """
    paddle = [(index * 3 + 1) % BOTTOM]
    actions = [(index + t) % 3 for t in range(CONTEXT_LENGTH - 1)]
    for action in actions:
        paddle.append(move(paddle[-1], action))
    rows = np.arange(CONTEXT_LENGTH) + index % 3
    columns = np.full(CONTEXT_LENGTH, (index * 5 + 2) % CELLS)
    return draw(np.array(paddle), rows, columns), np.array(actions)


def move(paddle: int, action: int) -> int:
    """The paddle after ``action``."""
    return min(max(paddle + (0, -1, 1)[action], 0), CELLS - 2)


class ToyGame(gym.Env):
    """The real game, one environment. Starts where clip ``draw_index(seed, 5)`` ends."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        max_misses: int = 2,
        max_episode_steps: int | None = 40,
        render_mode: str | None = None,
    ) -> None:
        self.observation_space = spaces.Box(0, 255, FRAME_SHAPE, np.uint8)
        self.action_space = spaces.Discrete(len(ACTION_NAMES))
        self.max_misses = max_misses
        self.max_episode_steps = max_episode_steps
        self.render_mode = render_mode
        self.first_seed: int | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        if seed is not None or self.first_seed is None:
            self.first_seed = int(self.np_random.integers(2**31)) if seed is None else seed
            self.episode = 0
        else:
            self.episode += 1
        self.seed = episode_seed(self.first_seed, self.episode)
        frames, _ = start_clip(draw_index(self.seed, NUM_STARTS))
        self.paddle, self.row, self.column = (int(part[0]) for part in read(frames[-1:]))
        self.misses = self.balls = self.steps = 0
        return self._frame(), {"state": self._state()}

    def step(self, action: int):
        assert self.action_space.contains(action), action
        self.paddle = move(self.paddle, int(action))
        self.row += 1
        if self.row > BOTTOM:
            self.row, self.column = 0, spawn_column(self.seed, self.balls)
            self.balls += 1
        reward = 0.0
        if self.row == BOTTOM:
            caught = self.paddle <= self.column <= self.paddle + 1
            self.misses += not caught
            reward = 1.0 if caught else -1.0
        self.steps += 1
        # Only the step that brings the last miss ends the episode, not those after it.
        terminated = reward < 0 and self.misses >= self.max_misses
        truncated = self.max_episode_steps is not None and self.steps >= self.max_episode_steps
        return self._frame(), reward, terminated, truncated, {"state": self._state()}

    def render(self):
        return self._frame()

    def _frame(self) -> np.ndarray:
        return draw(*(np.array([n]) for n in (self.paddle, self.row, self.column)))[0]

    def _state(self) -> np.ndarray:
        state = (self.paddle, self.row, self.column, self.misses, self.balls)
        return np.array(state, np.float32)


@dataclass(frozen=True)
class ToyState:
    """State of :class:`ToyRollout`: int64 (B,) each."""

    seeds: torch.Tensor
    paddle: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor
    misses: torch.Tensor
    balls: torch.Tensor

    @property
    def batch_size(self) -> int:
        return len(self.seeds)

    def _map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> ToyState:
        return ToyState(**{f.name: function(getattr(self, f.name)) for f in fields(self)})

    def clone(self) -> ToyState:
        return self._map(torch.Tensor.clone)

    def select(self, indices: torch.Tensor) -> ToyState:
        return self._map(lambda tensor: tensor[indices])

    def scatter(self, indices: torch.Tensor, other: ToyState) -> ToyState:
        for f in fields(self):
            getattr(self, f.name)[indices] = getattr(other, f.name)
        return self

    def to(self, device: torch.device | str) -> ToyState:
        return self._map(lambda tensor: tensor.to(device))


def toy_contexts(count: int = NUM_STARTS) -> ContextSet:
    """The clips that start episodes of the toy world."""
    clips = [start_clip(index) for index in range(count)]
    actions = np.full((count, CONTEXT_LENGTH, 1), np.nan, np.float32)
    actions[:, 1:, 0] = np.stack([actions for _, actions in clips])
    return ContextSet(np.stack([frames for frames, _ in clips]), actions)


@dataclass(frozen=True)
class ToyConfig:
    """The part of a world's config that the environment reads."""

    name: str = "toy"
    version: int = 1
    frame_shape: tuple[int, int, int] = FRAME_SHAPE
    fps: float = 10.0
    context_length: int = CONTEXT_LENGTH
    sampling_steps: int = 1
    sampler: str = "euler"
    context_noise: float = 0.0
    max_episode_steps: int | None = 40
    source: dict[str, Any] = field(default_factory=lambda: {"environment": "tests.toy:ToyGame"})


class ToyWorld:
    """What the environment needs to know of a world; ``make_rollout`` imagines it.

    Args:
        max_misses: an episode terminates with so many misses.
        uncertain: report an uncertainty of 1 where the next ball appears, as its column could
            not be known, and 0 elsewhere; otherwise always 0.
    """

    def __init__(self, max_misses: int = 2, uncertain: bool = False, **config: Any) -> None:
        self.max_misses = max_misses
        self.uncertain = uncertain
        self.config = ToyConfig(**config)
        self.action_spec = ActionSpec.from_space(spaces.Discrete(3), names=ACTION_NAMES)
        self.contexts: ContextSet | None = toy_contexts()
        self.model_id = "toy@1#000000000000"
        self.tokenizer = self.network = self.outcome = None

    def make_rollout(self, **settings: Any) -> ToyRollout:
        """Stands in for ``Rollout(world, ...)``; the settings have no effect."""
        return ToyRollout(self)


class ToyRollout:
    """Imagines :class:`ToyGame` without error: frames decoded, moved on, drawn again."""

    device = torch.device("cpu")

    def __init__(self, world: ToyWorld | None = None) -> None:
        self.world = world if world is not None else ToyWorld()
        self.streams_begun = 0
        # One buffer for all frames, as a real rollout may have: callers must copy.
        self._frames: torch.Tensor | None = None

    def begin(self, contexts: Context, seeds: torch.Tensor) -> ToyState:
        assert contexts.frames.dtype == torch.uint8
        assert contexts.actions.shape[:2] == contexts.frames.shape[:2]
        assert seeds.dtype == torch.int64
        assert seeds.shape == contexts.frames.shape[:1]
        parts = read(contexts.frames[:, -1].numpy())
        paddle, row, column = (torch.from_numpy(part) for part in parts)
        zeros = torch.zeros_like(paddle)
        self.streams_begun += len(seeds)
        return ToyState(seeds.clone(), paddle, row, column, zeros.clone(), zeros.clone())

    def advance(self, state: ToyState, actions: torch.Tensor) -> tuple[ToyState, StepOutcome]:
        assert actions.dtype == torch.float32
        assert actions.shape == (state.batch_size, 1)
        step = torch.tensor([0, -1, 1])[actions[:, 0].long()]
        paddle = (state.paddle + step).clamp(0, CELLS - 2)
        new_ball = state.row == BOTTOM
        row = torch.where(new_ball, 0, state.row + 1)
        column = torch.where(new_ball, spawn_column(state.seeds, state.balls), state.column)
        balls = state.balls + new_ball
        landed = row == BOTTOM
        caught = landed & (paddle <= column) & (column <= paddle + 1)
        missed = landed & ~caught
        misses = state.misses + missed
        terminated = missed & (misses >= self.world.max_misses)
        frames = torch.from_numpy(draw(paddle.numpy(), row.numpy(), column.numpy()))
        if self._frames is None or self._frames.shape != frames.shape:
            self._frames = torch.empty_like(frames)
        self._frames.copy_(frames)
        outcome = StepOutcome(
            frames=self._frames,
            latents=self._frames.float().flatten(1, 2) / 127.5 - 1,
            rewards=caught.float() - missed.float(),
            terminated=terminated,
            termination_probability=terminated.float(),
            uncertainty=new_ball.float() * self.world.uncertain,
        )
        # Written in place, as a real rollout may do: callers must clone what they keep.
        for name, value in (
            ("paddle", paddle),
            ("row", row),
            ("column", column),
            ("misses", misses),
            ("balls", balls),
        ):
            getattr(state, name).copy_(value)
        return replace(state), outcome


Policy = Callable[[np.ndarray, np.random.Generator], int]


def random_policy(frame: np.ndarray, rng: np.random.Generator) -> int:
    """Any action."""
    return int(rng.integers(len(ACTION_NAMES)))


def catching_policy(frame: np.ndarray, rng: np.random.Generator) -> int:
    """Moves under the ball; catches nearly every one."""
    paddle, _, column = (int(part[0]) for part in read(frame[None]))
    if paddle <= column <= paddle + 1:
        return 0
    return 1 if column < paddle else 2


def record_episode(
    seed: int,
    policy: Policy = random_policy,
    game: ToyGame | None = None,
    drop_last_frame: bool = False,
) -> Episode:
    """Plays one episode of the real game and returns it as recorded data.

    Args:
        seed: of the episode and of the policy.
        policy: chooses an action from the frame.
        game: the game to play; a fresh one by default.
        drop_last_frame: leave the frame of a terminal transition out, as where the real
            environment has none to show (then as many actions as frames).
    """
    game = game if game is not None else ToyGame()
    spec = ActionSpec.from_space(game.action_space, names=ACTION_NAMES)
    rng = np.random.default_rng(seed)
    frame, info = game.reset(seed=seed)
    frames, states = [frame], [info["state"]]
    actions, rewards, terminated, truncated = [], [], False, False
    while not (terminated or truncated):
        action = policy(frame, rng)
        frame, reward, terminated, truncated, info = game.step(action)
        frames.append(frame)
        states.append(info["state"])
        actions.append(spec.encode(action))
        rewards.append(reward)
    if drop_last_frame and terminated and not truncated:
        frames.pop()
        states.pop()
    ends = np.zeros((2, len(actions)), bool)
    ends[:, -1] = terminated and not truncated, truncated
    return Episode(
        frames=np.stack(frames),
        actions=np.stack(actions),
        rewards=np.array(rewards, np.float32),
        terminated=ends[0],
        truncated=ends[1],
        state=np.stack(states),
        info={"policy": policy.__name__, "seed": str(seed)},
    )


def record_episodes(count: int, seed: int = 0, policy: Policy = random_policy) -> list[Episode]:
    """``count`` episodes of seeds ``seed``, ``seed + 1``, ..."""
    return [record_episode(seed + i, policy) for i in range(count)]
