"""What must be equal for two evaluations to be put side by side, part by part, and what may differ.

Sampler, number of steps and precision belong to the world that is compared; device and batch change
no more than last digits. Settings of other parts stand in every document and decide nothing there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.evaluation_folder import EvaluationFolder
from benchmarks.exploitation import RANDOM
from benchmarks.parts import PARTS
from world_model.errors import DataError

FREE = {"sampler", "steps", "own_steps", "precision", "device", "batch", "pictures", "measure",
        "policies", "episodes", "agents", "training", "stable_steps", "reader_steps", "probe_steps",
        "networks", "real_env"}  # fmt: skip
"""Settings that may differ in documents of other kinds."""
DEFAULTS = {"precision": "float32", "networks": 1}
"""What was used where a document of an earlier release, which had no choice, says nothing."""


def protocol_of(part: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """All that must be equal for two documents of a part to be compared."""
    settings = document["settings"]
    names = PARTS[part].protocol if part in PARTS else sorted(set(settings) - FREE)
    protocol = {name: setting(settings, name) for name in names}
    if data := document.get("data"):
        protocol["data set"] = data.get("content_hash")
        protocol["split of the data set"] = data.get("split")
    made = _OF_RESULTS.get(part)
    if made is not None:
        protocol |= made(next(iter(document["results"]["by_steps"].values())))
    return protocol


def setting(settings: Mapping[str, Any], name: str) -> Any:
    """A setting by its name, with a dot where it stands within another; None where it is missing.

    >>> setting({"training": {"steps": 9}}, "training.steps")
    9
    """
    value: Any = settings
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return DEFAULTS.get(name) if value is None else value


def check_same(part: str, folders: Sequence[EvaluationFolder]) -> None:
    """Refuses documents that were measured in different ways.

    Raises:
        DataError: that says what differs, and where.
    """
    first = folders[0]
    expected = protocol_of(part, first.documents[part])
    for other in folders[1:]:
        found = protocol_of(part, other.documents[part])
        differing = [
            f"{name}: {expected.get(name)} and {found.get(name)}"
            for name in dict.fromkeys([*expected, *found])
            if expected.get(name) != found.get(name)
        ]
        if differing:
            raise DataError(
                f"{part} was measured in different ways in {first.path} and {other.path}; "
                f"{'; '.join(differing)}. Measure one of them again with the other's settings."
            )


def note_on(part: str, folders: Sequence[EvaluationFolder]) -> str:
    """What may differ, does, and should be known to a reader; empty where there is nothing."""
    used = [
        (str(setting(folder.documents[part]["settings"], "precision")), str(folder.path))
        for folder in folders
    ]
    if len({precision for precision, _ in used}) < 2:
        return ""
    told = ", ".join(f"{precision} in {path}" for precision, path in used)
    return (
        f"Mind the precision of {part}: {told}. It is compared as it was run; part of what differs "
        "may be due to that."
    )


def _of_ranking(results: Mapping[str, Any]) -> dict[str, Any]:
    sides = [sides["real"] for sides in results["policies"].values()]
    return {
        "policies": sorted(results["policies"]),
        "real environment": sorted({side["environment"] for side in sides}),
    }


def _of_lift(results: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "whose agents": results["of"],
        **_chance(results["groups"][RANDOM]["mean"]),
    }


def _of_exploitation(results: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "policies": sorted(results["blind"]),
        **_chance(results["blind"][RANDOM]["real"]),
    }


def _chance(mean: Mapping[str, Any]) -> dict[str, str]:
    """Same game, same seeds, same random actions: the same return, up to last digits."""
    return {"real return of chance": f"{mean['estimate']:.6g}"}


_OF_RESULTS = {"ranking": _of_ranking, "lift": _of_lift, "exploitation": _of_exploitation}
