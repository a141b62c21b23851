import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from agents.agreement import agreement
from agents.policies import make_policy
from agents.statistics import rank_agreement
from benchmarks import policy_ranking
from benchmarks.decision_figures import agreements
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.evaluation_folder import read_folder
from benchmarks.findings import findings
from benchmarks.ranking_episodes import play_all
from benchmarks.results import check_benchmark
from benchmarks.shown_figures import figures_of
from tests.toy import ToyRollout, ToyWorld
from world_model.errors import NFDError

POLICIES = ("noop", "left", "uniform", "sweep-3")


class UpsideDownWorld(ToyWorld):
    """What the real game rewards it punishes."""

    def make_rollout(self, **settings):
        rollout = ToyRollout(self)
        advance = rollout.advance

        def punish(state, actions):
            state, outcome = advance(state, actions)
            return state, replace(outcome, rewards=-outcome.rewards)

        rollout.advance = punish
        return rollout


def rank(out, world, **changes):
    settings = {"policies": POLICIES, "episodes": 6, "pictures": False, **changes}
    options = EvaluateOptions(out=out, **settings)
    return policy_ranking.run(options, Console(quiet=True), world)


def test_a_perfect_world_ranks_like_the_real_game(tmp_path):
    """Same seeds, same starts, same balls: even the returns are the same."""
    document = rank(tmp_path, ToyWorld(max_misses=2), pictures=True)
    figures = document["results"]["by_steps"]["1"]
    assert figures["spearman"]["estimate"] == 1
    assert figures["ratio"] == 1
    assert figures["best"]["real"] == figures["best"]["imagined"]
    sides = figures["policies"].values()
    for side in sides:
        assert side["real"]["returns"] == side["imagined"]["returns"]
        assert side["real"]["lengths"] == side["imagined"]["lengths"]
    returns = [np.array(side["real"]["returns"]) for side in sides]
    expected = rank_agreement(returns, returns)
    assert figures["spearman"]["low"] == pytest.approx(expected.low, abs=1e-5)
    assert figures["over_episodes"]["spearman"] == figures["spearman"]
    over = {name: part.to_json() for name, part in agreement(returns, returns).items()}
    for name in ("spearman", "pearson", "ratio"):
        wide, narrow = figures["over_policies"][name], figures["over_episodes"][name]
        assert wide["low"] == pytest.approx(over[name]["low"], abs=1e-5)
        assert wide["estimate"] == narrow["estimate"] == 1
    # Whatever is read from the document can be made again from its returns alone.
    older = {k: v for k, v in figures.items() if not k.startswith("over_")}
    for kind, parts in agreements(older).items():
        for name in ("spearman", "pearson", "ratio"):
            assert parts[name] == pytest.approx(figures[kind][name], abs=1e-5)
    assert {p.name for p in tmp_path.iterdir()} == {
        "ranking.json", "ranking-1.png", "real-returns.json"
    }  # fmt: skip
    check_benchmark(json.loads((tmp_path / "ranking.json").read_text()))
    table = policy_ranking.table(figures, "title")
    assert (table.row_count, len(table.columns)) == (len(POLICIES), 5)
    assert "Spearman 1.00 [" in table.caption
    assert "over episodes alone, of these very policies, Spearman 1.00 [" in table.caption


def test_a_world_upside_down_is_caught(tmp_path):
    figures = rank(tmp_path, UpsideDownWorld())["results"]["by_steps"]["1"]
    assert figures["spearman"]["estimate"] == -1


def test_one_episode_gives_no_interval(tmp_path):
    """Not in the document, nor in the table, nor on the page; the plot shows bare points."""
    document = rank(tmp_path, ToyWorld(max_misses=2), episodes=1, pictures=True)
    figures = document["results"]["by_steps"]["1"]
    assert json.loads((tmp_path / "ranking.json").read_text())["results"] == document["results"]
    for name in ("spearman", "kendall", "regret", "bias", "mae"):
        assert figures[name]["estimate"] is not None
        assert figures[name]["low"] is figures[name]["high"] is None
    table = policy_ranking.table(figures, "title")
    assert "Spearman 1.00, " in table.caption
    assert all("(no interval)" in cell for cell in table.columns[1].cells)
    shown = figures_of(read_folder(tmp_path), "ranking")
    assert {figure.ends for figure in shown} == {"no interval"}
    assert {finding.verdict for finding in findings(read_folder(tmp_path))} == {"open"}
    text = " ".join(finding.sentence for finding in findings(read_folder(tmp_path)))
    assert "Spearman 1.00 of 4 policies" in text


def test_real_episodes_are_played_once(tmp_path, monkeypatch):
    played = []
    original = policy_ranking.play
    monkeypatch.setattr(
        policy_ranking, "play", lambda *a, **k: played.append(a[0].name) or original(*a, **k)
    )
    world, console = ToyWorld(), Console(quiet=True)
    policies = [make_policy(name, world.action_spec.space) for name in POLICIES[:2]]
    cache = tmp_path / "real.json"
    first = policy_ranking.play_real(policies, world, 2, cache, console)
    again = policy_ranking.play_real(policies, world, 2, cache, console)
    assert played == list(POLICIES[:2])
    for one, other in zip(first, again, strict=True):
        assert one.to_dict() == other.to_dict()
        np.testing.assert_array_equal(one.terminated, other.terminated)
    policy_ranking.play_real(policies[:1], world, 3, cache, console)
    assert played == ["noop", "left", "noop"], "other episodes were asked for"
    cache.write_text("{half")
    policy_ranking.play_real(policies[:1], world, 1, cache, console)
    assert len(played) == 4, "a damaged cache is no cache"


def test_episodes_do_not_depend_on_the_streams():
    world = ToyWorld()
    policies = [make_policy(name, world.action_spec.space) for name in POLICIES]
    few = play_all(policies, world, range(50, 55), streams=2)
    many = play_all(policies, world, range(50, 55), streams=64)
    idle = play_all(policies, world, range(50, 55), streams=64, idle=1.0)
    for one, other in zip(many, idle, strict=True):
        assert np.array_equal(one.returns, other.returns)
        assert np.array_equal(one.lengths, other.lengths)
        assert np.array_equal(one.terminated, other.terminated)
    for a, b in zip(few, many, strict=True):
        assert a.policy == b.policy
        np.testing.assert_array_equal(a.returns, b.returns)
        np.testing.assert_array_equal(a.lengths, b.lengths)
        np.testing.assert_array_equal(a.terminated, b.terminated)
    assert len({e.returns.sum() for e in few}) > 1


def test_cut_off_episodes_are_not_called_terminated():
    world = ToyWorld(max_misses=99)
    noop = make_policy("noop", world.action_spec.space)
    (evaluation,) = play_all([noop], world, [1, 2], max_episode_steps=12)
    assert evaluation.lengths.tolist() == [12, 12]
    assert not evaluation.terminated.any()


def test_a_world_without_a_horizon_is_refused():
    world = ToyWorld(max_episode_steps=None)
    with pytest.raises(NFDError, match="horizon"):
        play_all([make_policy("noop", world.action_spec.space)], world, [0])
