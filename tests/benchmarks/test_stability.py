import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks import endless, stability, stability_report
from benchmarks.card import measured
from benchmarks.comparison import side_by_side
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.evaluation_folder import read_folder
from benchmarks.findings import findings
from benchmarks.frame_statistics import frame_statistics, frame_statistics_of
from benchmarks.report_sections import stability_section
from benchmarks.results import check_benchmark
from tests.benchmarks import evaluations as made
from tests.benchmarks import sliding
from tests.world_model.tiny import tiny_world
from world_model.data import open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return open_store(sliding.make_dataset(tmp_path_factory.mktemp("data")))


def judged(store, fault, steps=300):
    trace = stability.play_long(sliding.SlidingWorld(fault), steps, seed=0)
    return stability.judge(trace, frame_statistics_of(store)), trace


def test_a_stable_world_stays_within_the_range(store):
    results, trace = judged(store, "none")
    for part in results["statistics"].values():
        assert part["share_in_full_range"] == 1.0
    assert results["bad_numbers"] == 0
    assert len(trace.memory_mb) == 3
    assert trace.statistics.shape == (300, 3)
    assert trace.shots[-1][0] == 300


def test_a_fading_world_is_caught(store):
    results, _ = judged(store, "fading")
    mean = results["statistics"]["mean"]
    assert mean["share_in_usual_range"] < 0.2
    assert mean["last_tenth_mean"] < mean["first_tenth_mean"] / 2


def test_when_a_world_left_for_good(store):
    stable = judged(store, "none")[0]["divergence"]
    assert stable == {
        "window": 100,
        "least": 0.5,
        "overall": None,
        "statistics": dict.fromkeys(("mean", "deviation", "change")),
    }
    fading, trace = judged(store, "fading")
    at = fading["divergence"]["statistics"]["mean"]
    low = fading["statistics"]["mean"]["training"][1]
    assert at == 1 + int(np.argmax(trace.statistics[:, 0] < low))
    assert fading["divergence"]["overall"] <= at


def test_a_frozen_world_is_caught(store):
    assert judged(store, "frozen")[0]["frozen_share"] == 1.0
    assert judged(store, "none")[0]["frozen_share"] < 0.95


def test_growing_memory_is_caught():
    flat = stability.growth([100.0, 100.1, 99.9, 100.0], every=100)
    assert abs(flat) < 0.5
    assert stability.growth([100.0 + i for i in range(10)], every=100) == pytest.approx(10)


def test_bad_numbers_are_seen():
    world = tiny_world()
    from world_model.rollout import Rollout

    rollout = Rollout(world)
    state = rollout.begin(world.contexts.pick([0]), torch.tensor([1]))
    state, _ = rollout.advance(state, torch.zeros(1, 1))
    assert endless.state_is_finite(state)
    state.memory[0, 0] = float("nan")
    assert not endless.state_is_finite(state)


def test_statistics_by_hand():
    before = np.zeros((1, 4, 4, 3), np.uint8)
    after = before.copy()
    after[0, :2] = 10
    np.testing.assert_allclose(frame_statistics(before, after), [[5, 5, 5]])


def test_memory_is_measured():
    assert 10 < stability.resident_mb() < 100_000


def test_the_whole_command(store, tmp_path):
    options = EvaluateOptions(data=store.root, out=tmp_path, stable_steps=120, steps=(1, 3))
    stability.run(options, Console(quiet=True), tiny_world())
    document = json.loads((tmp_path / "stability.json").read_text())
    check_benchmark(document)
    by_steps = document["results"]["by_steps"]
    assert list(by_steps) == ["1", "3"]
    names = {path.name for path in tmp_path.iterdir()}
    pictures = {f"stability{kind}-{steps}.png" for kind in ("", "-frames") for steps in (1, 3)}
    assert names == {"stability.json", *pictures}
    for results in by_steps.values():
        assert results["steps"] == 120
        (row,) = results["by_length"]
        assert (row["first"], row["last"]) == (1, 120)
        assert row["frames_per_second"] > 0
        assert row["frechet"] > 0
        table = stability_report.table(results, "tiny")
        assert (table.row_count, len(table.columns)) == (3, 6)
        assert "again with the same seed and actions: equal, bit for bit." in table.caption
        assert results["determinism"]["again"]["equal_share"] == 1
        assert results["throughput"]["frames_per_second"] > 0
    assert by_steps["1"]["statistics"] != by_steps["3"]["statistics"]


def test_by_default_the_steps_are_those_of_the_world(store, tmp_path):
    options = EvaluateOptions(data=store.root, out=tmp_path, stable_steps=20, pictures=False)
    world = tiny_world()
    document = stability.run(options, Console(quiet=True), world)
    assert list(document["results"]["by_steps"]) == [str(world.config.sampling_steps)]


def test_results_of_before_there_were_steps_are_shown(tmp_path):
    made.write(tmp_path, "stability", made.stability())
    file = tmp_path / "stability.json"
    document = json.loads(file.read_text())
    document["results"] = document["results"]["by_steps"]["1"]
    file.write_text(json.dumps(document))
    folder = read_folder(tmp_path)
    assert "One episode of 1,000 steps<" in str(
        stability_section(folder, folder.own_steps("stability"))
    )
    assert "stay like those of training" in findings(folder)[0].sentence


