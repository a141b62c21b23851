from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from benchmarks import controllability, controllability_report
from benchmarks.clips import Origin, cut_clips
from benchmarks.counterfactual import find_games, measure_counterfactual, play_courses
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.image_metrics import psnr, squared_error
from benchmarks.real_games import RealGames
from benchmarks.real_world import RealWorld
from benchmarks.results import plain
from tests.benchmarks import sliding, sliding_game
from world_model.data import open_store
from world_model.errors import NFDError

NAMES = ["right", "left"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return sliding.make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def clips(data):
    return cut_clips(open_store(data), "validation", 12, context=2, horizon=4, seed=0)


@pytest.fixture(scope="module")
def courses(clips):
    return [np.full_like(clips.actions, action) for action in (1, 2)]


@pytest.fixture(scope="module")
def real(clips, courses):
    return play_courses(RealGames(sliding_game.SlidingGame, sliding.SPEC), clips, courses)


def measured(world, clips, courses, real):
    imagined = controllability.imagine_courses(world.make_rollout(), clips, courses, 3, 64)
    return plain(measure_counterfactual(real, clips, imagined, NAMES))


def test_real_futures_are_what_the_actions_lead_to(clips, real):
    start = sliding.read(clips.last_seen[:, 0])
    for h in range(clips.horizon):
        right = start + h + 1
        # Pushed against the right edge the episode ends, and nothing is known any more.
        np.testing.assert_array_equal(real.known[0, :, h], right < sliding.PLACES)
        drawn = sliding.draw(np.minimum(right, sliding.PLACES - 1))[0]
        alive = real.known[0, :, h]
        np.testing.assert_array_equal(real.frames[0, alive, h], drawn[alive])
    assert real.known.any()
    assert not real.known.all()
    assert (real.tried, real.why_not) == (12, "")


def test_the_perfect_world_explains_everything(clips, courses, real):
    figures = measured(sliding_game.world(), clips, courses, real)
    for h in range(clips.horizon):
        assert figures["effect_explained"][h]["estimate"] == 1
        assert figures["effect_cosine"][h]["estimate"] == pytest.approx(1)
        assert figures["psnr"]["model"][h]["estimate"] == pytest.approx(psnr(np.zeros(1))[0])
        assert figures["psnr_changed"]["model"][h]["estimate"] > 58.8
        assert figures["imagined_apart"][h] == figures["real_apart"][h]
        assert figures["psnr"]["model"][h]["n"] == real.known[:, :, h].any(0).sum()
        assert figures["effect_explained"][h]["n"] == real.known[:, :, h].all(0).sum()
    assert figures["gain"][0]["low"] > 0


def test_a_world_that_ignores_actions_explains_nothing(clips, courses, real):
    for fault in ("deaf", "frozen", "memorised"):
        figures = measured(sliding_game.world(fault), clips, courses, real)
        assert figures["effect_explained"][-1]["estimate"] == 0
        assert figures["effect_cosine"][-1]["estimate"] == 0
        assert figures["gain"][0]["estimate"] == 0
        assert figures["imagined_apart"][0]["estimate"] == 0
        assert figures["real_apart"][0]["estimate"] > 0


def test_distances_by_hand(clips, courses, real):
    figures = measured(sliding_game.world("frozen"), clips, courses, real)
    both = real.known[0, :, 1] & real.known[1, :, 1]
    apart = np.sqrt(squared_error(real.frames[0, both, 1], real.frames[1, both, 1])).mean()
    assert figures["real_apart"][1]["estimate"] == pytest.approx(apart, abs=1e-5)
    repeated = figures["psnr"]["repeat_last"][1]["estimate"]
    assert figures["psnr"]["model"][1]["estimate"] == repeated < 58


def test_the_wrong_way_round_is_worse_than_nothing(clips, courses, real):
    """A world in which right is left: the effect is there, with the wrong sign."""
    imagined = controllability.imagine_courses(
        sliding_game.world().make_rollout(), clips, courses[::-1], 3, 64
    )
    figures = plain(measure_counterfactual(real, clips, imagined, NAMES))
    assert figures["effect_explained"][0]["estimate"] == pytest.approx(-3)
    assert figures["effect_cosine"][0]["estimate"] == pytest.approx(-1)
    assert figures["gain"][0]["high"] < 0


def test_clips_that_cannot_be_restored_are_counted(clips, courses):
    broken = list(clips.origins)
    broken[0] = Origin(None, broken[0].actions)
    games = RealGames(sliding_game.SlidingGame, sliding.SPEC)
    found = play_courses(games, replace(clips, origins=tuple(broken)), courses)
    np.testing.assert_array_equal(found.chosen, np.arange(1, len(clips)))
    assert "1 of 12 clips cannot be restored" in found.why_not
    other = RealGames(sliding_game.SlidingGame, sliding.SPEC)
    none = tuple(Origin(None, o.actions) for o in clips.origins)
    with pytest.raises(NFDError, match="12 of 12 clips cannot be restored"):
        play_courses(other, replace(clips, origins=none), courses)


def test_the_perfect_world_brings_its_own_games():
    world = RealWorld(sliding_game.world())
    assert find_games(world) is world.games


@pytest.mark.slow
@pytest.mark.parametrize("known_game", [True, False])
def test_as_a_part_of_controllability(data, tmp_path, known_game):
    """Without the game all the rest is measured, and the document says why this is not."""
    world = sliding_game.world() if known_game else sliding.SlidingWorld()
    options = EvaluateOptions(data=data, out=tmp_path, clips=20, horizon=4, sampled_clips=8,
                              reader_steps=5)  # fmt: skip
    document = controllability.run(options, Console(quiet=True), world)
    results = document["results"]["by_steps"]["1"]
    told = results["counterfactual"]
    picture = tmp_path / "controllability-1-counterfactual.png"
    assert picture.is_file() == known_game
    titles = [str(t.title) for t in controllability_report.tables(results, "title")]
    assert any("counterfactual" in title for title in titles) == known_game
    if known_game:
        assert told["effect_explained"][-1]["estimate"] == 1
        assert told["courses"] == ["stay", "right", "left"]
        assert told["clips"] == told["tried"] == 8
    else:
        assert "cannot be played here" in told["why_not"]
