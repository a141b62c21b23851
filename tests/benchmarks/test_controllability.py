import json

import numpy as np
import pytest
from gymnasium import spaces
from rich.console import Console

from benchmarks import controllability, controllability_report
from benchmarks.clips import cut_clips
from benchmarks.evaluate import main
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.held_out import open_held_out
from benchmarks.image_metrics import squared_error
from benchmarks.results import check_benchmark
from tests.benchmarks import sliding
from tests.world_model.tiny import tiny_world
from world_model.action_spec import ActionSpec
from world_model.data import open_store


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return sliding.make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def clips(data):
    return cut_clips(open_store(data), "validation", 20, context=2, horizon=5, seed=0)


def options_for(data, out, **changes):
    settings = {"clips": 40, "horizon": 5, "sampled_clips": 10, "reader_steps": 60,
                "pictures": False, **changes}  # fmt: skip
    return EvaluateOptions(data=data, out=out, **settings)


def test_the_whole_command(data, tmp_path):
    options = options_for(data, tmp_path, pictures=True)
    document = controllability.run(options, Console(quiet=True), sliding.SlidingWorld())
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"controllability.json", "controllability-1.png"}
    written = json.loads((tmp_path / "controllability.json").read_text())
    check_benchmark(written)
    assert written["results"] == document["results"]
    assert written["settings"]["reader_steps"] == 60
    results = document["results"]["by_steps"]["1"]
    assert results["gain"][-1]["low"] > 0
    assert results["inverse_dynamics"]["action"]["of_ceiling"]["estimate"] == pytest.approx(1)
    assert set(results["divergence"]["pairs"]) == {"stay | right", "stay | left", "right | left"}
    by_horizon, reading = controllability_report.tables(results, "title")
    assert by_horizon.row_count == 2 + 4 + 3  # with the titles
    assert reading.row_count == 1 + 3


def test_from_the_command_line(data, tmp_path):
    """Both parts of one call look at the same clips; each leaves its own file."""
    world = "tests.benchmarks.sliding:SlidingWorld"
    arguments = ["--measure", "outcomes", "controllability", "--no-pictures", "--clips", "10"]
    arguments += ["--horizon", "3", "--sampled-clips", "4", "--reader-steps", "5"]
    main([world, "--data", str(data), "--out", str(tmp_path), *arguments])
    files = sorted(path.name for path in tmp_path.glob("*.json"))
    assert files == ["controllability.json", "outcomes.json"]
    page = (tmp_path / "report.html").read_text()
    assert "controllability" in page
    assert "outcomes" in page
    assert "Chance that a step ends the episode" in page
    both = [json.loads((tmp_path / name).read_text()) for name in files]
    assert both[0]["data"] == both[1]["data"]
    assert [document["kind"] for document in both] == [
        "benchmark/controllability", "benchmark/outcomes"]  # fmt: skip


def test_a_world_of_real_networks(data, tmp_path):
    options = options_for(data, tmp_path, clips=6, sampled_clips=2, horizon=2, reader_steps=2,
                          steps=(1, 2))  # fmt: skip
    document = controllability.run(options, Console(quiet=True), tiny_world())
    assert list(document["results"]["by_steps"]) == ["1", "2"]


def test_divergence_by_hand(clips):
    """Held left and right, the balls part by two places a step until they reach the walls."""
    rollout = sliding.SlidingWorld().make_rollout()
    courses = [np.full_like(clips.actions, action) for action in (1, 2)]
    figures = controllability.measure_divergence(
        rollout, clips, ["right", "left"], courses, seed=0, batch=7
    )
    start = sliding.read(clips.last_seen[:, 0])
    for h in range(clips.horizon):
        right = sliding.draw(np.minimum(start + h + 1, sliding.PLACES - 1))[0]
        left = sliding.draw(np.maximum(start - h - 1, 0))[0]
        expected = np.sqrt(squared_error(right, left)).mean()
        assert figures["by_actions"][h]["estimate"] == pytest.approx(expected)
        assert figures["by_noise"][h]["estimate"] == 0
        assert figures["share"][h]["estimate"] == 1
        assert figures["share"][h]["n"] == len(clips)
    assert figures["pairs"]["right | left"]["estimate"] == pytest.approx(expected)


def test_a_world_ruled_by_noise_does_not_part_by_actions(clips):
    names, courses = controllability.courses_of_action(clips, sliding.SPEC, seed=0)
    rollout = sliding.SlidingWorld("random").make_rollout()
    figures = controllability.measure_divergence(rollout, clips, names, courses, seed=0, batch=64)
    assert figures["share"][-1]["estimate"] == 0
    assert figures["by_noise"][-1]["low"] > 0


def test_at_most_four_actions_are_held(clips):
    many = ActionSpec.from_space(spaces.Discrete(18))
    names, courses = controllability.courses_of_action(clips, many, seed=0)
    assert len(names) == len(set(names)) == len(courses) == 4
    assert all(len(np.unique(course)) == 1 for course in courses)


def test_in_other_spaces_actions_are_borrowed(clips):
    box = ActionSpec.from_space(spaces.Box(-1, 1, (1,)))
    _, courses = controllability.courses_of_action(clips, box, seed=0)
    np.testing.assert_array_equal(courses[0], clips.actions)
    for course in courses[1:]:
        assert (course != clips.actions).any(axis=(1, 2)).mean() > 0.8


def test_clips_are_imagined_once(data, tmp_path):
    """Parts that look at the same clips share what was imagined of them."""
    held_out = open_held_out(
        options_for(data, tmp_path), Console(quiet=True), sliding.SlidingWorld()
    )
    counted = []
    size = held_out.clips.ended.size
    assert held_out.frames_to_dream(1, shuffled=True) == 2 * size
    assert held_out.frames_to_dream(1) == size
    first = held_out.dream(1, counted.append)
    assert sum(counted) == size  # what nobody asked for was not imagined
    assert held_out.frames_to_dream(1, shuffled=True) == size
    other = held_out.shuffled(1, counted.append)
    assert sum(counted) == 2 * size
    assert held_out.dream(1, counted.append) is first
    assert held_out.shuffled(1, counted.append) is other
    assert held_out.frames_to_dream(1, shuffled=True) == 0
    assert sum(counted) == 2 * size
