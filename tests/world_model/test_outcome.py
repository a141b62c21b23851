from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces

from world_model.action_spec import ActionSpec
from world_model.errors import (
    ActionError,
    DataError,
    WorldFormatError,
    WorldNotFoundError,
)
from world_model.outcome import OutcomeConfig, OutcomeModel
from world_model.outcome_storage import load_outcome, save_outcome

SPACES = {
    "discrete": spaces.Discrete(3),
    "box": spaces.Box(-2, 2, (2,)),
    "dict": spaces.Dict({"keys": spaces.MultiBinary(3), "mouse": spaces.Box(-1, 1, (2,))}),
}


def make_model(
    shape: tuple[int, int, int] = (16, 16, 3), space: str = "discrete", **settings
) -> OutcomeModel:
    torch.manual_seed(0)
    spec = ActionSpec.from_space(SPACES[space])
    settings = {
        "embedding": 24,
        "hidden": 20,
        "head": 16,
        "reward_support": (-1.0, 0.0, 2.5),
        "state_names": ("health",),
        "state_supports": ((0.0, 50.0, 100.0),),
        "change_supports": ((-20.0, 0.0),),
        **settings,
    }
    return OutcomeModel(OutcomeConfig.for_frames(shape, **settings), spec).eval()


def make_inputs(model: OutcomeModel, batch: int, steps: int):
    rng = np.random.default_rng(1)
    model.action_spec.space.seed(1)
    frames = rng.integers(0, 256, (batch, steps, *model.config.frame_shape), dtype=np.uint8)
    drawn = [
        [model.action_spec.encode(model.action_spec.space.sample()) for _ in range(steps + 1)]
        for _ in range(batch)
    ]
    actions = torch.from_numpy(np.array(drawn))
    actions[:, 0] = torch.nan  # the start of an episode
    return torch.from_numpy(frames), actions[:, :-1], actions[:, 1:]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("shape", [(16, 16, 3), (24, 56, 3), (128, 72, 3)])
