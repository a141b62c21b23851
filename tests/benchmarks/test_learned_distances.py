import json

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from benchmarks import fidelity, fidelity_report, i3d, learned_distances
from benchmarks.clips import cut_clips
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.evaluation_folder import read_folder
from benchmarks.i3d import I3D, MIXED
from benchmarks.learned_distances import load_networks, measure_fvd, measure_lpips
from benchmarks.report import render_report
from benchmarks.shown_figures import figures_of
from tests.benchmarks import sliding
from tests.world_model.autoencoder.test_perceptual import narrow, weights  # noqa: F401
from world_model.data import open_store
from world_model.errors import ConfigError


class Eye:
    """Sees two numbers of a clip: its mean brightness and its mean of red."""

    def features(self, clips):
        return np.stack([clips.mean((1, 2, 3, 4)), clips[..., 0].mean((1, 2, 3))], axis=1)


class Difference(torch.nn.Module):
    """Mean absolute difference of images."""

    def __init__(self):
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def forward(self, a, b):
        assert a.abs().max() <= 1
        return (a - b).abs().mean((1, 2, 3))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return sliding.make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def clips(data):
    return cut_clips(open_store(data), "validation", 30, context=2, horizon=10, seed=0)


def test_equal_clips_are_at_no_distance(clips):
    found = measure_fvd(Eye(), clips, {"model": clips.frames, "brighter": clips.frames + 5})
    whole = int(clips.known.all(1).sum())
    assert (found["clips"], found["frames"]) == (whole, 10)
    assert found["distance"]["model"]["estimate"] == pytest.approx(0, abs=1e-6)
    # Every clip is brighter by 5 in both numbers, and they vary as before: 5^2 + 5^2.
    assert found["distance"]["brighter"]["estimate"] == pytest.approx(50, rel=1e-6)
    assert found["distance"]["brighter"]["low"] is None
    assert found["distance"]["real_halves"]["n"] == whole // 2


def test_the_spread_counts_too(clips):
    """Features three times as far from a common mean: trace of (3 s - s)^2."""

    class Listed:
        def __init__(self, *answers):
            self.answers = list(answers)

        def features(self, frames):
            return self.answers.pop(0)

    rng = np.random.default_rng(0)
    real = rng.normal(size=(int(clips.known.all(1).sum()), 2))
    spread = 3 * (real - real.mean(0)) + real.mean(0)
    found = measure_fvd(Listed(real, spread), clips, {"model": clips.frames})
    wanted = 4 * np.trace(np.cov(real, rowvar=False))
    assert found["distance"]["model"]["estimate"] == pytest.approx(wanted)


def test_too_few_clips_say_so(clips):
    few = clips.take(np.flatnonzero(clips.known.all(1))[:3])
    found = measure_fvd(Eye(), few, {"model": few.frames})
    assert found["why_not"] == "only 3 clips are known to their last frame"


def test_lpips_by_hand(clips):
    brighter = np.minimum(clips.frames.astype(int) + 51, 255).astype(np.uint8)
    curves = measure_lpips(
        Difference(), clips, {"same": clips.frames, "brighter": brighter}, batch=7
    )
    assert [point["estimate"] for point in curves["same"]] == [0.0] * clips.horizon
    assert [point["n"] for point in curves["same"]] == clips.known.sum(0).tolist()
    wanted = (brighter.astype(float) - clips.frames)[clips.known[:, 3], 3].mean() / 127.5
    assert curves["brighter"][3]["estimate"] == pytest.approx(wanted, rel=1e-5)


def test_what_does_not_fit_is_refused_before_anything_is_imagined(tmp_path):
    def load(lpips=None, fvd=None, side=64, horizon=16):
        return load_networks(lpips, fvd, frame_shape=(side, side, 3), horizon=horizon, device="cpu")

    nothing = load()
    assert (nothing.lpips, nothing.i3d, nothing.weights) == (None, None, {})
    path = tmp_path / "weights.safetensors"
    with pytest.raises(ConfigError, match="--lpips: frames of 8x8 pixels are too small"):
        load(lpips=path, side=8)
    with pytest.raises(ConfigError, match="--fvd: clips of 9 frames are too short"):
        load(fvd=path, horizon=9)
    save_file({"features.0.weight": torch.zeros(1)}, path)
    with pytest.raises(ConfigError, match="perceptual network"):
        load(lpips=path)
    with pytest.raises(ConfigError, match=r"I3D network .* lacks"):
        load(fvd=path)


@pytest.mark.slow
def test_the_whole_command(data, weights, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setattr(i3d, "MIXED", dict.fromkeys(MIXED, (2, 2, 3, 2, 2, 1)))
    monkeypatch.setattr(i3d, "SIDE", 64)
    lpips, fvd, out = (tmp_path / n for n in ("vgg.safetensors", "i3d.safetensors", "out"))
    save_file(weights, lpips)
    torch.manual_seed(0)
    save_file({k: torch.rand_like(v.float()) for k, v in I3D().state_dict().items()}, fvd)
    options = EvaluateOptions(
        data=data, out=out, lpips=lpips, fvd=fvd, clips=12, horizon=10, samples=1, rollouts=3,
        rollout_steps=5, pictures=False,
    )  # fmt: skip
    document = fidelity.run(options, Console(quiet=True), sliding.SlidingWorld())
    results = document["results"]["by_steps"]["1"]
    assert results["lpips"]["model"][-1]["estimate"] == pytest.approx(0, abs=1e-6)
    assert results["lpips"]["shuffled_actions"][-1]["estimate"] > 1e-4
    distance = results["fvd"]["distance"]
    assert distance["model"]["estimate"] < 1e-3 * distance["repeat_last"]["estimate"]
    settings = json.loads((out / "fidelity.json").read_text())["settings"]
    assert settings["lpips_weights"] == learned_distances._digest(lpips)
    assert "lpips" not in settings
    titles = [table.title for table in fidelity_report.tables(results, "title")]
    assert "Frechet video distance (FVD) to real clips" in titles
    folder = read_folder(out)
    page = render_report(folder)
    assert "LPIPS, lower is better" in page
    assert "this is none of them" in page
    keys = [figure.key for figure in figures_of(folder, "fidelity")]
    assert f"lpips.{settings['lpips_weights']}@10" in keys
    assert any(key.startswith(f"fvd.{settings['fvd_weights']}.") for key in keys)
