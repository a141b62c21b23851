from __future__ import annotations

import pytest

from tests.world_model.training.bars import make_bars


@pytest.fixture(scope="session")
def bars(tmp_path_factory):
    """The store of a small data set of moving bars; read it only."""
    return make_bars(tmp_path_factory.mktemp("bars") / "set")
