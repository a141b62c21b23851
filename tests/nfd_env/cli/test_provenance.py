"""``nfd provenance``."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from nfd_env.cli.main import main
from world_model.provenance import Provenance, image_arguments


def test_says_which_world_or_that_it_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said, silent = tmp_path / "said.png", tmp_path / "silent.png"
    Image.new("RGB", (8, 8)).save(said, **image_arguments(Provenance("doom@1#ab", seed=5), ".png"))
    Image.new("RGB", (8, 8)).save(silent)
    assert main(["provenance", str(said)]) == 0
    text = capsys.readouterr().out
    assert "doom@1#ab" in text
    assert "seed       5" in text
    assert main(["provenance", str(silent)]) == 1
    assert "does not say that it was generated" in capsys.readouterr().out
    assert main(["provenance", str(said), str(silent)]) == 1
    assert main(["provenance"]) == 1
    assert "no file given" in capsys.readouterr().err
    assert main(["provenance", str(tmp_path / "none.png")]) == 1
    assert "is no file" in capsys.readouterr().err
