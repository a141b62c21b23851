"""Minari's layout of Arrow files, written without Minari, which reads it."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from gymnasium import spaces

from world_model.action_spec import ActionSpec
from world_model.data.exporting.source import Progress, Source
from world_model.data.streams import EpisodeStream
from world_model.errors import DataError, StorageError
from world_model.storage import atomic_file, write_json

MINARI_VERSION = "0.5.4"
"""Minari of whose layout this is: the first to read images that are no JPEGs."""
_ID = re.compile(r"([-\w]{2,}(/[-\w]{2,})*/)?[-\w]+-v\d+")


def export_minari(source: Source, out: Path, progress: Progress) -> None:
    """Writes ``data/metadata.json`` and ``data/EPISODE/part-0.arrow``.

    Minari has one observation more than actions. Where the last action of an episode has no frame,
    the last frame stands in for it, and the episode's metadata say so (``frame_missing``). Episodes
    without an action are left out: Minari cannot read them.

    Raises:
        DataError: if the data set is damaged, or ``out`` lies among Minari's data sets under a
            name that it cannot have there.
        StorageError: if a file cannot be written.
    """
    spec, shape = source.info.action_spec, source.info.frame_shape
    described = source.info.source
    name = str(described.get("preset") or described.get("name") or "episodes")
    dataset_id = _dataset_id(out, name)
    done = steps = count = 0
    for episode in source.episodes():
        done += episode.num_frames
        if not len(episode.actions):
            continue
        folder = out / "data" / str(count)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / "part-0.arrow") as path:
            _write_episode(path, episode, spec)
        metadata: dict[str, Any] = {"id": count, "total_steps": len(episode.actions)}
        if re.fullmatch(r"\d+", episode.info.get("seed", "")):
            metadata["seed"] = int(episode.info["seed"])
        if len(episode.actions) == episode.num_frames:
            metadata["frame_missing"] = True
        metadata["nfd_info"] = dict(episode.info)
        write_json(folder / "metadata.json", metadata)
        steps, count = steps + len(episode.actions), count + 1
        progress(done, source.frames)
    size = sum(path.stat().st_size for path in (out / "data").rglob("*") if path.is_file())
    pixels = spaces.Box(0, 255, shape, np.uint8)
    write_json(
        out / "data/metadata.json",
        {
            "total_episodes": count,
            "total_steps": steps,
            "data_format": "arrow",
            "jpeg_encoding": False,
            "observation_space": json.dumps(space_to_minari(pixels)),
            "action_space": json.dumps(space_to_minari(spec.space)),
            "dataset_id": dataset_id,
            "minari_version": MINARI_VERSION,
            "dataset_size": round(size / 1e6, 1),
            "description": f"Exported by NFD-World: {name}.",
            "nfd_source": {**source.info.to_dict(), "split_seed": _seed(source)},
        },
    )


def _dataset_id(out: Path, name: str) -> str:
    """What Minari calls the data set: the path of its folder, where it lies among Minari's own."""
    root = Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari/datasets")
    if not out.resolve().is_relative_to(root.resolve()):
        usable = re.sub(r"[^-\w]+", "-", name).strip("-") or "episodes"
        return f"nfd/{usable}-v0"
    path = out.resolve().relative_to(root.resolve()).as_posix()
    if not _ID.fullmatch(path):
        raise DataError(
            f"--out {out} is {path!r} among Minari's data sets in {root}, which is no name that "
            "it knows. Choose one like nfd/my-game-v0."
        )
    return path


def _seed(source: Source) -> int:
    return int(source.content["nfd"].get("split_seed", 0))


def _write_episode(path: Path, episode: EpisodeStream, spec: ActionSpec) -> None:
    # Minari takes every batch for an episode of its own, so all must be written as one. Its frames
    # wait on the disk until they are: an hour of video does not fit into memory.
    with tempfile.TemporaryFile(dir=path.parent) as file:
        _write_batch(path, episode, spec, _pixels(file, episode))


