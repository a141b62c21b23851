"""Imports as the command does, but here and now."""

from __future__ import annotations

from world_model.data import EpisodeStore, open_store
from world_model.data.importing.findings import Findings
from world_model.data.importing.importer import import_recordings, open_writer
from world_model.data.importing.recordings import ImportFormat


def imported(recordings: ImportFormat) -> tuple[EpisodeStore, Findings]:
    """The data set that is made of the recordings, and what was found on the way."""
    recordings.check()
    plan = recordings.plan()
    findings = import_recordings(recordings, plan, open_writer(recordings, plan))
    return open_store(recordings.out), findings
