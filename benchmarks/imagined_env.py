"""Anybody's imagined environment in ``nfd evaluate``: what makes it fit.

A function that returns ``EnvWorld(make_env, ...)`` is evaluated by name, ``nfd evaluate
my_module:my_world``. See ``docs/evaluate-yours.md``; what the environment must offer is
:class:`~benchmarks.env_players.ImaginedEnv`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch

from agents.evaluation import Evaluation
from agents.policies import Policy
from benchmarks.env_players import BatchedEnv, FirstOfBatch, Player, SingleEnvs
from benchmarks.episode_ends import A_BATCH, Ends, check_numbers, steps_of_source
from nfd_env.seeding import SHORT_SEEDS
from world_model.action_spec import ActionSpec
from world_model.errors import ConfigError, ContextError, NFDError
from world_model.types import Context, StepOutcome
from world_model.world_config import WorldConfig


@dataclass(frozen=True)
class EnvState:
    """Where the streams of an environment are, which alone can go on from there.

    An environment without snapshots has one present. A state can be gone on from once: the newest.
    """

    seeds: torch.Tensor
    """int64 (B,)."""
    over: np.ndarray
    """bool (B,), whether the episode has ended."""
    frames: np.ndarray
    """uint8 (B, H, W, 3), the newest ones."""
    turn: int
    """Number of the steps and beginnings that the environment has seen."""

    @property
    def batch_size(self) -> int:
        """Number of streams."""
        return len(self.over)

    def clone(self) -> EnvState:
        """The same, as it is never written to; still only one of them can go on."""
        return self

    def to(self, device: Any) -> EnvState:
        """The same."""
        return self

    def select(self, indices: torch.Tensor) -> NoReturn:
        """Raises NFDError: there are no snapshots to branch from."""
        raise NFDError(NO_SNAPSHOTS)

    def scatter(self, indices: torch.Tensor, other: EnvState) -> NoReturn:
        """Raises NFDError: there are no snapshots to return to."""
        raise NFDError(NO_SNAPSHOTS)


NO_SNAPSHOTS = (
    "the environment keeps no snapshots, so its futures cannot be branched or returned to. What "
    "needs that is not measured."
)


class EnvWorld:
    """Somebody's imagined environment as ``nfd evaluate`` takes a world.

    Args:
        make_env: makes an :class:`~benchmarks.env_players.ImaginedEnv`, single or batched.
        name: of the world, in results.
        context_length: real frames that it is given to begin with.
        source: the real environment, as a data set of ours names it, such as ``{"preset":
            "doom-take-cover"}``: for rankings and counterfactuals.
        fps: steps per second.
        max_episode_steps: of the real environment, after which episodes of single environments are
            cut off where policies are ranked, too (default: as ``source`` says, or the preset that
            it names).
        action_names: names of the actions, where they are a choice.
        streams: single environments side by side, at most.
        endless: whether it goes on with the same episode when it is stepped after an end that it
            told, or tells none: for stability, where an episode is played for thousands of steps.
        draw_ends: whether it only tells ``info["termination_probability"]`` and leaves ends to
            others: episodes of a ranking then end by a draw. Not for a batch.

    Raises:
        ConfigError: if its observations are no frames, or ends of a batch shall be drawn.
    """

    goes_on = False
    """Whether an episode can be played without an end."""
    ends = Ends()
    """What ends episodes besides the environment, where policies are ranked."""
    outcome = tokenizer = network = contexts = None

    def __init__(
        self,
        make_env: Callable[[], Any],
        *,
        name: str,
        context_length: int = 4,
        source: Mapping[str, Any] | None = None,
        fps: float = 10.0,
        max_episode_steps: int | None = None,
        action_names: Sequence[str] | None = None,
        streams: int = 8,
        endless: bool = False,
        draw_ends: bool = False,
    ) -> None:
        env = make_env()
        self.goes_on, self._make_env = endless, make_env
        batched = hasattr(env, "num_envs")
        space = env.single_observation_space if batched else env.observation_space
        actions = env.single_action_space if batched else env.action_space
        if space.dtype != np.uint8 or len(space.shape) != 3 or space.shape[-1] != 3:
            raise ConfigError(
                f"{name} observes {space}; expected frames, a Box of uint8 (H, W, 3). Wrap it."
            )
        self.action_spec = ActionSpec.from_space(actions, names=action_names)
        if batched and draw_ends:
            raise ConfigError(f"{name} is a batch: draw_ends is of single environments. {A_BATCH}")
        if max_episode_steps is None:
            max_episode_steps = steps_of_source(source)
        self.ends = Ends(max_episode_steps, draw_ends)
        if batched:
            self.player: Player = BatchedEnv(env, self.action_spec)
            self._alone: Callable[[], Any] = lambda: FirstOfBatch(env)
        else:
            self.player = SingleEnvs(make_env, self.action_spec, streams, env)
            self._alone = make_env
        self.describe(name, space.shape, context_length, source, fps, max_episode_steps)

    def describe(self, name: str, shape: Any, context_length: int,
                 source: Mapping[str, Any] | None, fps: float,
                 max_episode_steps: int | None) -> None:  # fmt: skip
        """Sets what the suite reads of a world's config."""
        height, width, channels = (int(side) for side in shape)
        self.config = WorldConfig(
            name=name,
            frame_shape=(height, width, channels),
            fps=fps,
            context_length=context_length,
            context_noise=0.0,
            sampling_steps=1,
            max_episode_steps=max_episode_steps,
            source=dict(source or {}),
        )
        self.model_id = f"{name}@1#unknown"

    @property
    def max_streams(self) -> int:
        """Streams that can be imagined side by side."""
        return self.player.streams

    def make_rollout(self, **settings: Any) -> EnvRollout:
        """What imagines it; the settings are of other worlds, and say nothing here."""
        return EnvRollout(self)

    def play(self, policy: Policy, seeds: Sequence[int]) -> Evaluation:
        """Imagined episodes of a policy, from the environment's own starts."""
        return self.player.play(policy, seeds, f"{self.model_id} (imagined)", self.ends)

    def endless_env(self) -> Any:
        """A single environment, to be stepped on and on; of a batch its first stream."""
        return self._alone()

    def fresh_env(self) -> Any:
        """As :meth:`endless_env`, but made for this call: it shares nothing with any other."""
        env = self._make_env()
        return FirstOfBatch(env, owned=True) if hasattr(env, "num_envs") else env

    def close(self) -> None:
        """Closes the environments."""
        self.player.close()