def _pixels(file: IO[bytes], episode: EpisodeStream) -> np.ndarray:
    """Uint8 (rows, H * W * 3), memory-mapped: frames, the last one twice where one is missing."""
    rows = 0
    last = np.zeros(0, np.uint8)
    for chunk in episode.frames:
        file.write(np.ascontiguousarray(chunk).data)
        rows, last = rows + len(chunk), np.array(chunk[-1])
    if len(episode.actions) == episode.num_frames:
        file.write(last.data)
        rows += 1
    file.flush()
    return np.memmap(file, np.uint8, mode="r", shape=(rows, last.size))


def _write_batch(path: Path, episode: EpisodeStream, spec: ActionSpec, pixels: np.ndarray) -> None:
    rows, width = pixels.shape
    taken = len(episode.actions)
    actions = [spec.decode(vector) for vector in episode.actions]
    columns: dict[str, pa.Array] = {
        "observations": pa.FixedSizeListArray.from_arrays(
            pa.array(np.asarray(pixels).reshape(-1)), width
        ),
        "actions": _encode(spec.space, actions, rows - taken),
        "rewards": pa.array(np.pad(episode.rewards.astype(np.float64), (0, rows - taken))),
        "terminations": pa.array(np.pad(episode.terminated, (0, rows - taken))),
        "truncations": pa.array(np.pad(episode.truncated, (0, rows - taken))),
    }
    if len(episode.state.T):
        state = episode.state[np.minimum(np.arange(rows), episode.num_frames - 1)]
        columns["states"] = pa.FixedSizeListArray.from_arrays(
            pa.array(state.ravel(), pa.float32()), state.shape[1]
        )
    batch = pa.RecordBatch.from_pydict(columns)
    try:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
    except OSError as error:
        raise StorageError(f"could not write {path}: {error}.") from error


def _encode(space: spaces.Space, values: list[Any], pad: int) -> pa.Array:
    """Values of a space as Minari has them, and ``pad`` zeros."""
    if isinstance(space, spaces.Dict):
        parts = [_encode(sub, [v[k] for v in values], pad) for k, sub in space.spaces.items()]
        return pa.StructArray.from_arrays(parts, names=list(space.spaces))
    if isinstance(space, spaces.Tuple):
        parts = [_encode(sub, [v[i] for v in values], pad) for i, sub in enumerate(space.spaces)]
        return pa.StructArray.from_arrays(parts, names=[str(i) for i in range(len(parts))])
    if isinstance(space, spaces.Discrete):
        return pa.array([int(v) for v in values] + [0] * pad, pa.from_numpy_dtype(space.dtype))
    size = int(np.prod(space.shape or ()))
    array = np.zeros((len(values) + pad, size), space.dtype)
    array[: len(values)] = np.reshape(values, (len(values), size))
    return pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), size)


def space_to_minari(space: spaces.Space) -> dict[str, Any]:
    """A space as Minari writes it down."""
    if isinstance(space, spaces.Box):
        return {
            "type": "Box",
            "dtype": str(space.dtype),
            "shape": list(space.shape),
            "low": space.low.tolist(),
            "high": space.high.tolist(),
        }
    if isinstance(space, spaces.Discrete):
        described = {"type": "Discrete", "dtype": str(space.dtype), "n": int(space.n)}
        return described | {"start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        described = {"type": "MultiDiscrete", "dtype": str(space.dtype)}
        return described | {"nvec": space.nvec.tolist(), "start": space.start.tolist()}
    if isinstance(space, spaces.MultiBinary):
        n = space.n if isinstance(space.n, int) else [int(k) for k in space.shape]
        return {"type": "MultiBinary", "n": n}
    if isinstance(space, spaces.Dict):
        return {
            "type": "Dict",
            "subspaces": {k: space_to_minari(s) for k, s in space.spaces.items()},
        }
    assert isinstance(space, spaces.Tuple)
    return {"type": "Tuple", "subspaces": [space_to_minari(sub) for sub in space.spaces]}
