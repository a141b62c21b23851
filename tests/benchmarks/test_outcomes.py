import json
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from benchmarks import outcomes, outcomes_report
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.results import check_benchmark
from tests.benchmarks import sliding
from tests.world_model.tiny import tiny_world


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return sliding.make_dataset(tmp_path_factory.mktemp("data"))


def evaluate(data, out, world, **changes):
    settings = {"clips": 60, "horizon": 6, "pictures": False, **changes}
    options = EvaluateOptions(data=data, out=out, **settings)
    return outcomes.run(options, Console(quiet=True), world)["results"]


def test_the_whole_command(data, tmp_path):
    results = evaluate(data, tmp_path, sliding.SlidingWorld(eye=True), pictures=True)
    assert {path.name for path in tmp_path.iterdir()} == {"outcomes.json", "outcomes-1.png"}
    document = json.loads((tmp_path / "outcomes.json").read_text())
    check_benchmark(document)
    assert document["results"] == results
    for part in (results["real_frames"], results["by_steps"]["1"]):
        assert part["reward"]["mae"]["high"] == 0
        assert part["reward"]["events"]["f1"]["low"] == 1
        assert part["termination"]["ends"] > 5
        assert part["termination"]["scores"]["auroc"]["low"] == 1
        assert part["termination"]["scores"]["f1"]["low"] == 1
    assert results["by_steps"]["1"]["return_until_the_end"]["mae"]["high"] < 1e-6
    assert results["by_steps"]["1"]["termination"]["time"]["mae"]["high"] < 1e-6
    assert "why_not" in results["real_frames"]["termination"]["time"]
    rewards, ends = outcomes_report.tables(results, "1", "title")
    assert rewards.row_count == len(outcomes_report.REWARD_ROWS) + 1
    assert ends.row_count == len(outcomes_report.END_ROWS)
    assert len(ends.columns) == 3


def test_an_overcautious_world_is_caught(data, tmp_path):
    results = evaluate(data, tmp_path, sliding.SlidingWorld(hazard=0.5))
    ends = results["by_steps"]["1"]["termination"]
    assert ends["ratio"]["low"] > 2
    assert ends["time"]["bias"]["high"] < -1
    assert ends["scores"]["auroc"]["estimate"] == 0.5
    assert "why_not" in results["real_frames"]
    assert len(outcomes_report.tables(results, "1", "title")[0].columns) == 2


def test_a_real_world_on_real_and_imagined_frames(data, tmp_path):
    results = evaluate(data, tmp_path, tiny_world(), clips=6, horizon=3, steps=(1,))
    for part in (results["real_frames"], results["by_steps"]["1"]):
        assert part["reward"]["mae"]["estimate"] > 0
        assert part["termination"]["expected_ends"] > 0


def test_a_world_without_outcomes_says_so(data, tmp_path):
    results = evaluate(data, tmp_path, tiny_world(outcome=False), clips=3, steps=(1,))
    assert "its user" in results["by_steps"]["1"]["why_not"]
    assert "no outcome model" in results["real_frames"]["why_not"]
    (table,) = outcomes_report.tables(results, "1", "title")
    assert "its user" in table.caption


class FewClips(SimpleNamespace):
    def __len__(self):
        return len(self.ended)


def test_times_and_returns_by_hand():
    """Ended at step 2; outlived the three steps; cut off after two."""
    nan = np.nan
    ended = np.array([[0, 1, nan], [0, 0, 0], [0, 0, nan]])
    rewards = np.array([[1, 5, nan], [1, 1, 1], [1, 1, nan]])
    clips = FewClips(ended=ended, rewards=rewards, known=~np.isnan(rewards), horizon=3,
                     episodes=np.arange(3))  # fmt: skip
    probability = np.array([[0.5, 0.5, 0.5], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    times = outcomes.score_times(probability, clips)
    # 1 + 0.5 + 0.25 of 2; 3 of 3; 2 of 2, as the step that ends it still counts.
    assert times["mae"]["estimate"] == pytest.approx(0.25 / 3)
    assert times["bias"]["estimate"] == pytest.approx(-0.25 / 3)
    assert times["mean_real"]["estimate"] == pytest.approx(7 / 3)
    said = outcomes.Outcomes(np.full((3, 3), 2.0), probability)
    returns = outcomes.score(said, clips, 0.5, imagined=True)["return_until_the_end"]["clips"]
    np.testing.assert_allclose(returns["predicted"], [3.5, 6, 4])
    np.testing.assert_allclose(returns["real"], [6, 3, 2])
    alive = outcomes.score(said, clips, 0.5)["termination"]["alive"]
    np.testing.assert_allclose(alive["real"], [1, 2 / 3, 2 / 3])
