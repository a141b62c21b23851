from dataclasses import replace

import numpy as np
import pytest

from benchmarks.clips import clips_at, cut_clips
from benchmarks.dreaming import imagine, imagine_true, make_rollout, noise_seeds
from benchmarks.image_metrics import psnr, squared_error
from benchmarks.teacher_forced import (
    forced_steps,
    frames_to_force,
    imagine_forced,
    later,
    measure_teacher_forced,
)
from tests.benchmarks import sliding
from tests.world_model.tiny import tiny_world
from world_model.data import open_store
from world_model.errors import ContextError

CAP = 58.9  # dB, of equal frames


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return open_store(sliding.make_dataset(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def clips(store):
    return cut_clips(store, "validation", 40, 2, 6, seed=0)


def measured(world, clips):
    rollout = world.make_rollout()
    return measure_teacher_forced(rollout, clips, imagine_true(rollout, clips, 0).frames, 0)


def curve(part):
    return np.array([point.estimate for point in part])


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_later_clips_are_those_that_begin_later(store, clips, steps):
    """Context, action and frame are the ones that are cut from the episode at the later place."""
    some = clips.take(np.flatnonzero(clips.known[:, steps]))
    mine = later(some, steps)
    cut = clips_at(store, some.episodes, some.starts + steps, 2, 1)
    np.testing.assert_array_equal(mine.context.frames, cut.context.frames)
    np.testing.assert_array_equal(mine.context.actions, cut.context.actions)
    for name in ("actions", "frames", "known", "ended", "rewards", "labels", "starts"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(cut, name))
    assert (mine.horizon, len(mine)) == (1, len(some))


def test_a_perfect_world_loses_nothing_on_the_way(clips):
    found = measured(sliding.SlidingWorld(), clips)
    looked_at = np.array([h in (1, 2, 4, 6) for h in range(1, 7)])
    for who in ("one_step", "free_running"):
        np.testing.assert_allclose(curve(found["psnr"][who])[looked_at], CAP, atol=0.1)
        np.testing.assert_allclose(curve(found["ssim"][who])[looked_at], 1)
        assert np.isnan(curve(found["psnr"][who])[~looked_at]).all()
    assert (curve(found["accumulated"]["psnr"])[looked_at] == 0).all()


def test_colours_that_drift_are_right_after_one_step_and_wrong_after_several(clips):
    found = measured(sliding.SlidingWorld("drifting"), clips)
    np.testing.assert_allclose(curve(found["psnr"]["one_step"])[[0, 1, 3, 5]], CAP, atol=0.1)
    # Red and blue are off by 3 a step from the second on, red only where it is not at its end.
    step = 4
    known = clips.known[:, step - 1]
    wrong = clips.frames[known, step - 1].astype(int) + np.array([9, 0, -9])
    error = squared_error(clips.frames[known, step - 1], np.clip(wrong, 0, 255).astype(np.uint8))
    lost = CAP - psnr(error).mean()
    assert curve(found["accumulated"]["psnr"])[step - 1] == pytest.approx(lost, abs=0.05)
    assert found["accumulated"]["psnr"][step - 1].low > 0


def test_a_frozen_world_is_wrong_by_one_move_where_free_running_it_is_by_several(clips):
    found = measured(sliding.SlidingWorld("frozen"), clips)
    psnr_of = {who: curve(part) for who, part in found["psnr"].items()}
    assert psnr_of["one_step"][3] < CAP - 1
    assert psnr_of["one_step"][3] > psnr_of["free_running"][3] + 1
    known = clips.known[:, 3]
    still = psnr(squared_error(clips.frames[known, 3], clips.frames[known, 2])).mean()
    assert psnr_of["one_step"][3] == pytest.approx(still)


def test_the_first_step_of_a_world_is_teacher_forced_already(store):
    """Imagined anew by the same noise it is the same; and later ones are as from a later clip."""
    world = tiny_world()
    rollout = make_rollout(world, "cpu", 1)
    some = cut_clips(store, "validation", 5, 2, 4, seed=1)
    dream = imagine_true(rollout, some, 3)
    (_, _, first), (which, one, third) = imagine_forced(rollout, some, [1, 3], 3)
    np.testing.assert_array_equal(first[:, 0], dream.frames[:, 0])
    cut = clips_at(store, some.episodes[which], some.starts[which] + 2, 2, 1)
    np.testing.assert_array_equal(imagine(rollout, cut, noise_seeds(5, 3)[which]).frames, third)
    assert len(one) == some.known[:, 2].sum()


def test_what_cannot_begin_within_a_clip_says_so(clips):
    class Game(sliding.SlidingRollout):
        def begin_clips(self, some, seeds):
            raise AssertionError("not asked")

    class Picky(sliding.SlidingRollout):
        def begin(self, contexts, seeds):
            raise ContextError("the environment begins with its own frames only.")

    game, picky = (kind(sliding.SlidingWorld()) for kind in (Game, Picky))
    assert set(measure_teacher_forced(game, clips, clips.frames, 0)) == {"why_not"}
    assert frames_to_force(game, clips) == 0
    why = measure_teacher_forced(picky, clips, clips.frames, 0)["why_not"]
    assert "its own frames only" in why


def test_frames_are_counted(clips):
    told = []
    rollout = sliding.SlidingWorld().make_rollout()
    measure_teacher_forced(rollout, clips, clips.frames, 0, on_frames=told.append)
    assert sum(told) == frames_to_force(rollout, clips) == clips.known[:, [1, 3, 5]].sum()


def test_steps_that_no_clip_knows(clips):
    known = clips.known.copy()
    known[:, 3:] = False
    found = measured(sliding.SlidingWorld(), replace(clips, known=known))
    assert np.isnan(curve(found["psnr"]["one_step"])[3:]).all()
    assert forced_steps(1) == [1]
