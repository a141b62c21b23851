"""Statistics of single episodes, from which LeRobot makes those of the parts of a data set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from world_model.data.exporting.source import Source
from world_model.data.metadata import IMAGE_KEY
from world_model.data.shards import read_summary
from world_model.data.statistics import column_stats, merged_stats


def episode_stats(source: Source, camera: str) -> Iterator[dict[str, Any]]:
    """For each episode the columns ``stats/NAME/STATISTIC`` of ``meta/episodes``.

    Those of the frames are of the file that the episode lies in, so that no frame is decoded.

    Args:
        source: the data set.
        camera: name of the column of frames.

    Raises:
        DataError: if the data set is damaged.
    """
    episodes = source.episodes()
    for path in source.shards:
        summary = read_summary(path)
        frames = merged_stats([{IMAGE_KEY: summary.stats[IMAGE_KEY]}])[IMAGE_KEY]
        for about in summary.episodes:
            numbers = column_stats([next(episodes)], source.info)
            stats = merged_stats([numbers])
            count = frames["count"][0] * int(about["length"]) // summary.rows
            stats[camera] = frames | {"count": [count]}
            yield {
                f"stats/{name}/{statistic}": value
                for name, values in stats.items()
                for statistic, value in values.items()
            }
