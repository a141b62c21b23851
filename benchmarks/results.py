"""What every benchmark leaves behind: one JSON layout, checked before it is written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.results import describe_machine, write_results
from agents.statistics import Interval

SCHEMA_VERSION = 1
"""Of the layout; counted up when a field changes its meaning."""
KINDS = (
    "fidelity",
    "outcomes",
    "controllability",
    "probes",
    "uncertainty",
    "ranking",
    "speed",
    "exploitation",
    "lift",
    "stability",
    "paper-scale",
    "coin-flip",
    "distillation",
    "speculation",
    "exactness",
    "peers",
    "loading",
)
REQUIRED = ("kind", "schema_version", "world", "settings", "results", "seconds")


def write_benchmark(
    path: Path,
    kind: str,
    *,
    world: str | None,
    settings: Mapping[str, Any],
    results: Mapping[str, Any],
    seconds: float,
    data: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes the results of one benchmark with all that is needed to read and repeat them.

    Args:
        path: the JSON file.
        kind: which benchmark.
        world: ``model_id`` of the world; None where none was used.
        settings: every option: seeds, numbers of clips, episodes, steps.
        results: figures; intervals as ``{"estimate", "low", "high", "confidence"}``.
        seconds: wall-clock time of the measurement.
        data: the data set that was used, see :func:`describe_data`.

    Returns:
        What was written, but for machine and versions.

    Raises:
        StorageError: if the disk is full or the folder cannot be written.
    """
    import torch

    content = {
        "schema_version": SCHEMA_VERSION,
        "world": world,
        "data": None if data is None else dict(data),
        "settings": plain(settings),
        "results": plain(results),
        "seconds": round(seconds, 1),
        "torch_threads": torch.get_num_threads(),
    }
    check_benchmark({"kind": kind, **content})
    write_results(path, f"benchmark/{kind}", content)
    return {"kind": kind, **content}


def check_benchmark(document: Mapping[str, Any]) -> None:
    """Holds a document against the layout.

    Raises:
        ValueError: if a field is missing, of another version, or an interval is out of order.
    """
    missing = [name for name in REQUIRED if name not in document]
    if missing:
        raise ValueError(f"the results lack {', '.join(missing)}.")
    kind = str(document["kind"]).removeprefix("benchmark/")
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is none of {', '.join(KINDS)}.")
    if document["schema_version"] != SCHEMA_VERSION:
        raise ValueError(
            f"schema version {document['schema_version']}; this release knows {SCHEMA_VERSION}."
        )
    for place, interval in _intervals(document["results"], "results"):
        low, high, estimate = (interval[name] for name in ("low", "high", "estimate"))
        if None not in (low, high, estimate) and low > high:
            raise ValueError(f"{place}: the interval {low} .. {high} is out of order.")


def describe_data(store: Any, split: str) -> dict[str, Any]:
    """What a result says of the data set it was measured on."""
    return {
        "content_hash": store.content_hash,
        "split": split,
        "episodes": len(store.split(split)),
        "source": store.source,
    }


def plain(value: Any) -> Any:
    """The same as JSON knows it: NumPy numbers and paths unpacked, nothing but finite numbers."""
    if isinstance(value, Interval):
        return plain(value.to_dict())
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def machine_line() -> str:
    """Processor, threads and GPU in one line, for below a table."""
    machine = describe_machine()
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    threads = machine["torch_threads"]
    plural = "thread" if threads == 1 else "threads"
    return f"{machine['processor']} ({machine['cpus']} CPUs), torch on {threads} {plural}{gpu}"


def closing_words(document: Mapping[str, Any], out: Path) -> str:
    """What a measurement ends with on the terminal: on what, for how long, and where it all is."""
    return f"{machine_line()}\n{document['seconds']:.0f} s; everything is in {out}"


def _intervals(value: Any, place: str) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(value, Mapping):
        if {"estimate", "low", "high"} <= set(value):
            return [(place, dict(value))]
        return [i for key, part in value.items() for i in _intervals(part, f"{place}.{key}")]
    if isinstance(value, list):
        return [i for n, part in enumerate(value) for i in _intervals(part, f"{place}[{n}]")]
    return []
