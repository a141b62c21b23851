"""``nfd collect``: record a real environment."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import tyro

from agents.collecting.choice import Choice
from agents.collecting.collector import collect, policy_shares
from agents.frame_env import FrameEnv
from agents.presets import PRESETS, Preset, get_preset, make_real_env
from agents.real_env import RealEnvPreset
from agents.recipe import EnvRecipe, FrameOptions, default_name
from world_model.data.metadata import DatasetInfo
from world_model.data.writer import DatasetWriter
from world_model.errors import ConfigError, DataError, NFDError, WorldNotFoundError


@dataclass(frozen=True)
class CollectConfig:
    """Records episodes of a real environment, resumable at any time."""

    environment: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENVIRONMENT")]
    """A preset, such as doom-take-cover; the id of a Gymnasium environment; or `module:function`
    that makes one."""
    name: str | None = None
    """Name of the recordings, and of the world to be learned (default: after the environment)."""
    steps: int = 200_000
    """Frames to record; whole shards of episodes are written, so there will be slightly more."""
    out: Path | None = None
    """Folder of the data set (default: data/NAME)."""
    processes: int = 2
    """Processes that play; their number does not change the data."""
    seed: int = 0
    """Seed of everything that is drawn."""
    policy: tuple[str, ...] = ("mix",)
    """Players, drawn with equal shares: mix; one of its parts (random, sticky, runs, biased,
    switch; of doom-take-cover uniform, sticky, sweep, evade, switch, noop, constant; of
    doom-defend-the-center also hunt, of breakout also follow, of crafter also forage); the folder
    of a trained policy, or its .zip from Stable-Baselines3; or `module:function`, called with a
    numpy Generator once an episode, which returns a callable (frame, info) -> action."""
    shard_episodes: int = 16
    """Episodes per parquet file."""
    kwargs: str = "{}"
    """Arguments of gymnasium.make, as JSON."""
    fps: float | None = None
    """Steps per second of the environment, frame skip included (default: what it says)."""
    frames: Annotated[FrameOptions, tyro.conf.arg(name="")] = field(default_factory=FrameOptions)
    """How its pictures become frames. Presets bring this with them."""


def find_environment(config: CollectConfig) -> Preset:
    """The preset or recipe that the command names.

    Raises:
        ConfigError: if the settings of a preset are to be changed, or ``kwargs`` are no JSON.
    """
    if config.environment in PRESETS:
        plain = CollectConfig(config.environment)
        given = [
            name for name in ("kwargs", "fps") if getattr(config, name) != getattr(plain, name)
        ]
        given += [
            option.name
            for option in fields(FrameOptions)
            if getattr(config.frames, option.name) != getattr(plain.frames, option.name)
        ]
        if given:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise ConfigError(
                f"{config.environment!r} is a preset, which brings its own {flags}. Give the id of "
                f"its environment instead to choose: {PRESETS[config.environment].env_id}."
            )
        return get_preset(config.environment)
    try:
        kwargs = json.loads(config.kwargs)
        if not isinstance(kwargs, dict):
            raise ValueError("expected an object, {...}")
    except ValueError as error:
        raise ConfigError(f"--kwargs {config.kwargs!r} is no JSON object: {error}.") from error
    return EnvRecipe(
        name=config.name or default_name(config.environment),
        env_id=config.environment,
        kwargs=kwargs,
        frames=config.frames,
        fps=config.fps,
    )


def dataset_info(preset: Preset) -> DatasetInfo:
    """Description of recordings of ``preset``.

    Raises:
        NFDError: if the environment cannot be started, or does not fit its recipe.
    """
    if isinstance(preset, RealEnvPreset):
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
    env = FrameEnv(preset)
    try:
        return DatasetInfo(
            action_spec=env.action_spec,
            frame_shape=env.frame_shape,
            fps=env.fps,
            state_names=env.state_names,
            source=env.source,
            task=f"play {preset.name}",
        )
    finally:
        env.close()


def check_start(preset: Preset) -> None:
    """Starts an episode once: better to fail now than in another process.

    Raises:
        NFDError: if that fails.
    """
    env = make_real_env(preset)
    try:
        env.reset(seed=0)
    except NFDError:
        raise
    except Exception as error:  # whatever the environment trips over
        raise NFDError(
            f"{preset.env_id!r} cannot be reset ({type(error).__name__}: {error})."
        ) from error
    finally:
        env.close()


def run(config: CollectConfig) -> None:
    """Records as ``config`` says, with a progress bar.

    Raises:
        NFDError: with a text for the user.
    """
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

    from world_model.progress import LoggedProgress

    if not config.policy:
        raise DataError("no policy is given; leave --policy out for the usual mix.")
    preset = find_environment(config)
    try:
        info = dataset_info(preset)
    except WorldNotFoundError as error:
        raise WorldNotFoundError(f"{error} Presets: {', '.join(PRESETS)}.") from error
    threat = max(info.label_classes) if info.label_classes else None
    choice = Choice(config.policy, info.action_spec, info.frame_shape, threat)
    settings: dict[str, Any] = {"seed": config.seed, "policy": list(config.policy)}
    if ids := choice.identify():
        settings["policy_ids"] = ids
    check_start(preset)  # fails here if the game is not installed, with nothing written
    out = config.out or Path("data") / (config.name or preset.name)
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
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    started, played = time.monotonic(), 0
    with LoggedProgress(*columns, console=Console()) as progress:
        bar = progress.add_task(str(out), total=config.steps, note="")

        def report(placed: int, more: int) -> None:
            nonlocal played
            played += more
            rate = played / max(time.monotonic() - started, 1e-6)
            progress.update(bar, completed=min(placed, config.steps), note=f"{rate:.0f} frames/s")

        failures = collect(
            writer,
            partial(make_real_env, preset),
            choice,
            steps=config.steps,
            seed=config.seed,
            processes=config.processes,
            report=report,
        )
    print(summary(writer, failures))


def summary(writer: DatasetWriter, failures: list[str]) -> str:
    """What was recorded, and what was left out."""
    frames: Counter[str] = Counter()
    for shard in writer.shards:
        for episode in shard.episodes:
            frames[episode["info"]["policy"].split("-")[0]] += episode["length"]
    text = (
        f"{writer.root}: {writer.episodes} episodes, {writer.frames} frames "
        f"({policy_shares(frames)})."
    )
    left_out = len(writer.shards) * writer.shard_episodes - writer.episodes
    if left_out:
        text += f" {left_out} episodes were left out because the environment failed in them"
        text += f", last with {failures[-1]}." if failures else "."
    return text


def main(argv: list[str]) -> int:
    """Entry point of ``nfd collect``; an NFDError is for the caller to show."""
    config = tyro.cli(CollectConfig, args=argv, prog="nfd collect")
    try:
        run(config)
    except KeyboardInterrupt:
        print("Stopped. Run the same command again to go on.", file=sys.stderr)
        return 130
    return 0
