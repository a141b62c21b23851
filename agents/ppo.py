"""PPO in imagination: stable-baselines3 over any vector environment of frames.

Rewards are normalised, observations are not: returns are counted in hundreds of game tics, which
PPO's value function cannot start from. A run is a folder that a killed run continues from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv, VecMonitor, VecNormalize

from agents.imitation import Imitation, ImitationConfig, discounted_returns, imitate
from agents.learning_curve import CURVE, CurvePoint, LearningCurve
from agents.observed_envs import ObservedEnvs
from agents.policy_io import (
    PolicyConfig,
    find_policy,
    load_config,
    load_eyes,
    load_optimizer,
    load_weights,
    make_observer,
    save_policy,
)
from agents.ppo_config import PPOConfig, make_model
from agents.shaping import ForeseenChange
from agents.trained import TrainedPolicy
from world_model.action_spec import ActionSpec
from world_model.data.store import EpisodeStore
from world_model.errors import CheckpointError, DataError
from world_model.outcome import OutcomeModel

MakeVecEnv = Callable[[int, int], VecEnv]
"""From the number of streams and a seed to an SB3 vector environment of (H, W, 3) frames."""

KNOWN = 1e4
"""Steps that the scale of the rewards counts for, where it was taken from recorded play."""


class PPOTrainer:
    """One training run in one folder: ``agent/`` (the latest policy), curve and TensorBoard.

    Args:
        make_envs: makes the environment to train in.
        action_spec: what its actions mean; stored with the policy.
        folder: where the run lives; a run that is there already is continued.
        config: settings of PPO.
        seed: of the network, the sampling and the environment.
        source: provenance, such as ``{"world": "doom-take-cover@1#..."}``.
        start_from: a policy folder whose weights and reward scale the run begins with.
        device: of the network.
        outcome: the world's outcome model, which the network may see through.

    Raises:
        CheckpointError: if the run in ``folder``, or ``start_from``, does not fit, or there is no
            outcome model where the settings need one.
    """

    def __init__(
        self,
        make_envs: MakeVecEnv,
        action_spec: ActionSpec,
        folder: Path,
        *,
        config: PPOConfig | None = None,
        seed: int = 0,
        source: dict[str, Any] | None = None,
        start_from: Path | str | None = None,
        device: str = "cpu",
        outcome: OutcomeModel | None = None,
    ) -> None:
        config = config or PPOConfig()
        if config.observation == "auto":
            config = replace(config, observation="frames" if outcome is None else "memory")
        self.folder, self.seed, self.source = folder, seed, dict(source or {})
        self.agent_folder = folder / "agent"
        resumed = load_config(self.agent_folder) if self.agent_folder.is_dir() else None
        if start_from is not None:
            begun = load_config(start_from)
            # The network is the old one's; everything else is up to the new run.
            config = replace(
                config,
                observation=begun.observation,
                frame_stack=begun.frame_stack,
                features_dim=begun.features_dim,
                memory_width=begun.memory_width,
            )
        self.config, self.action_spec = config, action_spec
        if resumed is not None:
            self._check_same_run(resumed)
        done = int(resumed.training["timesteps"]) if resumed else 0
        # A continued run must not see the same episodes again.
        set_random_seed(seed + done)
        envs = make_envs(config.n_envs, seed + done)
        height, width, channels = envs.observation_space.shape or ()
        self.frame_shape = (height, width, channels)
        # Monitor below everything else: the curve shows the rewards of the environment itself.
        envs = VecMonitor(envs)
        earlier = self.agent_folder if resumed is not None else start_from
        self.outcome = None if config.observation == "frames" else _eyes(outcome, earlier)
        self.observer = make_observer(config, self.frame_shape, self.outcome)
        envs = ObservedEnvs(envs, self.observer, action_spec)
        if config.shaping_weight:
            envs = ForeseenChange(envs, config.shaping_state, config.shaping_weight)
        self.envs = VecNormalize(envs, norm_obs=False, gamma=config.gamma)
        self.model = make_model(self.envs, config, seed + done, device)
        self.model.set_logger(configure(str(folder / "tensorboard"), ["tensorboard"]))
        self.curve = LearningCurve(folder)
        if resumed is not None:
            self._load(self.agent_folder, resumed)
            self.model.num_timesteps = done
            self.curve.load(up_to=done)
            theirs = resumed.training.get("source", {})
            begun_with = {k: theirs[k] for k in ("started_from", "imitated") if k in theirs}
            self.source.update(begun_with)
        elif start_from is not None:
            self._load(find_policy(start_from), begun)
            self.source["started_from"] = begun.training
        self._seconds_before = self.curve.seconds

    @property
    def timesteps(self) -> int:
        """Environment steps so far, over all streams."""
        return int(self.model.num_timesteps)

    def imitate(
        self,
        store: EpisodeStore,
        config: ImitationConfig | None = None,
        on_step: Callable[[int], None] = lambda step: None,
    ) -> Imitation:
        """Makes a fresh network act as the best recorded episodes did, see :mod:`agents.imitation`.

        Raises:
            CheckpointError: if the run has taken steps or imitated already, or began with another
                policy.
            DataError: if the recordings do not fit.
        """
        if self.timesteps or {"started_from", "imitated"} & self.source.keys():
            raise CheckpointError(
                f"{self.folder} has learned already ({self.timesteps:,} steps); only a fresh "
                "network imitates. Choose another folder with --out, or leave out --start-from."
            )
        if store.action_spec != self.action_spec or store.frame_shape != self.frame_shape:
            raise DataError(
                f"{store.root} has frames {store.frame_shape} and actions {store.action_spec}, the "
                f"environment {self.frame_shape} and {self.action_spec}. Record it again."
            )
        config, ppo = config or ImitationConfig(), self.config
        worth = discounted_returns(store, ppo.gamma, ppo.shaping_state, ppo.shaping_weight)
        # As VecNormalize scales rewards: the value function starts in the units it will go on in.
        spread = float(np.nanstd(worth)) if np.isfinite(worth).any() else 0.0
        if spread > 0:
            scale = self.envs.ret_rms
            scale.mean, scale.var = np.array(np.nanmean(worth)), np.array(spread**2)
            scale.count = KNOWN
        done = imitate(
            self.model.policy,
            self.observer,
            store,
            config,
            values=worth / (spread or 1.0),
            seed=self.seed,
            on_step=on_step,
        )
        self.source["imitated"] = {"data": store.content_hash, **asdict(config), **asdict(done)}
        self.save()
        return done

    def train(
        self,
        timesteps: int,
        *,
        minutes: float | None = None,
        save_every: float = 60.0,
        keep_every: int | None = None,
        on_step: Callable[[int], None] = lambda timesteps: None,
    ) -> Iterator[CurvePoint]:
        """Trains until ``timesteps`` steps in total, and yields a point of the curve per update.

        Stopping the iteration (or an interrupt) loses nothing but the update under way: the
        policy is saved on the way out.

        Args:
            timesteps: total, those of earlier calls included.
            minutes: stops early after so much wall-clock time in this call, an update under way
                is then dropped.
            save_every: seconds between two saves of ``agent/``.
            keep_every: also keeps ``checkpoints/<timesteps>`` every so many timesteps.
            on_step: called with the timesteps so far after every step of all streams.
        """
        started = saved = time.perf_counter()
        rollout = self.config.n_envs * self.config.n_steps

        deadline = started + 60 * minutes if minutes is not None else float("inf")

        def after_step(local: dict[str, Any], _: dict[str, Any]) -> bool:
            on_step(self.timesteps)
            # False drops the rollout under way: on a slow machine the next update may be far.
            return time.perf_counter() < deadline

        try:
            while self.timesteps < timesteps and time.perf_counter() < deadline:
                before = self.timesteps
                self._anneal(self.timesteps / timesteps)
                self._hold_policy("imitated" in self.source and before < self.config.value_warmup)
                try:  # one rollout and one update
                    self.model.learn(rollout, callback=after_step, reset_num_timesteps=False)
                except BaseException:
                    self.model.num_timesteps = before  # nothing was learned from the last steps
                    raise
                now = time.perf_counter()
                if self.timesteps < before + rollout:
                    self.model.num_timesteps = before
                    break
                yield self.curve.add(self._point(self._seconds_before + now - started))
                if keep_every and self.timesteps // keep_every > before // keep_every:
                    self.share(self.folder / "checkpoints" / f"{self.timesteps:09d}")
                if now - saved >= save_every:
                    self.save()
                    saved = now
        finally:
            self._seconds_before += time.perf_counter() - started
            self.save()

    def policy(self, name: str = "agent") -> TrainedPolicy:
        """The policy as it is now; it shares the network that is being trained."""
        return TrainedPolicy(
            self.model.policy,
            self.action_spec,
            self.observer,
            frame_shape=self.frame_shape,
            name=name,
            deterministic=self.config.deterministic,
        )

    def save(self) -> None:
        """Saves the policy with all that training needs to go on, and the curve."""
        save_policy(
            self.agent_folder,
            self.model.policy,
            self._policy_config(),
            optimizer=True,
            outcome=self.outcome,
        )
        self.curve.save()

    def share(self, path: Path) -> Path:
        """Saves the policy to play and to start from: fp16, no optimiser, the curve beside it."""
        save_policy(
            path,
            self.model.policy,
            self._policy_config(),
            half=True,
            outcome=self.outcome,
            texts={CURVE: self.curve.to_csv()},
        )
        return path

    def close(self) -> None:
        """Closes environments and logs."""
        self.model.logger.close()
        self.envs.close()

    def _policy_config(self) -> PolicyConfig:
        scale = self.envs.ret_rms
        return PolicyConfig(
            action_spec=self.action_spec.to_dict(),
            frame_shape=self.frame_shape,
            observation=self.config.observation,
            frame_stack=self.config.frame_stack,
            features_dim=self.config.features_dim,
            memory_width=self.config.memory_width,
            deterministic=self.config.deterministic,
            reward_scale={
                "mean": float(scale.mean),
                "var": float(scale.var),
                "count": float(scale.count),
            },
            training={
                "algorithm": "PPO (stable-baselines3)",
                "timesteps": self.timesteps,
                "seed": self.seed,
                "source": self.source,
                "settings": asdict(self.config),
            },
        )

    def _load(self, folder: Path, config: PolicyConfig) -> None:
        load_weights(folder, self.model.policy)
        load_optimizer(folder, self.model.policy)
        scale = self.envs.ret_rms
        if config.reward_scale:
            scale.mean = np.array(config.reward_scale["mean"])
            scale.var = np.array(config.reward_scale["var"])
            scale.count = config.reward_scale["count"]

    def _check_same_run(self, found: PolicyConfig) -> None:
        settings = asdict(self.config)
        # A setting that its release did not have yet was not set.
        theirs = {**asdict(PPOConfig()), **found.training.get("settings", {})}
        differing = [key for key in settings if theirs[key] != settings[key]]
        if found.training.get("seed") != self.seed:
            differing.append("seed")
        if differing:
            raise CheckpointError(
                f"{self.folder} holds a run with other settings ({', '.join(differing)}). "
                "Continue it with the same ones, or choose another folder with --out."
            )

    def _anneal(self, progress: float) -> None:
        first, last = self.config.learning_rate, self.config.final_learning_rate
        rate = first + (last - first) * min(1.0, progress)
        self.model.lr_schedule = lambda _: rate

    def _hold_policy(self, hold: bool) -> None:
        """While held, only the value function learns."""
        for name, parameter in self.model.policy.named_parameters():
            parameter.requires_grad_("value_net" in name or not hold)

    def _point(self, seconds: float) -> CurvePoint:
        episodes = list(self.model.ep_info_buffer or [])
        logged = self.model.logger.name_to_value
        return CurvePoint(
            timesteps=self.timesteps,
            seconds=seconds,
            episode_return=float(np.mean([e["r"] for e in episodes])) if episodes else None,
            episode_length=float(np.mean([e["l"] for e in episodes])) if episodes else None,
            entropy=-float(logged["train/entropy_loss"]),
            approx_kl=float(logged["train/approx_kl"]),
            explained_variance=float(logged["train/explained_variance"]),
            value_loss=float(logged["train/value_loss"]),
        )


def _eyes(world: OutcomeModel | None, earlier: Path | str | None) -> OutcomeModel | None:
    """The outcome model that a policy sees through: the one it began with, or the world's."""
    begun = None if earlier is None else load_eyes(earlier)
    if begun is None or world is None:
        return begun or world
    # Equal but for rounding: then it is the world's, whose memory reaches back before a start.
    ours, theirs = begun.state_dict(), world.state_dict()
    same = ours.keys() == theirs.keys() and all(
        torch.equal(ours[name].half().cpu(), theirs[name].half().cpu()) for name in ours
    )
    return world if same else begun
