"""``nfd evaluate --measure probes``: do imagined frames show what was true in the real game?

Where recordings know more than frames (position, angle, health), probes from several seeds learn to
read it off real frames. What they read off imagined ones is held against the truth at the same
step.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.clips import Clips
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.held_out import HeldOut, open_held_out
from benchmarks.intervals import counted, mean_intervals, sums_interval
from benchmarks.plotting import has_matplotlib
from benchmarks.progress import counting
from benchmarks.results import closing_words
from benchmarks.state_probe import (
    Quantity,
    StateProbe,
    find_quantities,
    read_clips,
    read_pairs,
    rows_before_another,
    train_probe,
    true_states,
)
from nfd_env.loading import resolve_device
from world_model.data.store import EpisodeStore

READABLE = 0.3
"""R2 on held-out real frames, below which nothing is said about imagined ones."""
JUDGED = 4_000
"""Held-out real frames that decide it."""
NO_STATE = "the recordings hold frames alone, no state of the game to read off them"


def run(
    options: EvaluateOptions, console: Console, world: Any = None, held_out: HeldOut | None = None
) -> dict[str, Any]:
    """Trains and applies probes, writes JSON and plots to ``options.out``, returns the results.

    Args:
        options: what to measure.
        console: for progress and tables.
        world: a world object, instead of loading ``options.world``.
        held_out: world and clips, where another part has prepared them.

    Raises:
        NFDError: if the world or the data set are missing, or do not fit each other.
    """
    from benchmarks import probes_report

    started = time.perf_counter()
    held_out = held_out or open_held_out(options, console, world)
    store, clips, out = held_out.store, held_out.clips, held_out.out
    quantities, left_out = find_quantities(store)
    probes: list[StateProbe] = []
    ceilings: dict[str, dict[str, Any]] = {}
    if quantities:
        total = options.probe_steps * options.networks
        with counting(console, f"{options.networks} probes of the state", total) as tell:
            probes = [
                train_probe(
                    store,
                    quantities,
                    steps=options.probe_steps,
                    seed=options.seed + i,
                    device=resolve_device(options.device),
                    on_step=tell,
                )
                for i in range(options.networks)
            ]
        ceilings = judge_probes(probes, store, options.split)
    by_steps: dict[str, Any] = {}
    for steps in held_out.steps:
        if not probes:
            why = NO_STATE if not store.state_names else "nothing that they know ever changes"
            by_steps[str(steps)] = {"why_not": why, "not_read": left_out}
            continue
        total = held_out.frames_to_dream(steps, shuffled=True)
        with counting(console, f"{steps} sampling steps", total) as tell:
            dream, shuffled = held_out.dream(steps, tell), held_out.shuffled(steps, tell)
        found = score_probes(probes, ceilings, store, clips, dream.frames, shuffled)
        found["not_read"] = {**left_out, **found["not_read"]}
        by_steps[str(steps)] = found
    document = held_out.write("probes", {"by_steps": by_steps}, started)
    for steps, results in document["results"]["by_steps"].items():
        for table in probes_report.tables(
            results, f"{held_out.world.model_id}, {steps} sampling steps"
        ):
            console.print(table)
        if options.pictures and results.get("read") and has_matplotlib(console):
            probes_report.plot(results, out / f"probes-{steps}.png")
    console.print(closing_words(document, out))
    return document


def judge_probes(
    probes: Sequence[StateProbe], store: EpisodeStore, split: str
) -> dict[str, dict[str, Any]]:
    """R2 and mean absolute error on held-out real frames, by name of the quantity.

    They are those of all probes together; ``by_probe`` has the R2 of each.
    """
    rows = rows_before_another(store, split)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(JUDGED, len(rows))).astype(int))]
    episodes = np.searchsorted(store.offsets, rows, side="right")
    before, after = store.frames[rows], store.frames[rows + 1]
    read = [read_pairs(probe, before, after) for probe in probes]
    found: dict[str, dict[str, Any]] = {}
    for i, quantity in enumerate(probes[0].quantities):
        truth = store.state[rows + 1, quantity.column][:, None]
        targets = np.stack([theirs[i] for theirs in read])[:, :, None]
        figures = _figures(quantity, targets, truth, episodes)
        alone = [_figures(quantity, one[None], truth, episodes)["r2"][0] for one in targets]
        found[quantity.name] = {name: curve[0] for name, curve in figures.items()}
        found[quantity.name]["by_probe"] = [r2["estimate"] for r2 in alone]
    return found


def score_probes(
    probes: Sequence[StateProbe],
    ceilings: dict[str, dict[str, Any]],
    store: EpisodeStore,
    clips: Clips,
    imagined: np.ndarray,
    shuffled: np.ndarray,
) -> dict[str, Any]:
    """What imagined frames show of the truth, by quantity and horizon.

    Args:
        probes: of the same quantities, from different seeds; errors are the mean over them, and
            intervals draw probes as well as episodes.
        ceilings: how well they read real frames, see :func:`judge_probes`.
        store: the data set, which knows the truth.
        clips: of it.
        imagined: uint8 (N, H, h, w, 3), under the true actions.
        shuffled: uint8, the same under the actions of other clips.

    Returns:
        ``read``, by quantity: ``ceiling`` (``r2`` and ``mae`` on held-out real frames); ``r2`` and
        ``mae`` by horizon of ``model``, ``shuffled_actions``, ``repeat_last`` (the true state of
        the last given frame) and ``real_frames`` (the probes on the real frames of the same
        steps); ``gain_over`` the two baselines, by how much the model's error is smaller; ``told``,
        by how much that of real frames is smaller than ``repeat_last``'s: where it is not, the
        quantity changes too little, or the probes are too weak, to tell a right world from a wrong
        one. And ``not_read``: by quantity, why not.
    """
    states, last = true_states(store, clips)
    seen = {"model": imagined, "shuffled_actions": shuffled, "real_frames": clips.frames}
    reads = {name: [read_clips(p, clips, frames) for p in probes] for name, frames in seen.items()}
    results: dict[str, Any] = {"read": {}, "not_read": {}}
    for i, quantity in enumerate(probes[0].quantities):
        ceiling = ceilings[quantity.name]
        r2 = ceiling["r2"]["estimate"]
        if not r2 >= READABLE:
            results["not_read"][quantity.name] = (
                f"probes cannot read it off real frames: R2 {r2:.2f}, below {READABLE}"
            )
            continue
        truth = states[..., quantity.column]
        held = quantity.targets(np.repeat(last[:, None, quantity.column], clips.horizon, axis=1))
        said = {name: np.stack([theirs[i] for theirs in read]) for name, read in reads.items()}
        said["repeat_last"] = held[None]
        figures = {n: _figures(quantity, t, truth, clips.episodes) for n, t in said.items()}
        errors = {n: quantity.errors(quantity.values(t), truth) for n, t in said.items()}
        results["read"][quantity.name] = {
            "unit": quantity.unit,
            "ceiling": ceiling,
            **{what: {n: f[what] for n, f in figures.items()} for what in ("r2", "mae")},
            "gain_over": {
                name: _curve(errors[name] - errors["model"], clips.episodes)
                for name in ("repeat_last", "shuffled_actions")
            },
            "told": _curve(errors["repeat_last"] - errors["real_frames"], clips.episodes),
        }
    known = clips.known
    results["counts"] = {
        "clips": known.sum(0),
        "episodes": [len(np.unique(clips.episodes[column])) for column in known.T],
    }
    return results


def _figures(
    quantity: Quantity, targets: np.ndarray, truth: np.ndarray, episodes: np.ndarray
) -> dict[str, list[dict[str, Any]]]:
    """R2 of targets (S, N, H, D), all of an angle's together, and error in its own unit."""
    truth = np.broadcast_to(truth, targets.shape[:-1])  # (S, N, H), of S probes
    known = ~np.isnan(truth)
    wanted = quantity.targets(truth).astype(np.float64)
    error = np.square(targets - wanted).sum(-1)
    # All sums that R2 needs, of standardised numbers: large ones would leave nothing of their
    # differences.
    sums = np.concatenate(
        [np.stack([known, error, np.square(wanted).sum(-1)], axis=-1), wanted], axis=-1
    )
    sums = np.where(known[..., None], sums, 0.0)
    r2 = [
        counted(sums_interval(sums[:, :, h], episodes, _r2, networks=True), known[0, :, h].sum())
        for h in range(truth.shape[2])
    ]
    return {"r2": r2, "mae": _curve(quantity.errors(quantity.values(targets), truth), episodes)}


def _r2(sums: np.ndarray) -> np.ndarray:
    """Of (R, 3 + D): number, squared errors, squares, and sums of the targets; NaN of equals."""
    count, error, squares = sums[:, 0], sums[:, 1], sums[:, 2]
    spread = squares - np.square(sums[:, 3:]).sum(-1) / count
    return np.where(spread > 1e-9 * count, 1 - error / spread, np.nan)


def _curve(values: np.ndarray, episodes: np.ndarray) -> list[dict[str, Any]]:
    """Means of (S, N, H), of S probes, by horizon."""
    n = (~np.isnan(values[0])).sum(0)
    means = mean_intervals(values, episodes, networks=True)
    return [counted(i, k) for i, k in zip(means, n, strict=True)]
