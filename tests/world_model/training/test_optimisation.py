"""Which optimiser gets what, the schedule, the average of the weights."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from gymnasium import spaces
from torch import nn

from world_model.action_spec import ActionSpec
from world_model.network import NextFrameDiffusion
from world_model.presets import PRESETS, get_preset
from world_model.training.config import TrainConfig
from world_model.training.optimisation import EMA, build_optimizers, learning_rate


def network(name: str = "tiny") -> NextFrameDiffusion:
    spec = ActionSpec.from_space(
        spaces.Tuple([spaces.Discrete(3), spaces.Box(-1, 1, (2,)), spaces.MultiBinary(2)])
    )
    with torch.device("meta" if name != "tiny" else "cpu"):
        return NextFrameDiffusion(get_preset(name).network, spec)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_every_parameter_is_optimised_exactly_once(name, kind):
    model = network(name)
    optimizers = build_optimizers(model, TrainConfig(optimizer=kind))
    assert len(optimizers) == (2 if kind == "muon" else 1)
    counts = Counter(
        id(parameter)
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    )
    assert counts == Counter(id(parameter) for parameter in model.parameters())


def test_muon_gets_the_matrices_inside_the_blocks_and_nothing_else():
    model = network()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    _, muon = build_optimizers(model, TrainConfig())
    assert isinstance(muon, torch.optim.Muon)
    found = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    wanted = {
        f"blocks.{block}.{part}.weight"
        for block in range(model.config.layers)
        for part in ("qkv", "project", "mlp.project_in", "mlp.project_out")
    }
    assert found == wanted


def test_only_matrices_decay():
    model = network()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for optimizer in build_optimizers(model, TrainConfig(weight_decay=0.3)):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                decays = group["weight_decay"] == 0.3
                assert decays == (parameter.ndim >= 2), names[id(parameter)]
                assert decays or group["weight_decay"] == 0


def test_the_learning_rate_rises_stays_and_falls():
    config = TrainConfig(steps=100, learning_rate=2.0, warmup_steps=4, decay_fraction=0.25)
    rates = [learning_rate(step, config) for step in range(100)]
    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates[75] == 2.0
    assert rates[76] == pytest.approx(2.0 * 24 / 25)
    assert rates[99] == pytest.approx(2.0 / 25)
    assert all(rate == 2.0 for rate in rates[3:76])


def test_schedules_without_warm_up_or_decay():
    config = TrainConfig(steps=10, learning_rate=2.0, warmup_steps=0, decay_fraction=0.0)
    assert {learning_rate(step, config) for step in range(10)} == {2.0}
    short = TrainConfig(steps=3, learning_rate=1.0, warmup_steps=100)
    assert all(0 < learning_rate(step, short) <= 0.03 for step in range(3))


def test_a_longer_run_shares_the_plateau_of_a_shorter_one():
    """That is why steps may change when a run is continued."""
    short, long = TrainConfig(steps=1000), TrainConfig(steps=2000)
    for step in range(750):
        assert learning_rate(step, short) == learning_rate(step, long)


def test_the_average_is_short_at_first_and_long_later():
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    ema = EMA(module, decay=0.9)
    nn.init.ones_(module.weight)
    expected = 0.0
    for step in range(200):
        ema.update(module, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay)
        assert ema.weights["weight"].item() == pytest.approx(expected, abs=1e-5)
        if step == 0:
            assert expected == pytest.approx(0.9)  # nearly all of it is new
    assert expected == pytest.approx(1.0, abs=1e-4)


def test_the_average_shares_no_memory_with_the_weights():
    module = nn.Linear(2, 2)
    ema = EMA(module, decay=0.9)
    before = ema.weights["weight"].clone()
    with torch.no_grad():
        module.weight.add_(1)
    assert torch.equal(ema.weights["weight"], before)
