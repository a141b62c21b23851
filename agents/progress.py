"""Progress bars for training and for evaluations, which are no more than decoration."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from agents.evaluation import OnEpisode
from agents.imitation import Imitation, ImitationConfig
from agents.learning_curve import CurvePoint
from agents.ppo import PPOTrainer
from agents.statistics import format_number
from world_model.data.store import EpisodeStore
from world_model.progress import LoggedProgress


def train_with_progress(
    trainer: PPOTrainer,
    timesteps: int,
    *,
    console: Console,
    label: str,
    minutes: float | None = None,
    keep_every: int | None = None,
    on_update: Callable[[CurvePoint], None] = lambda point: None,
) -> None:
    """Runs :meth:`PPOTrainer.train` to its end under a progress bar.

    The bar counts timesteps, or seconds where ``minutes`` is what will end the training.
    """
    started, begun_at = time.perf_counter(), trainer.timesteps
    total, unit = (timesteps, " steps") if minutes is None else (60 * minutes, " s")
    with _progress(console) as progress:
        task = progress.add_task(label, total=total, note="first steps", unit=unit)
        note = ""

        def on_step(now: int) -> None:
            elapsed = time.perf_counter() - started
            speed = (now - begun_at) / max(elapsed, 1e-6)
            done = elapsed if minutes is not None else now
            text = f"{now:,} steps, {speed:,.0f}/s{note}"
            progress.update(task, completed=min(done, total), note=text)

        for point in trainer.train(
            timesteps, minutes=minutes, keep_every=keep_every, on_step=on_step
        ):
            if point.episode_return is not None:
                note = f", return {format_number(point.episode_return)}"
            on_update(point)
        progress.update(task, completed=total)


def imitate_with_progress(
    trainer: PPOTrainer,
    store: EpisodeStore,
    config: ImitationConfig,
    *,
    console: Console,
    label: str,
) -> Imitation:
    """Runs :meth:`PPOTrainer.imitate` under a progress bar."""
    with _progress(console) as progress:
        task = progress.add_task(label, total=config.steps, note="watching the recordings")

        def on_step(step: int) -> None:
            progress.update(task, completed=step, note="")

        return trainer.imitate(store, config, on_step)


@contextmanager
def episode_progress(console: Console, label: str, episodes: int) -> Iterator[OnEpisode]:
    """A bar that counts episodes; yields what to pass as ``on_episode``."""
    returns: list[float] = []
    with _progress(console) as progress:
        task = progress.add_task(label, total=episodes, note="")

        def on_episode(episode_return: float, length: int) -> None:
            returns.append(episode_return)
            mean = sum(returns) / len(returns)
            progress.update(task, completed=len(returns), note=f"mean return {format_number(mean)}")

        yield on_episode


def _progress(console: Console) -> Progress:
    return LoggedProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
    )