def shown(folder):
    """The page's section, the card and the findings of what was measured."""
    folder = read_folder(folder)
    section = str(stability_section(folder, folder.own_steps("stability")))
    return section, measured(folder), " ".join(found.sentence for found in findings(folder))


@pytest.mark.parametrize(
    ("step", "words", "cells"),
    [
        (312, "from step 312 on", ("step 312", "312")),
        (None, "not within 1,000 steps", ("no", "not within 1,000 steps")),
    ],
)
def test_divergence_is_shown_everywhere(tmp_path, step, words, cells):
    made.write(tmp_path, "stability", made.stability(divergence=made.diverged(step)))
    section, card, found = shown(tmp_path)
    assert f"Left the usual range for good: {words}." in section
    assert f"<td>{cells[0]}</td>" in section
    assert f"| step from which frames had left the usual range for good | {cells[1]} |" in card
    assert ("have left the usual range" in found) == (step is not None)


def test_what_earlier_releases_did_not_ask_is_not_shown(tmp_path):
    made.write(tmp_path / "old", "stability", made.stability())
    made.write(tmp_path / "new", "stability", made.stability(divergence=made.diverged(312)))
    section, card, found = shown(tmp_path / "old")
    assert "for good" not in card + found
    assert section.count("for good") == 1  # the head of a column
    _, rows = side_by_side([read_folder(tmp_path / name) for name in ("old", "new")])["stability"]
    (row,) = (row for row in rows if row.title.startswith("step from which frames"))
    assert row.figures[0] is None
    assert row.figures[1].short == "312"


MEASURED = Path(__file__).resolve().parents[2] / "benchmarks" / "measured"


@pytest.mark.parametrize("path", sorted(MEASURED.glob("evaluation*/")), ids=lambda path: path.name)
def test_what_was_measured_by_earlier_releases_can_be_read(path):
    section, card, found = shown(path)
    assert "in one episode" in found.lower()
    assert "By length" in section
    assert "frames per second, end to end, of one stream | " in card
    (_, rows) = side_by_side([read_folder(path), read_folder(path)])["stability"]
    assert all(figure is not None for row in rows for figure in row.figures)


def test_determinism_is_shown_everywhere(tmp_path):
    made.write(tmp_path / "same", "stability", made.stability(determinism=made.repeated()))
    section, card, found = shown(tmp_path / "same")
    assert "64 steps again with the same seed and actions: equal, bit for bit." in section
    assert "beside 3 other streams: 100.0% of the frames are equal, no pixel" in section
    assert "| steps that are equal when played again, bit for bit, % | 100.0 | 64 steps |" in card
    assert "deterministic" not in found
    other = made.stability(determinism=made.repeated(first=16, apart=9))
    made.write(tmp_path / "other", "stability", other)
    section, card, found = shown(tmp_path / "other")
    words = "25.0% of the steps are equal, step 16 is the first that is not"
    assert (
        f"no pixel is more than 9 of 255 grey levels off; with rewards and ends, {words}."
        in section
    )
    assert "played again, bit for bit, % | 25.0 | 64 steps |" in card
    assert "| frames that are equal when played beside other streams, bit for bit, % | 25.0" in card
    assert "played beside other streams, grey levels | 9 | 64 steps |" in card
    assert f"not deterministic: played again with the same seed and actions, {words}" in found
    # What somebody else's world was not asked is said, and is no figure.
    foreign = made.stability(determinism=made.repeated(why_not="it cannot be"))
    made.write(tmp_path / "foreign", "stability", foreign)
    section, card, found = shown(tmp_path / "foreign")
    assert "The same beside others: it cannot be." in section
    assert "beside" not in card


def test_speed_is_shown_with_the_machine(tmp_path):
    speed = {"streams": 32, "frames_per_second": 210.0, "steps": 9}
    results = made.stability(frames_per_second=12.34, throughput=speed)
    made.write(tmp_path / "ours", "stability", results)
    made.change(tmp_path / "ours" / "stability.json", machine={"processor": "Slowest", "gpu": None})
    section, card, _ = shown(tmp_path / "ours")
    assert "32 streams in one batch: 210.0 frames/s." in section
    title = "| frames per second, end to end, of"
    assert f"{title} one stream | 12.3 | 1,000 steps on Slowest |" in card
    assert f"{title} 32 streams in one batch | 210.0 | 9 steps on Slowest |" in card
    results["throughput"] = {"why_not": "somebody else's"}
    made.write(tmp_path / "theirs", "stability", results)
    made.change(tmp_path / "theirs" / "stability.json", machine={"gpu": "Fastest"})
    section, card, _ = shown(tmp_path / "theirs")
    assert "in one batch" not in section + card
    assert f"{title} one stream | 12.3 | 1,000 steps on Fastest |" in card
    both = side_by_side([read_folder(tmp_path / name) for name in ("ours", "theirs")])
    row = next(row for row in both["stability"][1] if "of 32 streams" in row.title)
    assert row.figures[1] is None
    assert row.best is None  # one machine is not the other