class EnvRollout:
    """Imagines by stepping the environments of an :class:`EnvWorld`."""

    device = torch.device("cpu")

    def __init__(self, world: EnvWorld) -> None:
        self.world, self.max_streams = world, world.max_streams
        self._turn = 0

    def begin(self, contexts: Context, seeds: torch.Tensor) -> EnvState:
        """Starts one stream per context.

        Raises:
            ContextError: if there are more than the environment has.
        """
        if len(seeds) > self.max_streams:
            raise ContextError(f"{len(seeds)} streams; {self.world.model_id} has "
                               f"{self.max_streams}.")  # fmt: skip
        self.world.player.begin(contexts, [seed & SHORT_SEEDS for seed in seeds.tolist()])
        self._turn += 1
        over = np.zeros(len(seeds), bool)
        return EnvState(seeds.clone(), over, contexts.frames[:, -1].cpu().numpy(), self._turn)

    def advance(self, state: EnvState, actions: torch.Tensor) -> tuple[EnvState, StepOutcome]:
        """One step of every stream. After its end a stream shows its last frame and pays nothing.

        Raises:
            NFDError: if the state is not the newest one, or what comes back are no frames.
        """
        if state.turn != self._turn:
            raise NFDError(NO_SNAPSHOTS)
        over, n = state.over, len(state.over)
        frames, zero = state.frames, np.zeros(n)
        rewards, probability, terminated, ended = zero, zero, np.zeros(n, bool), over
        if not over.all():
            step = self.world.player.step(actions.cpu().numpy(), over)
            if step.frames.dtype != np.uint8 or step.frames.shape != frames.shape:
                raise NFDError(
                    f"{self.world.model_id} shows {step.frames.dtype} {step.frames.shape} after a "
                    f"step; expected uint8 {frames.shape}."
                )
            check_numbers(step.rewards[~over], step.probability[~over], self.world.model_id)
            frames = np.where(over[:, None, None, None], frames, step.frames)
            rewards, probability = (np.where(over, 0, x) for x in (step.rewards, step.probability))
            terminated = step.terminated & ~over
            ended = over | step.terminated | step.truncated
        self._turn += 1
        zeros = torch.zeros(n)
        outcome = StepOutcome(
            torch.from_numpy(frames),
            zeros[:, None, None],
            torch.from_numpy(rewards).float(),
            torch.from_numpy(terminated),
            torch.from_numpy(probability).float(),
            zeros,
        )
        return EnvState(state.seeds, ended, frames, self._turn), outcome
