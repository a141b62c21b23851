"""What a person looks at while a world trains: right frames, right figures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.world_model.test_video import read
from tests.world_model.tiny import tiny_world
from tests.world_model.training.bars import make_bars
from world_model.errors import DataError
from world_model.image_quality import psnr
from world_model.training import samples
from world_model.training.samples import sample_world


def test_figures_and_film(bars, tmp_path):
    report = sample_world(tiny_world(), bars, tmp_path / "film.mp4", horizon=8, horizons=(1, 4, 20))
    assert list(report.psnr) == [1, 4]
    assert list(report.psnr_repeat_last) == [1, 4]
    frames, rate = read(report.video)
    count = len(bars.split("validation"))
    assert rate == tiny_world().config.fps
    assert frames.shape == (8, 4 * 2 * 18, 4 * count * 18, 3)


def test_a_world_that_repeats_the_last_frame_scores_as_that(bars, tmp_path):
    """With silent weights the network says: no change."""
    world = tiny_world(outcome=False)
    with torch.no_grad():
        for parameter in world.network.parameters():
            parameter.zero_()
    world.config = type(world.config)(
        **{**vars(world.config), "context_noise": 0.0, "sampling_steps": 1}
    )
    report = sample_world(world, bars, tmp_path / "film.mp4", horizon=4)
    assert report.psnr == report.psnr_repeat_last
    # Against the definition, written out.
    errors = []
    for index in bars.split("validation"):
        episode = bars.episode(int(index))
        start = (len(episode.frames) - 4) // 2
        real, last = (episode.frames[i].astype(float) for i in (start + 3, start - 1))
        errors.append(np.square(real - last).mean())
    assert report.psnr_repeat_last[4] == pytest.approx(psnr(float(np.mean(errors))), abs=1e-3)


def test_a_perfect_world_has_perfect_figures(bars, tmp_path, monkeypatch):
    from world_model.outcome_calibration import GeneratedSequence

    def imagine(rollout, episodes, starts, horizon, seeds):
        return [
            GeneratedSequence(e, s, np.array(e.frames[s : s + horizon]))
            for e, s in zip(episodes, starts, strict=True)
        ]

    monkeypatch.setattr(samples, "imagine_episodes", imagine)
    report = sample_world(tiny_world(), bars, tmp_path / "film.mp4", horizon=4)
    assert set(report.psnr.values()) == {100.0}
    assert all(value < 50 for value in report.psnr_repeat_last.values())


@pytest.mark.parametrize("transitions", [3, 4, 9])
def test_short_episodes_give_short_films(tmp_path, transitions):
    """A context of 3, and from then on what there is."""
    store = make_bars(tmp_path / "set", episodes=6, transitions=transitions)
    report = sample_world(tiny_world(), store, tmp_path / "film.mp4")
    frames, _ = read(report.video)
    last = max(3, (transitions - 32) // 2)
    longest = min(len(store.episode(int(i)).frames) - last for i in store.split("validation"))
    assert len(frames) == longest
    assert set(report.psnr) == {h for h in (1, 4, 16) if h <= longest}


def test_without_held_out_episodes_training_episodes_stand_in(tmp_path):
    store = make_bars(tmp_path / "set", episodes=1, transitions=12)
    assert len(store.split("validation")) == 0
    assert sample_world(tiny_world(), store, tmp_path / "film.mp4").psnr


def test_nothing_to_show(tmp_path):
    store = make_bars(tmp_path / "set", episodes=3, transitions=2)
    with pytest.raises(DataError, match="longer than a context of 3 frames"):
        sample_world(tiny_world(), store, tmp_path / "film.mp4")
