from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console

from benchmarks.coin_flip import (
    LEFT,
    MIDDLE,
    RIGHT,
    CoinFlipOptions,
    draw,
    make_store,
    play,
    run,
    sides_shown,
)


def test_sides_are_told_from_the_blur_of_both():
    left, right, middle = draw(LEFT), draw(RIGHT), draw(MIDDLE)
    blur = ((left.astype(int) + right) // 2).astype(np.uint8)
    both = np.maximum(left, right)
    shown = sides_shown(np.stack([left, left, right, middle, blur, both]))
    assert shown == pytest.approx({"left": 1 / 3, "right": 1 / 6, "neither": 1 / 2})


def test_the_coin_is_fair_and_right_guesses_are_rewarded():
    left = rewards = 0.0
    for seed in range(50):
        episode = play(seed)
        sides = episode.frames[1::2]
        left += sides_shown(sides)["left"] / 50
        went_right = [np.array_equal(frame, draw(RIGHT)) for frame in sides]
        assert (episode.rewards[::2] == (episode.actions[::2, 0] == went_right)).all()
        assert (episode.rewards[1::2] == 0).all()
        assert all(np.array_equal(frame, draw(MIDDLE)) for frame in episode.frames[::2])
        assert episode.terminated.tolist() == [False] * 15 + [True]
        rewards += episode.rewards.mean() / 50
    assert left == pytest.approx(0.5, abs=0.1)
    assert rewards == pytest.approx(0.25, abs=0.05)


def test_the_recording_is_made_once(tmp_path):
    first = make_store(tmp_path / "data", episodes=4)
    assert make_store(tmp_path / "data", episodes=9).content_hash == first.content_hash


@pytest.mark.slow
def test_one_step_blurs_until_it_is_distilled(tmp_path):
    options = CoinFlipOptions(
        out=tmp_path, methods=("energy", "scm"), steps=(1, 18), base_steps=300, distill_steps=400,
        flips=200,
    )  # fmt: skip
    result = run(options, Console(quiet=True))
    rows = {(row["method"], row["steps"]): row for row in result["results"]["rows"]}
    assert rows["none", 1]["neither"] > 0.9
    assert rows["none", 18]["neither"] < 0.1
    for method in options.methods:
        shown = rows[method, 1]
        assert shown["neither"] < 0.35
        assert min(shown["left"], shown["right"]) > 0.2
    assert json.loads((tmp_path / "coin-flip.json").read_text())["kind"] == "benchmark/coin-flip"
