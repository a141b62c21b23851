"""``nfd collect``: record a real environment."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from gymnasium import spaces

from agents.collecting.behaviour import MIX, Agent, BehaviourPolicy, draw_policy
from agents.collecting.collector import collect, policy_shares
from agents.policies import Policy
from agents.real_env import RealEnvPreset, get_preset, make_real_env
from world_model.data.metadata import DatasetInfo
from world_model.data.writer import DatasetWriter
from world_model.errors import DataError


@dataclass(frozen=True)
class CollectConfig:
    """Records episodes of a real environment, resumable at any time."""

    environment: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENVIRONMENT")]
    """Preset of the real environment, such as doom-take-cover."""
    steps: int = 200_000
    """Frames to record; whole shards of episodes are written, so there will be slightly more."""
    out: Path | None = None
    """Folder of the data set (default: data/ENVIRONMENT)."""
    processes: int = 2
    """Processes that play; their number does not change the data."""
    seed: int = 0
    """Seed of everything that is drawn."""
    policy: tuple[str, ...] = ("mix",)
    """Players, drawn with equal shares: mix, one of its parts (uniform, sticky, sweep, evade,
    switch, noop, constant), or the folder of a trained policy."""
    shard_episodes: int = 16
    """Episodes per parquet file."""


def dataset_info(preset: RealEnvPreset) -> DatasetInfo:
    """Description of recordings of ``preset``."""
    source = preset.to_dict()
    with suppress(metadata.PackageNotFoundError):  # making the environment will say so
        source["vizdoom"] = metadata.version("vizdoom")
    return DatasetInfo(
        action_spec=preset.action_spec,
        frame_shape=preset.frame_shape,
        fps=preset.fps,
        state_names=tuple(name.lower() for name in preset.state_variables),
        label_classes=preset.class_names if preset.label_classes else {},
        source=source,
        task=f"play {preset.name}",
    )


def make_policy(
    preset: RealEnvPreset, players: tuple[str, ...], rng: np.random.Generator
) -> BehaviourPolicy:
    """Draws the player of one episode: each of ``players`` is as likely as the others."""
    player = players[int(rng.integers(len(players)))] if len(players) > 1 else players[0]
    if player == "mix" or player in MIX:
        threat = max(preset.class_names) if preset.label_classes else None
        return draw_policy(rng, preset.action_names, threat, player)
    space = preset.action_spec.space
    assert isinstance(space, spaces.Discrete)
    return Agent(_load_policy(player), space, float(rng.choice([0.0, 0.05, 0.2])), rng)


@cache
def _load_policy(path: str) -> Policy:
    from agents.policy_io import load_policy

    return load_policy(path, deterministic=False)


def _policy_ids(players: tuple[str, ...]) -> dict[str, str]:
    """What is in the policy folders among ``players``: going on with others is refused."""
    folders = [player for player in players if player != "mix" and player not in MIX]
    if not folders:
        return {}
    from agents.policy_io import find_policy, policy_id

    return {folder: policy_id(find_policy(folder)) for folder in folders}


def run(config: CollectConfig) -> None:
    """Records as ``config`` says, with a progress bar.

    Raises:
        NFDError: with a text for the user.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    preset = get_preset(config.environment)
    if not config.policy:
        raise DataError("no policy is given; leave --policy out for the usual mix.")
    settings = {"seed": config.seed, "policy": list(config.policy)}
    if ids := _policy_ids(config.policy):
        settings["policy_ids"] = ids
    make_real_env(preset).close()  # fails here if the game is not installed, with nothing written
    info = dataset_info(preset)
    out = config.out or Path("data") / preset.name
    writer = DatasetWriter(
        out,
        info,
        settings=settings,
        shard_episodes=config.shard_episodes,
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} frames"),
        TextColumn("{task.fields[rate]:.0f} frames/s"),
        TimeRemainingColumn(),
    )
    started, played = time.monotonic(), 0
    with Progress(*columns) as progress:
        bar = progress.add_task(str(out), total=config.steps, rate=0.0)

        def report(placed: int, more: int) -> None:
            nonlocal played
            played += more
            rate = played / max(time.monotonic() - started, 1e-6)
            progress.update(bar, completed=min(placed, config.steps), rate=rate)

        collect(
            writer,
            partial(make_real_env, preset),
            partial(make_policy, preset, config.policy),
            steps=config.steps,
            seed=config.seed,
            processes=config.processes,
            report=report,
        )
    frames: Counter[str] = Counter()
    for shard in writer.shards:
        for episode in shard.episodes:
            frames[episode["info"]["policy"].split("-")[0]] += episode["length"]
    print(f"{out}: {writer.episodes} episodes, {writer.frames} frames ({policy_shares(frames)}).")


def main(argv: list[str]) -> int:
    """Entry point of ``nfd collect``; an NFDError is for the caller to show."""
    config = tyro.cli(CollectConfig, args=argv, prog="nfd collect")
    try:
        run(config)
    except KeyboardInterrupt:
        print("Stopped. Run the same command again to go on.", file=sys.stderr)
        return 130
    return 0
