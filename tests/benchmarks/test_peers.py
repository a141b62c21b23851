import json
import sys

import pytest
from rich.console import Console

from benchmarks import peers
from benchmarks.peer_models import StandIns, diamond
from benchmarks.peers import PeerOptions
from benchmarks.results import check_benchmark
from world_model.errors import NFDError

CONFIGS = """
defaults:
  dyn_stoch: 4
  model_lr: 1e-4
  opt_eps: 1e-8
"""
MODELS = """
import time
import a_logger_that_nobody_has
from a_logger_that_nobody_has.charts import Chart
import torch

class Heads:
    def mode(self):
        return torch.zeros(1)
    mean = torch.zeros(1)

class Dynamics:
    def initial(self, batch):
        return {"deter": torch.zeros(batch, 2)}
    def img_step(self, state, action):
        assert action.shape == (len(state["deter"]), 3)
        time.sleep(0.002)
        return state
    def get_feat(self, state):
        return state["deter"]

class WorldModel(torch.nn.Module):
    def __init__(self, obs_space, act_space, step, config):
        super().__init__()
        print("a line that is no answer")
        assert obs_space.spaces["image"].shape == (64, 64, 3)
        assert config.dyn_stoch == 4 and config.model_lr == 1e-4
        Chart("loss")
        self.dynamics = Dynamics()
        self.heads = {
            "decoder": lambda features: {"image": Heads()},
            "reward": lambda features: Heads(),
            "cont": lambda features: Heads(),
        }
"""


@pytest.fixture
def clone(tmp_path):
    folder = tmp_path / "dreamerv3"
    folder.mkdir()
    (folder / "configs.yaml").write_text(CONFIGS)
    (folder / "models.py").write_text(MODELS)
    (folder / "networks.py").write_text("")
    return folder


def options(tmp_path, **changes):
    settings = {
        "world": "tests.world_model.tiny:tiny_world",
        "streams": (2,),
        "seconds": 0.05,
        "rounds": 1,
        "out": tmp_path / "peers.json",
    }
    return PeerOptions(**{**settings, **changes})


def test_ours_and_theirs_take_turns(tmp_path, clone, monkeypatch):
    monkeypatch.setattr(peers, "load_world", lambda name, device: tiny())
    document = peers.run(options(tmp_path, dreamerv3=clone), Console(quiet=True))
    check_benchmark(json.loads((tmp_path / "peers.json").read_text()))
    rows = document["results"]["rows"]
    assert [(row["model"], row["streams"]) for row in rows] == [("nfd", 2), ("dreamerv3", 2)]
    ours, theirs = rows
    assert ours["ours_is_faster_by"] == 1
    assert theirs["ms"] >= 2
    assert theirs["ours_is_faster_by"] == pytest.approx(theirs["ms"] / ours["ms"], rel=1e-3)
    assert theirs["frames_per_second"] == pytest.approx(2000 / theirs["ms"], rel=1e-3)
    assert peers.table(document["results"], "tiny").row_count == 2


def tiny():
    from tests.world_model.tiny import tiny_world

    return tiny_world()


def test_a_clone_of_another_project(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "load_world", lambda name, device: tiny())
    with pytest.raises(NFDError, match=r"diamond could not be timed: .*lacks src/envs"):
        peers.run(options(tmp_path, diamond=tmp_path), Console(quiet=True))
    with pytest.raises(NFDError, match="no clone of that project"):
        diamond(tmp_path, 1)


def test_a_clone_whose_code_has_changed(tmp_path, clone, monkeypatch):
    monkeypatch.setattr(peers, "load_world", lambda name, device: tiny())
    (clone / "models.py").write_text(MODELS.replace("class WorldModel", "class DreamModel"))
    with pytest.raises(NFDError, match=r"dreamerv3 could not be timed: .*WorldModel"):
        peers.run(options(tmp_path, dreamerv3=clone), Console(quiet=True))


def test_there_must_be_a_peer(tmp_path):
    with pytest.raises(NFDError, match="--diamond PATH"):
        peers.run(options(tmp_path), Console(quiet=True))


def test_stand_ins_are_for_what_is_named_only():
    finder = StandIns({"a_logger"})
    sys.meta_path.append(finder)
    try:
        from a_logger.deep.down import anything  # type: ignore[import-not-found]

        assert anything(1).more is not None
        with pytest.raises(ModuleNotFoundError):
            import another_logger  # type: ignore[import-not-found]  # noqa: F401
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.startswith("a_logger")]:
            del sys.modules[name]
