"""Films and strips of imagined clips say which world imagined them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.pictures import write_rows, write_side_by_side
from world_model.provenance import read_provenance

FILM = np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3), np.uint8)


def test_strips_and_films_name_the_world(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.png", [(FILM[0], {"real": FILM, "imagined": FILM})], world="w@1#ab")
    write_side_by_side(tmp_path / "a.mp4", {"real": FILM, "imagined": FILM}, 10, world="w@1#ab")
    for name in ("a.png", "a.mp4"):
        said = read_provenance(tmp_path / name)
        assert said is not None
        assert (said.world, said.with_real) == ("w@1#ab", True)
    write_side_by_side(tmp_path / "b.mp4", {"real": FILM}, 10)
    assert read_provenance(tmp_path / "b.mp4") is None
