import json
from dataclasses import replace

import pytest
import torch
from gymnasium import spaces
from rich.console import Console

from benchmarks import paper_scale
from benchmarks.latent_streams import LatentStreams
from benchmarks.paper_scale import PaperScaleOptions
from benchmarks.results import check_benchmark
from world_model import presets
from world_model.action_spec import ActionSpec
from world_model.autoencoder.config import AutoencoderConfig
from world_model.flow import FlowConfig
from world_model.network import NetworkConfig, NextFrameDiffusion

SMALL = NetworkConfig(
    grid=(2, 3), token_dim=16, width=32, layers=2, heads=2, mlp="swiglu", mlp_width=64, window=4
)
FLOW = FlowConfig(prediction="v", loss="v")


def streams(batch=2, steps=2, at_once=1):
    torch.manual_seed(0)
    network = NextFrameDiffusion(SMALL, ActionSpec.from_space(spaces.Discrete(3))).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return LatentStreams(network, batch, steps, FLOW, at_once)


def test_streams_move_on_in_place():
    ours = streams()
    latent, index, address = ours.latents.clone(), ours.index.clone(), ours.latents.data_ptr()
    ours.advance()
    assert ours.latents.data_ptr() == address, "a graph would not find a new buffer"
    assert (ours.index == index + 1).all()
    assert not torch.equal(ours.latents, latent)
    assert torch.isfinite(ours.latents).all()


def test_the_window_is_full_from_the_start():
    ours = streams()
    sizes = [(ours.cache.frames[0] >= 0).sum().item()]
    for _ in range(6):
        ours.advance()
        sizes.append((ours.cache.frames[0] >= 0).sum().item())
    assert sizes == [SMALL.window] * 7
    newest = ours.cache.frames.max(dim=1).values
    assert (newest == ours.index[:, -1]).all(), "the frame just imagined is the newest in sight"


def test_several_frames_in_one_go():
    ours = streams(batch=1, at_once=3)
    calls = []
    stream = ours.network.stream
    ours.network.stream = lambda *args, **kwargs: (calls.append(1), stream(*args, **kwargs))[1]
    first = ours.index.clone()
    for _ in range(4):
        ours.advance()
    assert len(calls) == 4 * 2, "two steps for three frames"
    assert (ours.index == first + 12).all()
    assert ours.cache.frames.max() == ours.index[0, -1]
    slots = ours.cache.frames.shape[1]
    assert sorted(ours.cache.frames[0].tolist()) == list(
        range(int(ours.index[0, -1]) - slots + 1, int(ours.index[0, -1]) + 1)
    )
    assert torch.isfinite(ours.latents).all()


@pytest.mark.parametrize("at_once", [1, 3])
def test_every_pass_is_given_what_belongs_to_its_noise_level(at_once):
    """Computed at once, the modulation is cut up rightly."""
    ours, calls = streams(batch=1, steps=3, at_once=at_once), []
    network, stream = ours.network, ours.network.stream

    def watched(latents, modulation, *rest, **options):
        calls.append(modulation)
        return stream(latents, modulation, *rest, **options)

    network.stream = watched
    ours.advance()
    noise = [ours.levels[t] for t in ours.grid[:-1]]
    passes = [torch.cat([ours.level, noise[0]], dim=1), *noise[1:]]
    assert len(calls) == len(passes)
    for t, given in zip(passes, calls, strict=True):
        actions = ours.actions.repeat(1, t.shape[1] // at_once, 1)
        with torch.no_grad():
            expected = network.modulation(t, actions)
        torch.testing.assert_close(given, expected, atol=1e-5, rtol=1e-5)


@pytest.fixture
def small(monkeypatch):
    preset = replace(presets.get_preset("nfd-130m"), network=SMALL)
    monkeypatch.setitem(presets.PRESETS, "small", preset)
    return PaperScaleOptions(
        presets=("small",), batches=(1, 2), modes=("eager", "graph"), frames=2, repeats=3,
        decoders=("none",), device="cpu", dtype="float32",
    )  # fmt: skip


def test_what_fails_is_written_down_and_the_rest_measured(small, tmp_path):
    options = replace(small, out=tmp_path / "r.json")
    paper_scale.run(options, Console(quiet=True))
    document = json.loads(options.out.read_text())
    check_benchmark(document)
    rows = document["results"]["rows"]
    # Four frames at once for one stream only.
    assert len(rows) == 2 * 2 * 3
    assert {row["at_once"] for row in rows if row["batch"] == 2} == {1}
    for row in rows:
        if row["mode"] == "eager":
            assert row["frames_per_second"] > 0
        else:
            assert "needs a GPU" in row["failed"]
    assert paper_scale.table(rows).row_count == 12


def test_it_goes_on_where_it_stopped(small, tmp_path, monkeypatch):
    options = replace(small, out=tmp_path / "r.json", modes=("eager",))
    paper_scale.run(replace(options, steps=(1,)), Console(quiet=True))
    first = json.loads(options.out.read_text())["results"]["rows"]
    measured = []
    original = paper_scale.measure
    monkeypatch.setattr(
        paper_scale, "measure", lambda *a, **k: measured.append(a[4]) or original(*a, **k)
    )
    paper_scale.run(options, Console(quiet=True))
    assert measured == [4, 4, 4]
    rows = json.loads(options.out.read_text())["results"]["rows"]
    assert rows[: len(first)] == first
    paper_scale.run(options, Console(quiet=True))
    assert measured == [4, 4, 4], "nothing is left to do"


def test_no_time_no_measurement(small, tmp_path):
    options = replace(small, out=tmp_path / "r.json", minutes=-1.0)
    assert paper_scale.run(options, Console(quiet=True))["results"]["rows"] == []


def test_the_papers_sizes_are_the_default():
    assert PaperScaleOptions().presets == ("nfd-130m", "nfd-310m", "nfd-774m")
    for name in PaperScaleOptions().presets:
        config = presets.get_preset(name).network
        assert (config.tokens, config.window) == (84, 32)


def test_the_decoder_is_that_of_the_papers_autoencoder():
    """At its size; what it is made of is tested where it lives."""
    with torch.device("meta"):
        tokenizer = paper_scale.papers_tokenizer(
            presets.get_preset("nfd-310m").network, torch.device("meta"), torch.bfloat16
        )
    assert tokenizer.config == AutoencoderConfig()
    assert tokenizer.token_dim == presets.get_preset("nfd-310m").network.token_dim
    assert {p.dtype for p in tokenizer.decoder.parameters()} == {torch.bfloat16}


def test_frames_are_decoded_with_every_step():
    ours = streams()
    ours.decoder = lambda tokens: (tokens[..., :3] * 50).to(torch.uint8)
    ours.frames = ours._decode(ours.decoder)
    address = ours.frames.data_ptr()
    ours.advance()
    assert ours.frames.data_ptr() == address
    assert torch.equal(ours.frames, ours._decode(ours.decoder))
