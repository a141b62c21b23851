"""Recorded episodes: the LeRobotDataset v3.0 layout on disk, and fast windows for training."""

from world_model.data.store import EpisodeStore, open_store, open_store_for
from world_model.data.streams import EpisodeStream
from world_model.data.windows import WindowSampler
from world_model.data.writer import DatasetWriter, write_dataset

__all__ = [
    "DatasetWriter",
    "EpisodeStore",
    "EpisodeStream",
    "WindowSampler",
    "open_store",
    "open_store_for",
    "write_dataset",
]