@torch.no_grad()
def test_observing_step_by_step_equals_the_whole_sequence(shape, space: str) -> None:
    model = make_model(shape, space)
    frames, actions, next_actions = make_inputs(model, batch=2, steps=5)
    whole = model.forward_sequence(frames, actions, next_actions)
    memory = model.initial_memory(2)
    for step in range(5):
        memory = model.observe(memory, frames[:, step], actions[:, step])
        assert memory.shape == (2, model.memory_size)
        torch.testing.assert_close(
            model.reward(memory), whole.rewards[:, step], rtol=1e-4, atol=1e-5
        )
        logits = model.termination_logits(memory, next_actions[:, step])
        torch.testing.assert_close(logits, whole.termination_logits[:, step], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(memory, whole.memory, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_sequence_in_two_parts_equals_one() -> None:
    model = make_model()
    inputs = make_inputs(model, batch=2, steps=6)
    whole = model.forward_sequence(*inputs)
    first = model.forward_sequence(*(part[:, :4] for part in inputs))
    second = model.forward_sequence(*(part[:, 4:] for part in inputs), first.memory)
    joined = torch.cat([first.termination_logits, second.termination_logits], 1)
    torch.testing.assert_close(joined, whole.termination_logits)
    torch.testing.assert_close(second.memory, whole.memory)


@torch.no_grad()
def test_reset_is_a_fresh_memory() -> None:
    model = make_model()
    frames, actions, next_actions = make_inputs(model, batch=2, steps=6)
    actions[:, 3] = torch.nan
    resets = torch.zeros(2, 6, dtype=torch.bool)
    resets[0, 3] = True
    packed = model.forward_sequence(frames, actions, next_actions, resets=resets)
    alone = model.forward_sequence(frames[:, 3:], actions[:, 3:], next_actions[:, 3:])
    torch.testing.assert_close(packed.memory[0], alone.memory[0])
    torch.testing.assert_close(packed.rewards[0, 3:], alone.rewards[0])
    assert not torch.allclose(packed.memory[1], alone.memory[1])


@torch.no_grad()
def test_streams_do_not_see_each_other() -> None:
    model = make_model()
    frames, actions, next_actions = make_inputs(model, batch=3, steps=4)
    together = model.forward_sequence(frames, actions, next_actions)
    alone = model.forward_sequence(frames[1:2], actions[1:2], next_actions[1:2])
    torch.testing.assert_close(together.memory[1:2], alone.memory, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 7])
@torch.no_grad()
def test_no_bit_of_a_stream_depends_on_those_beside_it(batch: int) -> None:
    model = make_model((64, 64, 3), embedding=256, hidden=128, head=64)
    frames, actions, next_actions = make_inputs(model, 8, 4)
    memory, alone = model.initial_memory(8), model.initial_memory(batch)
    for t in range(4):
        memory = model.observe(memory, frames[:, t], actions[:, t])
        alone = model.observe(alone, frames[:batch, t], actions[:batch, t])
        assert torch.equal(alone, memory[:batch])
        for told in (
            model.reward,
            lambda m, t=t: model.termination_logits(m, next_actions[: len(m), t]),
        ):
            assert torch.equal(told(alone), told(memory)[:batch])


@torch.no_grad()
def test_every_input_has_a_say() -> None:
    """What a head should depend on reaches it: this frame, the one before, and the actions."""
    model = make_model()
    frames, actions, next_actions = make_inputs(model, batch=1, steps=2)
    base = model.forward_sequence(frames, actions, next_actions)

    def changed(what: str, step: int) -> tuple[bool, bool]:
        parts = {"frames": frames, "actions": actions, "next_actions": next_actions}
        part = parts[what].clone()
        part[0, step] = 255 - part[0, step] if what == "frames" else 2 - part[0, step]
        if what == "actions" and step == 1:
            part[0, step] = (actions[0, step] + 1) % 3
        other = model.forward_sequence(**{**parts, what: part})
        return (
            not torch.equal(base.rewards[0, 1], other.rewards[0, 1]),
            not torch.equal(base.termination_logits[0, 1], other.termination_logits[0, 1]),
        )

    next_actions[0, 1] = 0
    base = model.forward_sequence(frames, actions, next_actions)
    assert changed("frames", 0) == (True, True)
    assert changed("frames", 1) == (True, True)
    assert changed("actions", 1) == (True, True)
    # The reward of a transition must not depend on the action after it.
    assert changed("next_actions", 1) == (False, True)


@torch.no_grad()
def test_draws_are_functions_of_their_uniform() -> None:
    model = make_model()
    frames, actions, _ = make_inputs(model, batch=1, steps=1)
    memory = model.observe(model.initial_memory(1), frames[:, 0], actions[:, 0])
    uniform = (torch.arange(2000) + 0.5) / 2000
    many = memory.expand(2000, -1)
    drawn = model.reward_sample(many, uniform)
    assert torch.equal(drawn, model.reward_sample(many, uniform))
    assert set(drawn.unique().tolist()) <= {-1.0, 0.0, 2.5}
    assert drawn.mean().item() == pytest.approx(model.reward(memory).item(), abs=2e-3)
    assert model.reward_mode(memory).item() in (-1.0, 0.0, 2.5)

    logits = torch.tensor([-2.0, 0.0, 1.0])
    share = torch.stack([model.terminates(logits, u.expand(3)) for u in uniform]).float().mean(0)
    torch.testing.assert_close(share, logits.sigmoid(), rtol=0, atol=1e-3)
    assert model.terminates(logits).tolist() == [False, False, True]
    model.termination_threshold.fill_(-3.0)
    assert model.terminates(logits).tolist() == [True, True, True]


@torch.no_grad()
def test_calibration_applies_to_both_ways() -> None:
    model = make_model()
    frames, actions, next_actions = make_inputs(model, batch=1, steps=1)
    memory = model.observe(model.initial_memory(1), frames[:, 0], actions[:, 0])
    raw = model.termination_logits(memory, next_actions[:, 0])
    model.termination_scale.fill_(0.5)
    model.termination_bias.fill_(-1.0)
    torch.testing.assert_close(
        model.termination_logits(memory, next_actions[:, 0]), 0.5 * raw - 1.0
    )
    whole = model.forward_sequence(frames, actions, next_actions)
    torch.testing.assert_close(whole.termination_logits[:, 0], 0.5 * raw - 1.0)
    torch.testing.assert_close(whole.raw_termination_logits[:, 0], raw)


def test_wrong_inputs_are_refused() -> None:
    model = make_model()
    frames, actions, next_actions = make_inputs(model, batch=2, steps=3)
    memory = model.initial_memory(2)
    with pytest.raises(DataError, match="uint8"):
        model.observe(memory, frames[:, 0].float(), actions[:, 0])
    with pytest.raises(DataError, match="frames are"):
        model.observe(memory, frames[:, 0, :8], actions[:, 0])
    with pytest.raises(DataError, match="another outcome model"):
        model.observe(memory[:, :-1], frames[:, 0], actions[:, 0])
    with pytest.raises(ActionError, match="actions have shape"):
        model.observe(memory, frames[:, 0], actions[:, 0, 0])
    with pytest.raises(ActionError, match="actions have shape"):
        model.termination_logits(memory, actions[:1, 0])
    with pytest.raises(ActionError, match="actions have shape"):
        model.forward_sequence(frames, actions, next_actions[:, :-1])
    with pytest.raises(DataError, match="resets"):
        model.forward_sequence(frames, actions, next_actions, resets=torch.zeros(2, 2).bool())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"frame_shape": (4, 16, 3)}, "not supported"),
        ({"frame_shape": (16, 16, 1)}, "not supported"),
        ({"channels": ()}, "at least one"),
        ({"state_names": ("health",)}, "one support each"),
        ({"reward_support": (1.0, 1.0)}, "ascending"),
        ({"reward_support": ()}, "ascending"),
    ],
)
def test_impossible_configs_are_refused(settings, words: str) -> None:
    with pytest.raises(DataError, match=words):
        OutcomeConfig(**{"frame_shape": (64, 64, 3), **settings})


def test_config_survives_json() -> None:
    config = make_model().config
    assert OutcomeConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(WorldFormatError, match="newer version"):
        OutcomeConfig.from_dict({**config.to_dict(), "telepathy": True})
    with pytest.raises(WorldFormatError, match="damaged"):
        OutcomeConfig.from_dict({"channels": [8]})


def test_saved_model_is_the_same(tmp_path: Path) -> None:
    model = make_model(space="dict")
    model.termination_bias.fill_(-0.25)
    save_outcome(model, tmp_path / "outcome")
    loaded = load_outcome(tmp_path / "outcome")
    inputs = make_inputs(model, batch=1, steps=3)
    with torch.no_grad():
        ours, theirs = model.forward_sequence(*inputs), loaded.forward_sequence(*inputs)
    assert torch.equal(ours.termination_logits, theirs.termination_logits)
    assert torch.equal(ours.rewards, theirs.rewards)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "outcome"
    with pytest.raises(WorldNotFoundError, match=r"config\.json is missing"):
        load_outcome(folder)
    save_outcome(make_model(), folder)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:1000])
    with pytest.raises(WorldFormatError, match="damaged"):
        load_outcome(folder)
    (folder / "model.safetensors").write_bytes(weights)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "format_version": 2}))
    with pytest.raises(WorldFormatError, match="format version 2"):
        load_outcome(folder)
