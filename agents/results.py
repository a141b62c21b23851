"""What an evaluation leaves behind: ``results.json`` for programs, a table for people."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from agents.evaluation import Evaluation
from agents.statistics import (
    Interval,
    difference_interval,
    format_number,
    iqm_interval,
    mean_interval,
)
from world_model.storage import atomic_file

FORMAT_VERSION = 1


def write_results(path: Path, kind: str, content: dict[str, Any]) -> None:
    """Writes ``content`` with format, package versions and machine beside it.

    Raises:
        StorageError: if the disk is full or the folder cannot be written.
    """
    results = {
        "format_version": FORMAT_VERSION,
        "kind": kind,
        **content,
        "versions": {name: package_version(name) for name in _PACKAGES},
        "machine": describe_machine(),
    }
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n")


def describe_machine() -> dict[str, Any]:
    """Processor, threads and accelerator."""
    import torch

    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def evaluation_table(evaluations: Sequence[Evaluation], title: str, unit: str = "return") -> Table:
    """One row per policy: mean with interval, spread, episodes, length; the best sweep is bold."""
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("policy")
    table.add_column(f"{unit} [95 % interval]", justify="right")
    table.add_column("± std", justify="right")
    table.add_column("episodes", justify="right")
    table.add_column("steps", justify="right")
    table.add_column("cut off", justify="right")
    best = best_sweep(evaluations)
    for evaluation in evaluations:
        table.add_row(
            evaluation.policy,
            str(evaluation.interval),
            format_number(float(evaluation.returns.std())),
            str(len(evaluation.returns)),
            f"{evaluation.lengths.mean():.0f}",
            str(int((~evaluation.terminated).sum())),
            style="bold" if evaluation is best else None,
        )
    return table


def best_sweep(evaluations: Iterable[Evaluation]) -> Evaluation | None:
    """The blind sweep with the highest mean return: the bar that an agent has to beat."""
    sweeps = [e for e in evaluations if e.policy.startswith("sweep-")]
    return max(sweeps, key=lambda e: float(e.returns.mean()), default=None)


def compare(agents: Sequence[Evaluation], bar: Evaluation | None) -> dict[str, Any]:
    """Agents of several seeds together, and their lead over ``bar``.

    ``mean`` resamples the episodes of each seed and speaks of these agents; ``mean_new_seeds``
    resamples the seeds as well and speaks of agents yet to be trained.
    """
    strata = [agent.returns for agent in agents]
    summary: dict[str, Any] = {
        "agents": [agent.policy for agent in agents],
        "episodes": sum(len(part) for part in strata),
        "mean": mean_interval(strata).to_json(),
        "iqm": iqm_interval(strata).to_json(),
        "mean_new_seeds": mean_interval(strata, resample_strata=True).to_json(),
    }
    if bar is not None:
        lead = difference_interval(strata, bar.returns)
        summary["lead"] = lead.to_json()
        summary["lead_over"] = bar.policy
        # No interval, nothing shown: a comparison with NaN is False.
        summary["beaten"] = bool(lead.low > 0)
    return summary


def describe_comparison(summary: dict[str, Any], unit: str = "") -> str:
    """The summary of :func:`compare` in a sentence or two."""

    def text(key: str) -> str:
        return str(Interval(**{k: np.nan if x is None else x for k, x in summary[key].items()}))

    count = len(summary["agents"])
    agents = f"{count} agents together" if count > 1 else summary["agents"][0]
    sentence = f"{agents}: {text('mean')} {unit}".rstrip() + f" (IQM {text('iqm')})"
    if "lead" not in summary:
        return sentence + "."
    verdict = f"the bar is {'beaten' if summary['beaten'] else 'not beaten'}"
    if summary["lead"]["low"] is None:
        verdict = "whether the bar is beaten is open"
    return f"{sentence}; lead over {summary['lead_over']}: {text('lead')}, so {verdict}."


_PACKAGES = ("nfd-world", "torch", "numpy", "gymnasium", "stable-baselines3", "vizdoom")


def package_version(package: str) -> str | None:
    """The installed version of ``package``; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
