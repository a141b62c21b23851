"""What must be known before any figure of a folder of results is believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.evaluation_folder import EvaluationFolder
from benchmarks.parts import PARTS, SAME_CLIPS

HONEST = "validation"
"""The split that does not flatter a world."""


def warnings_of(folder: EvaluationFolder, reasons: Mapping[str, str]) -> list[str]:
    """Sentences for the top of the page.

    Args:
        folder: the results.
        reasons: why parts could not be measured just now, by part; of those whose results are
            there nevertheless, these are older.
    """
    warnings = [
        f"Beware: {part} was measured on another world, {document['world']}."
        for part, document in folder.documents.items()
        if document["world"] != folder.world
    ]
    return [*warnings, *_splits(folder), *_clips(folder), *_older(folder, reasons)]


def _splits(folder: EvaluationFolder) -> Iterator[str]:
    by_split: dict[str, list[str]] = {}
    for part, document in _of_clips(folder).items():
        if data := document.get("data"):
            by_split.setdefault(str(data.get("split")), []).append(part)
    for split, parts in by_split.items():
        if split != HONEST:
            yield (
                f"Beware: {_listed(parts)} measured on the split {split!r}, which flatters the "
                "world."
            )


def _clips(folder: EvaluationFolder) -> Iterator[str]:
    """Parts of one page should speak of the same clips."""
    settings = {part: document["settings"] for part, document in _of_clips(folder).items()}
    differing = [
        name
        for name in SAME_CLIPS
        if len({str(s[name]) for s in settings.values() if name in s}) > 1
    ]
    if differing:
        of_each = "; ".join(
            f"{part} with {', '.join(f'{name} {s.get(name)}' for name in differing)}"
            for part, s in settings.items()
        )
        yield f"Beware: not all parts were measured on the same clips: {of_each}."


def _older(folder: EvaluationFolder, reasons: Mapping[str, str]) -> Iterator[str]:
    for part, reason in reasons.items():
        if part in folder.documents:
            yield (
                f"Beware: what is shown of {part} is from an earlier run. It was to be measured "
                f"again, but could not be: {reason}"
            )


def _of_clips(folder: EvaluationFolder) -> dict[str, Mapping[str, Any]]:
    """Documents of the parts that imagine held-out clips again."""
    documents = folder.documents.items()
    return {part: d for part, d in documents if part in PARTS and PARTS[part].of_clips}


def _listed(parts: list[str]) -> str:
    """``fidelity was``, ``fidelity, outcomes and probes were``."""
    if len(parts) == 1:
        return f"{parts[0]} was"
    return f"{', '.join(parts[:-1])} and {parts[-1]} were"
