"""Settings of PPO, and the stable-baselines3 model that they make."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

from agents.policy_io import network_settings


@dataclass(frozen=True)
class PPOConfig:
    """Settings of PPO; the defaults learn to dodge fireballs in Take Cover."""

    n_envs: int = 32
    """Streams that are imagined side by side."""
    n_steps: int = 64
    """Steps of every stream between two updates."""
    batch_size: int = 256
    """Transitions in one gradient step."""
    n_epochs: int = 6
    """Passes over the transitions of an update."""
    learning_rate: float = 5e-4
    """Of Adam, at the start."""
    final_learning_rate: float = 1e-4
    """Of Adam, at the end; it falls linearly with the timesteps."""
    gamma: float = 0.98
    """Discount of a step."""
    gae_lambda: float = 0.95
    """Trade of bias and variance in the advantages."""
    clip_range: float = 0.2
    """How far one update may move the probability of an action."""
    ent_coef: float = 0.002
    """Weight of the entropy bonus."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: float = 0.5
    """Gradients are clipped to this norm."""
    value_warmup: int = 2048
    """Environment steps in which only the value function learns, where a fresh run begins with a
    policy that imitates: what it knows is not to be unlearned by guesses of what it is worth."""
    shaping_weight: float = 0.0
    """Reward per unit of ``shaping_state`` that an action is expected to gain or lose, in
    imagination; 0: none."""
    shaping_state: str = "health"
    """What the world's outcome model shapes rewards by, see :mod:`agents.shaping`."""
    observation: str = "auto"
    """What the network sees: the last ``frames``; the ``memory`` of the world's outcome model;
    ``both``; or ``auto``: the memory where the agent trains in a world that has such a model, as it
    learns fastest and costs least; else frames."""
    frame_stack: int = 4
    """Number of frames that the network sees at once."""
    features_dim: int = 512
    """Width of the layer after the convolutions on frames."""
    memory_width: int = 256
    """Width of the hidden layer where the network sees a memory."""
    deterministic: bool = True
    """Whether the finished policy plays its likeliest action rather than a sampled one."""


def make_model(envs: VecEnv, config: PPOConfig, seed: int, device: str) -> PPO:
    """PPO with SB3's network for what the agent sees, to be trained in ``envs``."""
    policy, settings = network_settings(config)
    model = PPO(
        policy,
        envs,
        n_steps=config.n_steps,
        batch_size=config.batch_size,
        n_epochs=config.n_epochs,
        learning_rate=config.learning_rate,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip_range,
        ent_coef=config.ent_coef,
        vf_coef=config.vf_coef,
        max_grad_norm=config.max_grad_norm,
        policy_kwargs=settings,
        seed=seed,
        device=device,
    )
    # Convolutions over few channels run 1.4 times faster on CPUs in this layout.
    model.policy.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model
