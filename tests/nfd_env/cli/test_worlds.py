from __future__ import annotations

import json
import subprocess
import sys

import pytest

from nfd_env.cli import worlds
from nfd_env.cli.main import main
from world_model.errors import WorldFormatError, WorldNotFoundError

CARD = "---\nlicense: mit\n---\n# A card\n\nIts text.\n"


def write_world(root, folder, **config):
    path = root / folder
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"world": config}))
    (path / "README.md").write_text(CARD)
    return path


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(worlds, "bundled_folder", lambda: tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


@pytest.fixture
def doom(root):
    return write_world(
        root,
        "doom",
        name="doom",
        version=2,
        frame_shape=[64, 64, 3],
        fps=8.75,
        sampling_steps=2,
        source={"environment": "VizdoomTakeCover-v1"},
    )


def test_table(doom, root, capsys):
    write_world(root, "odd", name="[red]odd[/red]", version=1)
    (root / "not-a-world").mkdir()
    assert main(["worlds"]) == 0
    output = capsys.readouterr().out
    assert "64x64x3" in output
    assert "8.75" in output
    assert "VizdoomTakeCover-v1" in output
    assert "[red]odd[/red]" in output
    assert "not-a-world" not in output


def test_no_worlds(root, capsys):
    assert main(["worlds"]) == 0
    assert str(root) in capsys.readouterr().out


@pytest.mark.parametrize("name", ["doom", "doom@2"])
def test_card(doom, capsys, name):
    assert main(["worlds", name]) == 0
    assert "Its text." in capsys.readouterr().out


def test_newest_version_wins(doom, root):
    write_world(root, "doom-10", name="doom", version=10)
    write_world(root, "doom-9", name="doom", version=9)
    assert worlds.select_world("doom", root).version == "10"
    assert worlds.select_world("doom@9", root).version == "9"


def test_folder_of_a_world(doom, root):
    assert worlds.select_world(str(doom), root / "elsewhere").name == "doom"


def test_card_missing(doom, capsys):
    (doom / "README.md").unlink()
    assert main(["worlds", "doom"]) == 0
    assert '"fps": 8.75' in capsys.readouterr().out


def test_unknown_world(doom, root, capsys):
    with pytest.raises(WorldNotFoundError, match=r"Did you mean 'doom'.*doom@2"):
        worlds.select_world("dooom", root)
    with pytest.raises(WorldNotFoundError, match="doom@2"):
        worlds.select_world("doom@3", root)
    assert main(["worlds", "dooom"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("text", ["{", "[1]", '{"name": "\udcff"}'])
def test_damaged_config(root, capsys, text):
    path = write_world(root, "broken")
    (path / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(WorldFormatError, match=r"config\.json"):
        worlds.select_world("broken", root)
    assert main(["worlds"]) == 0
    assert "broken" in capsys.readouterr().out


def test_front_matter_is_for_hubs():
    assert worlds._without_front_matter(CARD).startswith("# A card")
    assert worlds._without_front_matter("# A card\n---\n") == "# A card\n---\n"


def test_runs_without_torch(repository):
    code = (
        "import sys; from nfd_env.cli.main import main; code = main(['worlds']);"
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=repository, check=True, capture_output=True)
