"""What files say about where their pictures come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from world_model.errors import DataError
from world_model.provenance import Provenance, image_arguments, marked, read_provenance
from world_model.video import write_video

SAID = Provenance("doom@1#0123456789ab", seed=3, steps=10, player="sweep-20", with_real=True)
FRAMES = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), np.uint8)


def write(path: Path, said: Provenance | None) -> Path:
    if path.suffix == ".mp4":
        return write_video(path, FRAMES, 10, scale=1, provenance=said)
    Image.fromarray(FRAMES[0]).save(path, **image_arguments(said, path.suffix))
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.png", "a.jpg", "a.webp", "a.PNG"])
def test_files_say_what_they_were_given(tmp_path: Path, name: str) -> None:
    found = read_provenance(write(tmp_path / name, SAID))
    assert found is not None
    assert found.made_by.startswith("nfd-world ")
    assert found == Provenance(**{**SAID.__dict__, "made_by": found.made_by})
    assert read_provenance(write(tmp_path / f"b-{name}", None)) is None


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_images_use_the_common_term_too(tmp_path: Path, name: str) -> None:
    data = write(tmp_path / name, Provenance("w@1#0")).read_bytes()
    assert b"newscodes/digitalsourcetype/trainedAlgorithmicMedia" in data
    data = write(tmp_path / name, SAID).read_bytes()
    assert b"newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia" in data


def test_pixels_stay_as_they_are(tmp_path: Path) -> None:
    with Image.open(write(tmp_path / "a.png", SAID)) as image:
        assert np.array_equal(np.asarray(image), FRAMES[0])


def test_the_visible_mark_is_in_the_corner() -> None:
    frame = np.full((64, 64, 3), 100, np.uint8)
    shown = marked(frame)
    assert (frame == 100).all()
    assert (shown[:40] == 100).all()
    assert (shown[-8:, -20:] != 100).any()
    assert marked(np.zeros((8, 8, 3), np.uint8)).shape == (8, 8, 3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a film of mine",
        "[1]",
        "{}",
        '{"generated": true}',
        json.dumps({"generated": True, "world": 3, "digital_source_type": ""}),
        "[" * 100_000,
        json.dumps({"generated": True, "world": "x" * 70_000, "digital_source_type": ""}),
    ],
)
def test_other_comments_are_no_statement(text: str) -> None:
    assert Provenance.from_json(text) is None


def test_control_characters_are_not_printed() -> None:
    said = json.loads(SAID.to_json()) | {"world": "evil\x1b[2J\nworld", "seed": "many"}
    found = Provenance.from_json(json.dumps(said))
    assert found is not None
    assert found.seed is None
    assert "evil[2Jworld" in found.describe()
    assert "\x1b" not in found.describe()


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no file"):
        read_provenance(tmp_path)
    for name in ("a.mp4", "a.png", "a"):
        (tmp_path / name).write_bytes(b"nothing to see" * 50)
        with pytest.raises(DataError, match="neither a video nor an image"):
            read_provenance(tmp_path / name)
