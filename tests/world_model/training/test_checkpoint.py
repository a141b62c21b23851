"""Checkpoints come back whole, or say what is wrong with them."""

from __future__ import annotations

import json

import pytest
import torch
from gymnasium import spaces
from safetensors.torch import load_file, save_file

from tests.world_model.disk import full_disk
from world_model.action_spec import ActionSpec
from world_model.errors import CheckpointError, StorageError
from world_model.network import NextFrameDiffusion
from world_model.presets import get_preset
from world_model.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from world_model.training.config import TrainConfig
from world_model.training.optimisation import EMA, build_optimizers

SETTINGS = {"train": {"seed": 0, "betas": (0.9, 0.99)}, "data": "abc"}
FILES = ["ema.safetensors", "model.safetensors", "optimizer.safetensors", "training.json"]


def make_state(seed=0, steps=0, **changes) -> TrainingState:
    torch.manual_seed(seed)
    spec = ActionSpec.from_space(spaces.Discrete(3))
    network = NextFrameDiffusion(get_preset("tiny").network, spec)
    state = TrainingState(network, EMA(network, 0.9), build_optimizers(network, TrainConfig()))
    for step in range(steps):
        for parameter in network.parameters():
            parameter.grad = torch.randn_like(parameter)
        for optimizer in state.optimizers:
            optimizer.step()
        state.ema.update(network, step)
    state.step = steps
    return state


def tensors(state: TrainingState) -> dict[str, torch.Tensor]:
    found = {f"model.{n}": p.detach() for n, p in state.network.named_parameters()}
    found |= {f"ema.{n}": w for n, w in state.ema.weights.items()}
    for number, optimizer in enumerate(state.optimizers):
        for index, slots in optimizer.state_dict()["state"].items():
            found |= {f"{number}.{index}.{key}": value for key, value in slots.items()}
    return found


@pytest.fixture
def saved(tmp_path):
    save_checkpoint(tmp_path / "checkpoint", make_state(steps=2), SETTINGS)
    return tmp_path / "checkpoint"


def test_everything_comes_back(saved):
    assert sorted(path.name for path in saved.iterdir()) == FILES
    expected, state = make_state(steps=2), make_state(seed=1)
    load_checkpoint(saved, state, SETTINGS)
    assert state.step == 2
    found, wanted = tensors(state), tensors(expected)
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert found[name].dtype == wanted[name].dtype, name
        assert torch.equal(found[name], wanted[name]), name


def test_weights_are_loaded_into_the_same_parameters(saved):
    """An optimiser that was built before must go on with what it holds."""
    state = make_state(seed=1)
    before = {id(parameter) for parameter in state.network.parameters()}
    load_checkpoint(saved, state, SETTINGS)
    assert {id(parameter) for parameter in state.network.parameters()} == before
    held = {id(p) for o in state.optimizers for g in o.param_groups for p in g["params"]}
    assert held == before


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "truncated", "empty"])
def test_damaged_files(saved, name, damage):
    path = saved / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2 if damage == "truncated" else 0])
    with pytest.raises(CheckpointError, match=r"cannot be read.*Delete the folder to start anew"):
        load_checkpoint(saved, make_state(), SETTINGS)


@pytest.mark.parametrize(
    "text", ["[]", "3", '{"format": 1, "step": 2}', '{"format": 1, "step": null, "settings": {}}']
)
def test_a_description_that_is_none(saved, text):
    (saved / "training.json").write_text(text)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(saved, make_state(), SETTINGS)


def test_another_format(saved):
    data = json.loads((saved / "training.json").read_text())
    (saved / "training.json").write_text(json.dumps({**data, "format": 2}))
    with pytest.raises(CheckpointError, match="format 2; this version reads 1"):
        load_checkpoint(saved, make_state(), SETTINGS)


def test_settings_that_survive_json_are_the_same(saved):
    load_checkpoint(
        saved, make_state(), {"train": {"seed": 0, "betas": [0.9, 0.99]}, "data": "abc"}
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**SETTINGS, "data": "xyz"}, r"settings: data is 'abc' there and 'xyz' here\. Use"),
        (
            {**SETTINGS, "train": {"seed": 1, "betas": (0.5, 0.99)}},
            r"train.betas is \[0.9, 0.99\] there and \[0.5, 0.99\] here, train.seed is 0 there",
        ),
        ({"data": "abc"}, "train is .* there and None here"),
        ({**SETTINGS, "more": 1}, "more is None there and 1 here"),
    ],
)
def test_other_settings_are_named(saved, settings, message):
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved, make_state(), settings)


@pytest.mark.parametrize("name", ["model", "ema", "optimizer"])
@pytest.mark.parametrize("change", ["forget", "reshape"])
def test_tensors_that_do_not_fit(saved, name, change):
    path = saved / f"{name}.safetensors"
    found = load_file(path)
    key = next(key for key, value in found.items() if value.ndim == 2)
    if change == "reshape":
        found[key] = found[key][:-1].contiguous()
    else:
        prefix = key.rpartition(".")[0] + "." if name == "optimizer" else key
        found = {k: v for k, v in found.items() if not k.startswith(prefix)}
    save_file(found, path)
    with pytest.raises(CheckpointError, match=r"does not fit the network"):
        load_checkpoint(saved, make_state(), SETTINGS)


@pytest.mark.parametrize("limit", [100, 200_000])
def test_a_full_disk_keeps_the_older_checkpoint(saved, limit):
    """Full at the first file, or at the largest one, the optimiser's."""
    newer = make_state(seed=2, steps=3)
    with full_disk(limit), pytest.raises(StorageError, match="Free some disk space"):
        save_checkpoint(saved, newer, SETTINGS)
    assert [path.name for path in saved.parent.iterdir()] == ["checkpoint"]
    state = make_state(seed=1)
    load_checkpoint(saved, state, SETTINGS)
    assert state.step == 2
    for a, b in zip(
        make_state(steps=2).network.parameters(), state.network.parameters(), strict=True
    ):
        assert torch.equal(a, b)
