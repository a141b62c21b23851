"""Real clips that start imagined episodes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from world_model.errors import ContextError, DataError, WorldFormatError
from world_model.storage import atomic_file
from world_model.types import Context

if TYPE_CHECKING:
    from world_model.data.store import EpisodeStore

FORMAT_VERSION = 1
CLIP_BYTES = 128 * 2**20
"""Bytes of the frames of all clips of one kind that a world brings, at most: they are in memory
wherever it is. 256 clips of up to 42 frames of 64x64 pixels, 32 of 16 frames of 384x224."""


def clips_that_fit(count: int, length: int, frame_shape: tuple[int, int, int]) -> int:
    """How many of ``count`` clips of ``length`` frames fit into :data:`CLIP_BYTES`; at least one.

    Args:
        count: wanted.
        length: frames of a clip.
        frame_shape: height, width and channels of a frame.
    """
    return max(1, min(count, CLIP_BYTES // (length * math.prod(frame_shape))))


@dataclass(frozen=True, eq=False)
class ContextSet:
    """``N`` clips of ``C`` real frames each, in the network's alignment.

    Raises:
        ContextError: if the arrays do not fit together.
    """

    frames: np.ndarray
    """uint8 (N, C, H, W, 3)."""
    actions: np.ndarray
    """float32 (N, C, K); ``actions[:, i]`` produced frame i, a NaN row is the null action and
    marks the true start of an episode."""
    outcome_memory: np.ndarray | None = None
    """float32 (N, M), memory of the outcome model before each clip; None for fresh ones."""
    start_step: np.ndarray | None = None
    """int64 (N,), number of each clip's first frame in its episode; None: all at the start."""

    def __post_init__(self) -> None:
        frames, actions, memory = self.frames, self.actions, self.outcome_memory
        if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[-1] != 3:
            raise ContextError(
                f"frames are {frames.dtype}{frames.shape}; expected uint8 (clips, frames, height, "
                "width, 3)."
            )
        if 0 in frames.shape:
            raise ContextError(f"there are no frames: shape {frames.shape}. Give one clip or more.")
        if actions.ndim != 3 or actions.shape[:2] != frames.shape[:2]:
            raise ContextError(
                f"actions have shape {actions.shape}; expected {frames.shape[:2]} and the width of "
                "an action: one for every frame, the one that produced it."
            )
        if np.isnan(actions[:, 1:]).any():
            raise ContextError("only the first action of a clip may be the null action (NaN).")
        if memory is not None and (memory.ndim != 2 or len(memory) != len(frames)):
            raise ContextError(
                f"outcome_memory has shape {memory.shape}; expected ({len(frames)}, M)."
            )
        if self.start_step is None:
            object.__setattr__(self, "start_step", np.zeros(len(frames), np.int64))
        elif self.start_step.shape != (len(frames),):
            raise ContextError(
                f"start_step has shape {self.start_step.shape}; expected ({len(frames)},)."
            )

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.frames)

    @property
    def length(self) -> int:
        """Frames per clip."""
        return self.frames.shape[1]

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a frame."""
        height, width, channels = self.frames.shape[2:]
        return height, width, channels

    @property
    def action_dim(self) -> int:
        """Width of an action."""
        return self.actions.shape[2]

    def pick(self, indices: Sequence[int] | np.ndarray | torch.Tensor) -> Context:
        """The clips at ``indices`` (B,), which may repeat, as a batch on the CPU.

        Raises:
            ContextError: if an index is out of range.
        """
        wanted = np.asarray(indices, np.int64).reshape(-1)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise ContextError(
                f"clip {wanted[(wanted < 0) | (wanted >= len(self))][0]} is not in "
                f"0..{len(self) - 1}."
            )
        memory = self.outcome_memory
        return Context(
            frames=torch.from_numpy(self.frames[wanted]),
            actions=torch.from_numpy(self.actions[wanted]),
            outcome_memory=None if memory is None else torch.from_numpy(memory[wanted]),
        )

    @classmethod
    def from_store(
        cls,
        store: EpisodeStore,
        split: str,
        count: int,
        length: int,
        seed: int,
        kind: str = "start",
    ) -> ContextSet:
        """Cuts ``count`` different clips of ``length`` frames out of recorded episodes.

        Args:
            store: the episodes.
            split: ``train`` or ``validation``.
            count: number of clips.
            length: frames per clip.
            seed: seed of the choice.
            kind: ``start``: the first frames of an episode; ``any``: anywhere in an episode.

        Raises:
            ContextError: if there are not that many, or ``kind`` is unknown.
        """
        if kind not in ("start", "any"):
            raise ContextError(f"kind={kind!r} is unknown; choose 'start' or 'any'.")
        if count < 1 or length < 1:
            raise ContextError(f"count={count} and length={length} must be at least 1.")
        episodes = store.split(split)
        room = store.lengths[episodes] - length + 1
        episodes, room = episodes[room > 0], room[room > 0]
        if kind == "start":
            room = np.minimum(room, 1)
        sums = np.concatenate([[0], np.cumsum(room)])
        if sums[-1] < count:
            raise ContextError(
                f"there are only {sums[-1]} clips of kind {kind!r} with {length} frames in the "
                f"split {split!r} of {store.root}, not {count}. Ask for fewer or record more."
            )
        chosen = np.sort(np.random.default_rng(seed).choice(sums[-1], count, replace=False))
        which = np.searchsorted(sums, chosen, side="right") - 1
        steps = chosen - sums[which]
        rows = (store.offsets[episodes[which]] + steps)[:, None] + np.arange(length)
        return cls(frames=store.frames[rows], actions=store.produced_by()[rows], start_step=steps)

    # -- file ----------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Writes one parquet file with lossless images, which plain ``datasets`` can show.

        Raises:
            StorageError: if the file cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        from world_model.data.images import IMAGE_TYPE, encode_webp

        memory = self.outcome_memory
        assert self.start_step is not None
        columns = {
            "frames": pa.array(
                [[{"bytes": encode_webp(f), "path": None} for f in clip] for clip in self.frames],
                pa.list_(IMAGE_TYPE),
            ),
            "actions": pa.array(self.actions.reshape(len(self), -1).tolist(), _float_list()),
            "outcome_memory": pa.array(
                [None] * len(self) if memory is None else memory.tolist(), _float_list()
            ),
            "start_step": pa.array(self.start_step),
        }
        floats = {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "List"}
        features = {
            "frames": {"feature": {"_type": "Image"}, "_type": "List"},
            "actions": floats,
            "outcome_memory": floats,
            "start_step": {"dtype": "int64", "_type": "Value"},
        }
        shapes = {"frames": list(self.frames.shape), "actions": list(self.actions.shape)}
        table = pa.table(columns).replace_schema_metadata(
            {
                "nfd": json.dumps({"format_version": FORMAT_VERSION, **shapes}),
                "huggingface": json.dumps({"info": {"features": features}}),
            }
        )
        with atomic_file(path) as temporary:
            pq.write_table(table, temporary, row_group_size=16, write_page_checksum=True)

    @classmethod
    def load(cls, path: str | Path) -> ContextSet:
        """Reads what :meth:`save` wrote.

        Raises:
            WorldFormatError: if the file is missing, damaged, or of a newer format version.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        from world_model.data.images import IMAGE_ERRORS

        path = Path(path)
        try:
            table = pq.read_table(
                path, use_threads=False, partitioning=None, page_checksum_verification=True
            )
            header = json.loads((table.schema.metadata or {})[b"nfd"])
            if header["format_version"] != FORMAT_VERSION:
                raise WorldFormatError(
                    f"{path} has format version {header['format_version']}; this release reads "
                    f"version {FORMAT_VERSION}. Update nfd-world."
                )
            return cls._from_table(table, header)
        except FileNotFoundError:
            raise WorldFormatError(
                f"{path} is missing. Install the world again, or save its contexts anew."
            ) from None
        except WorldFormatError:
            raise
        except (pa.ArrowException, KeyError, AttributeError, *IMAGE_ERRORS) as error:
            raise WorldFormatError(
                f"{path} is damaged: {error}. Install the world again, or save its contexts anew."
            ) from error

    @classmethod
    def _from_table(cls, table: Any, header: dict[str, Any]) -> ContextSet:
        from world_model.data.images import decode_image

        clips, length, *shape = header["frames"]
        frames = np.empty((clips, length, *shape), np.uint8)
        for i, clip in enumerate(table.column("frames").to_pylist()):
            for j, image in enumerate(clip):
                frame = decode_image(image["bytes"])
                if frame.shape != tuple(shape):
                    raise DataError(f"frame {j} of clip {i} has shape {frame.shape}, not {shape}")
                frames[i, j] = frame
            if len(clip) != length:
                raise DataError(f"clip {i} has {len(clip)} frames, not {length}")
        if table.num_rows != clips:
            raise DataError(f"it has {table.num_rows} clips, not {clips}")
        memory = table.column("outcome_memory").to_pylist()
        return cls(
            frames=frames,
            actions=np.asarray(table.column("actions").to_pylist(), np.float32).reshape(
                header["actions"]
            ),
            outcome_memory=None if memory[0] is None else np.asarray(memory, np.float32),
            start_step=np.asarray(table.column("start_step").to_pylist(), np.int64),
        )


def _float_list() -> Any:
    import pyarrow as pa

    return pa.list_(pa.float32())
