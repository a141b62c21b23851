"""The folder that ``nfd evaluate`` leaves behind, read back: one JSON document for each part."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.opening import PERFECT, TEACHER
from benchmarks.parts import PARTS
from benchmarks.results import check_benchmark
from nfd_env.loading import make_world
from world_model.errors import DataError, StorageError, WorldNotFoundError
from world_model.registry import find_world

PREFIX = "benchmark/"
REMEMBERED = "real-returns.json"
"""What rankings remember of the real game, beside the results."""


@dataclass(frozen=True)
class EvaluationFolder:
    """What was measured of a world."""

    path: Path
    """The folder, which also holds the pictures."""
    documents: dict[str, dict[str, Any]]
    """Documents by part: ``fidelity``, ``ranking``, ..."""

    @property
    def world(self) -> str:
        """``model_id`` of the world of the first document."""
        return str(next(iter(self.documents.values()))["world"])

    @property
    def missing(self) -> list[str]:
        """Parts that were not measured."""
        return [part for part in PARTS if part not in self.documents]

    def steps(self, part: str) -> list[str]:
        """Numbers of sampling steps that a part was measured with; ``[""]`` where it has one."""
        by_steps = self.documents.get(part, {}).get("results", {}).get("by_steps")
        return [""] if by_steps is None else sorted(by_steps, key=lambda s: (len(s), s))

    def own_steps(self, part: str) -> str:
        """The number of steps that stands for the world: its own, or else the largest."""
        measured = self.steps(part)
        own = str(self.documents.get(part, {}).get("settings", {}).get("own_steps"))
        return own if own in measured else measured[-1]

    def results(self, part: str, steps: str | None = None) -> Mapping[str, Any]:
        """Results of a part with some number of sampling steps; empty where it was not measured.

        By default the number of steps is the one that stands for the world.
        """
        results: Mapping[str, Any] = self.documents.get(part, {}).get("results", {})
        if "by_steps" not in results:
            return results
        chosen = self.own_steps(part) if steps is None else steps
        found: Mapping[str, Any] = results["by_steps"].get(chosen, {})
        return found


def read_folder(path: Path) -> EvaluationFolder:
    """Reads every document of a folder; JSON that is none of ours is left alone.

    Raises:
        DataError: if there is none, or one is damaged or of another version.
    """
    documents: dict[str, dict[str, Any]] = {}
    for file in sorted(path.glob("*.json")):
        if file.name == REMEMBERED:
            continue
        if (content := read_document(file)) is not None:
            documents[str(content["kind"]).removeprefix(PREFIX)] = content
    if not documents:
        raise DataError(f"{path} holds no results of 'nfd evaluate'.")
    known = [part for part in PARTS if part in documents]
    others = [part for part in documents if part not in PARTS]
    return EvaluationFolder(path, {part: documents[part] for part in (*known, *others)})


def read_document(file: Path) -> dict[str, Any] | None:
    """One document; None if it is none of ours.

    Raises:
        DataError: if it is damaged or of another version.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}. Measure it again.") from error
    kind = content.get("kind") if isinstance(content, dict) else None
    if not str(kind).startswith(PREFIX):
        return None
    try:
        check_benchmark(content)
    except ValueError as error:
        raise DataError(f"{file}: {error} Measure it again.") from error
    part = PARTS.get(str(kind).removeprefix(PREFIX))
    for steps, results in content["results"].get("by_steps", {}).items():
        lacking = [name for name in (part.needed if part else ()) if name not in results]
        if lacking:
            raise DataError(
                f"{file} is damaged: its results in {steps} sampling steps lack "
                f"{', '.join(lacking)}. Measure it again."
            )
    return dict(content)


def prepare_folder(path: Path, parts: Sequence[str]) -> None:
    """Makes the folder for results of ``parts``, and sees to it that a page can be made of it.

    Raises:
        StorageError: if it cannot be written to.
        DataError: if it holds a damaged document of another part.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise StorageError(
            f"results cannot be written to {path}: {error}. Name another folder with --out."
        ) from error
    for part in PARTS:
        file = path / f"{part}.json"
        if part not in parts and file.is_file():
            read_document(file)


def default_folder(name: str) -> Path:
    """Where the results of the world called ``name`` go unless a folder is given."""
    return Path("runs") / f"evaluate-{name}"


def find_evaluation(name: str) -> EvaluationFolder:
    """The evaluation in the folder ``name``, or the one of the world called ``name``.

    Raises:
        DataError: if there is neither.
    """
    path = Path(name)
    if path.is_dir() and not (path / "config.json").is_file():
        return read_folder(path)
    try:
        folder = default_folder(name_of(name))
    except WorldNotFoundError as error:
        raise DataError(f"{name!r} is neither a folder of results nor a world: {error}") from error
    if not folder.is_dir():
        raise DataError(
            f"there are no results of the world {name!r} in {folder}. Measure it first: "
            f"nfd evaluate {shlex.quote(name)}"
        )
    return read_folder(folder)


def name_of(asked: str) -> str:
    """What a world that is asked for as ``asked`` calls itself.

    Args:
        asked: as ``nfd evaluate`` takes it: name or folder, ``module:function``, or one of these
            after ``perfect:`` or ``teacher:``.

    Raises:
        NFDError: if there is no such world.
    """
    for prefix in (PERFECT, TEACHER):
        if asked.startswith(prefix):
            return f"{prefix.removesuffix(':')}-{name_of(asked.removeprefix(prefix))}"
    if ":" in asked:
        world = make_world(asked)
        getattr(world, "close", lambda: None)()
        return str(world.config.name)
    config = json.loads((find_world(asked) / "config.json").read_text(encoding="utf-8"))
    return str(config["world"]["name"])


def place_of(document: Mapping[str, Any]) -> str:
    """The GPU that a part was measured on, or else the processor, in a word or two."""
    machine = document.get("machine", {})
    return str(machine.get("gpu") or machine.get("processor") or "an unknown machine")


def command_of(document: Mapping[str, Any]) -> str:
    """The command that repeats a measurement: every option that is not its default.

    >>> command_of({"kind": "benchmark/fidelity", "world": "toy@1#0", "settings": {"clips": 8}})
    'nfd evaluate toy@1 --clips 8'
    """
    part = str(document["kind"]).removeprefix(PREFIX)
    ours = {name: known.options for name, known in PARTS.items()}
    some = {option for names in ours.values() for option in names}
    words = ["nfd", "evaluate", asked_as(document)]
    if part != "fidelity":
        words += ["--measure", part]
    settings = document["settings"]
    for option in fields(EvaluateOptions):
        name = option.name
        if name in ("world", "data", "out", "measure") or name not in settings:
            continue
        if name in some and name not in ours.get(part, some):
            continue
        words += _option(f"--{name}", option, settings[name])
    return shlex.join(words)


def asked_as(document: Mapping[str, Any]) -> str:
    """What ``nfd evaluate`` is to be told so that it measures the same world."""
    return str(document["settings"].get("world") or document["world"].partition("#")[0])


def _option(flag: str, option: Field[Any], value: Any) -> list[str]:
    """What says ``value`` on the command line, nothing for the default."""
    flag = flag.replace("_", "-")
    if isinstance(value, Mapping):
        made: Any = option.default_factory
        parts = fields(made())
        found = [_option(f"{flag}.{p.name}", p, value[p.name]) for p in parts if p.name in value]
        return [word for words in found for word in words]
    default = list(option.default) if isinstance(option.default, tuple) else option.default
    if value == default:
        return []
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    return [flag, *map(str, value if isinstance(value, list) else [value])]
