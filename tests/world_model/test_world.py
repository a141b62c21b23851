"""A world is a folder: what is saved comes back, what is damaged is named."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.world_model.disk import full_disk
from tests.world_model.tiny import tiny_world
from world_model.contexts import ContextSet
from world_model.errors import ConfigError, NFDError, StorageError, WorldFormatError
from world_model.rollout import Rollout
from world_model.weights import load_weights
from world_model.world import World
from world_model.world_config import FORMAT_VERSION

FILES = ["README.md", "config.json", "contexts.parquet", "network.safetensors"]


def imagine(world: World, steps: int = 4) -> torch.Tensor:
    """uint8 (B, steps, H, W, 3), and it takes every part of the world."""
    rollout = Rollout(world)
    state = rollout.begin(world.contexts.pick([0, 1]), torch.tensor([5, 6]))
    frames = []
    for step in range(steps):
        state, outcome = rollout.advance(state, torch.full((2, 1), float(step % 3)))
        frames.append(outcome.frames)
    return torch.stack(frames, 1)


@pytest.fixture
def saved(tmp_path):
    return tiny_world().save_pretrained(tmp_path / "world")


def edit_config(folder, change):
    path = folder / "config.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


# -- there and back ----------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [True, False])
def test_everything_comes_back_bit_for_bit(tmp_path, outcome):
    world = tiny_world(outcome=outcome)
    world.config = replace(world.config, source={"id": "Real-v0", "skip": 4}, license="MIT ±")
    world.card = "# tiny\n210 ± 108 → ok\n"
    path = world.save_pretrained(tmp_path / "deep" / "world")
    again = World.from_pretrained(path)
    assert sorted(p.name for p in path.iterdir()) == sorted(
        [*FILES, *(["outcome.safetensors"] if outcome else [])]
    )
    assert again.config == world.config
    assert again.flow == world.flow
    assert again.network.config == world.network.config
    assert again.tokenizer.config == world.tokenizer.config
    assert again.action_spec == world.action_spec
    assert again.card == world.card
    for module, other in zip(world._modules(), again._modules(), strict=True):
        for (name, a), (same, b) in zip(
            module.state_dict().items(), other.state_dict().items(), strict=True
        ):
            assert name == same
            assert a.dtype == b.dtype
            assert torch.equal(a, b), name
    assert np.array_equal(again.contexts.frames, world.contexts.frames)
    assert np.array_equal(again.contexts.actions, world.contexts.actions, equal_nan=True)
    assert torch.equal(imagine(again), imagine(world))
    assert again.num_parameters() == world.num_parameters()


def test_half_precision_is_close_and_half_the_size(tmp_path):
    world = tiny_world()
    full = world.save_pretrained(tmp_path / "full")
    half = world.save_pretrained(tmp_path / "half", dtype=torch.float16)
    sizes = [(path / "network.safetensors").stat().st_size for path in (full, half)]
    assert sizes[1] < 0.6 * sizes[0]
    again = World.from_pretrained(half)
    for a, b in zip(world.network.parameters(), again.network.parameters(), strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)
    # The outcome model is calibrated: it stays exact, unless it is told otherwise.
    small = world.save_pretrained(tmp_path / "small", outcome_dtype=torch.float16)
    for path, rounded in ((half, False), (small, True)):
        found = World.from_pretrained(path).outcome
        for a, b in zip(world.outcome.parameters(), found.parameters(), strict=True):
            assert torch.equal(a.half().float() if rounded else a, b)
    difference = (imagine(again, 1).int() - imagine(world, 1).int()).abs()
    assert difference.float().mean() < 1
    assert again.model_id != World.from_pretrained(full).model_id


def test_loaded_worlds_are_for_use_not_for_training(saved):
    for module in World.from_pretrained(saved)._modules():
        assert not module.training
        assert not any(p.requires_grad for p in module.parameters())


def test_saving_leaves_the_world_as_it_was(tmp_path):
    world = tiny_world()
    before = [p.clone() for p in world.network.parameters()]
    world.save_pretrained(tmp_path / "world", dtype=torch.float16)
    for a, b in zip(before, world.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_there_is_nothing_pickled(saved):
    assert {path.suffix for path in saved.iterdir()} == {".json", ".md", ".parquet", ".safetensors"}


def test_weights_without_contexts_or_card(tmp_path):
    world = tiny_world(contexts=0)
    world.card = ""
    path = world.save_pretrained(tmp_path / "world")
    (path / "README.md").unlink()
    again = World.from_pretrained(path)
    assert again.contexts is None
    assert again.card == ""


# -- 8 bits ------------------------------------------------------------------------------------


def test_matrices_in_eight_bits_take_a_quarter_and_come_back_close(tmp_path):
    world = tiny_world()
    plain = world.save_pretrained(tmp_path / "plain")
    small = world.save_pretrained(tmp_path / "small", dtype=torch.int8)
    sizes = [(folder / "network.safetensors").stat().st_size for folder in (plain, small)]
    assert sizes[1] < 0.4 * sizes[0], "the names in the file's header take their share"
    again = World.from_pretrained(small)
    for name, now in again.network.state_dict().items():
        then = world.network.state_dict()[name]
        assert now.dtype == then.dtype
        if then.ndim == 2:  # half a step of the row's 254, and the rounding of its scale
            bound = then.abs().amax(1, keepdim=True) / 254 * 1.02 + 1e-8
            assert ((now - then).abs() <= bound).all(), name
        else:
            assert torch.equal(now, then.half().float()), name
    world = again
    again = World.from_pretrained(world.save_pretrained(tmp_path / "again", dtype=torch.int8))
    assert again.model_id == world.model_id, "what is in 8 bits already stays as it is"


def test_rows_of_zeros_and_of_tiny_numbers_survive_eight_bits(tmp_path):
    world = tiny_world()
    with torch.no_grad():
        world.network.embed.weight[0] = 0
        world.network.embed.weight[1] = 1e-5
    again = World.from_pretrained(world.save_pretrained(tmp_path / "world", dtype=torch.int8))
    assert (again.network.embed.weight[0] == 0).all()
    torch.testing.assert_close(again.network.embed.weight[1], world.network.embed.weight[1],
                               atol=4e-5, rtol=0)  # fmt: skip
    assert again.network.embed.weight.isfinite().all()


def test_a_scale_without_its_matrix_is_named(tmp_path):
    path = tmp_path / "network.safetensors"
    save_file({"embed.weight.row_scale": torch.ones(3, 1)}, path)
    with pytest.raises(WorldFormatError, match="cannot be read"):
        load_weights(tiny_world().network, path)


def test_only_the_teacher_in_eight_bits(tmp_path):
    world = distilled()
    world.save_pretrained(tmp_path / "world", teacher_dtype=torch.int8)
    again = World.from_pretrained(tmp_path / "world")
    assert torch.equal(again.network.embed.weight, world.network.embed.weight)
    kept, before = again.teacher.network, world.teacher.network
    assert not torch.equal(kept.embed.weight, before.embed.weight)
    torch.testing.assert_close(kept.embed.weight, before.embed.weight, atol=0.01, rtol=0)


# -- identity ----------------------------------------------------------------------------------


def test_the_id_is_stable_and_survives_loading_and_saving(tmp_path):
    world = tiny_world()
    assert world.model_id == "tiny@1#unsaved"
    first = World.from_pretrained(world.save_pretrained(tmp_path / "a"))
    assert first.model_id == world.model_id
    assert world.model_id.startswith("tiny@1#")
    assert len(world.model_id) == len("tiny@1#") + 12
    assert World.from_pretrained(tiny_world().save_pretrained(tmp_path / "b")).model_id == (
        world.model_id
    )
    assert World.from_pretrained(first.save_pretrained(tmp_path / "c")).model_id == world.model_id


def one_weight(world):
    world.network.embed.weight[0, 0] += 1e-6


def one_outcome_weight(world):
    next(world.outcome.parameters()).view(-1)[0] += 1e-3


def one_pixel(world):
    frames = world.contexts.frames.copy()
    frames[0, 0, 0, 0, 0] ^= 1
    world.contexts = ContextSet(frames, world.contexts.actions)


def the_sampler(world):
    world.config = replace(world.config, sampling_steps=3)


@pytest.mark.parametrize("change", [one_weight, one_outcome_weight, one_pixel, the_sampler])
def test_the_id_depends_on_all_that_imagines(tmp_path, change):
    world = tiny_world()
    world.save_pretrained(tmp_path / "a")
    before = world.model_id
    change(world)
    world.save_pretrained(tmp_path / "b")
    assert world.model_id != before


def test_the_id_does_not_depend_on_the_card(tmp_path):
    """Else a card could not quote it."""
    world = tiny_world()
    world.save_pretrained(tmp_path / "a")
    before = world.model_id
    world.card = f"# measured for {before}\n"
    world.save_pretrained(tmp_path / "b")
    assert world.model_id == before


# -- damage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["network", "outcome", "contexts"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "bit"])
def test_damaged_files(saved, name, damage):
    suffix = "parquet" if name == "contexts" else "safetensors"
    path = saved / f"{name}.{suffix}"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "bit":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        path.write_bytes(content[: len(content) // 2 if damage == "truncated" else 0])
    wanted = "is missing" if damage == "missing" else "is damaged: its SHA-256"
    with pytest.raises(WorldFormatError, match=rf"{name}\.{suffix} {wanted}"):
        World.from_pretrained(saved)


def test_weights_of_another_network(saved, tmp_path):
    """Right hash, wrong shapes: as when a config was edited by hand."""

    def wider(data):
        data["network"]["mlp_width"] *= 2

    edit_config(saved, wider)
    with pytest.raises(WorldFormatError, match=r"network.safetensors do not fit the config"):
        World.from_pretrained(saved)


def test_weights_that_the_config_forgets(saved):
    (saved / "network.safetensors").write_bytes(b"not a safetensors file")
    edit_config(saved, lambda data: data["files"].pop("network.safetensors"))
    with pytest.raises(WorldFormatError, match=r"network.safetensors cannot be read"):
        World.from_pretrained(saved)


def test_contexts_of_another_world(saved, tmp_path):
    import hashlib

    frames = np.zeros((2, 3, 16, 24, 3), np.uint8)
    ContextSet(frames, np.zeros((2, 3, 1), np.float32)).save(saved / "contexts.parquet")
    digest = hashlib.sha256((saved / "contexts.parquet").read_bytes()).hexdigest()
    edit_config(saved, lambda data: data["files"].update({"contexts.parquet": digest}))
    with pytest.raises(WorldFormatError, match=r"contexts .* frames of \(16, 24, 3\)"):
        World.from_pretrained(saved)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (FORMAT_VERSION + 1, rf"format version {FORMAT_VERSION + 1}; .*Upgrade nfd-world"),
        (0, "format version 0; .*Save it anew"),
        ("1", "format version '1'"),
        (None, "format version None"),
    ],
)
def test_other_format_versions(saved, version, message):
    edit_config(saved, lambda data: data.update(format_version=version))
    with pytest.raises(WorldFormatError, match=message):
        World.from_pretrained(saved)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        "{}",
        '{"format_version": 1}',
        '{"format_version": 1, "world": 3}',
    ],
)
def test_configs_that_are_none(saved, text):
    (saved / "config.json").write_text(text)
    with pytest.raises(WorldFormatError, match=r"config\.json"):
        World.from_pretrained(saved)


def test_a_config_that_is_no_text(saved):
    (saved / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WorldFormatError, match=r"config.json cannot be read"):
        World.from_pretrained(saved)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("world", "name", None),
        ("world", "surprise", 1),
        ("network", "heads", 5),
        ("network", "grid", [3, 3]),
        ("network", "layers", None),
        ("flow", "prediction", "eps"),
        ("tokenizer", "kind", "vae"),
        ("tokenizer", "patch_size", 5),
        ("tokenizer", "frame_shape", [24, 24, 3]),
        ("outcome", "frame_shape", [24, 24, 3]),
        ("outcome", "surprise", 1),
        ("action_spec", "space", {"type": "Graph"}),
        ("action_spec", "labels", [["just one"]]),
    ],
)
def test_configs_with_one_wrong_value(saved, section, key, value):
    def change(data):
        if value is None:
            del data[section][key]
        else:
            data[section][key] = value

    edit_config(saved, change)
    with pytest.raises(WorldFormatError, match=r"config\.json is damaged or incomplete|do not fit"):
        World.from_pretrained(saved)


@pytest.mark.parametrize(
    "section", ["world", "network", "flow", "tokenizer", "action_spec", "files"]
)
def test_configs_with_a_part_missing_or_of_another_kind(saved, section):
    text = (saved / "config.json").read_text()
    for change in (lambda data: data.pop(section), lambda data: data.update({section: 5})):
        (saved / "config.json").write_text(text)
        edit_config(saved, change)
        with pytest.raises(WorldFormatError, match=r"config\.json is damaged or incomplete"):
            World.from_pretrained(saved)


# -- saving ------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [100, 16_384])
def test_a_full_disk_leaves_the_old_world(saved, limit):
    before = World.from_pretrained(saved)
    other = tiny_world(seed=1)
    with full_disk(limit), pytest.raises(StorageError, match="Free some disk space") as caught:
        other.save_pretrained(saved)
    assert isinstance(caught.value, NFDError)
    assert other.model_id == "tiny@1#unsaved"
    assert World.from_pretrained(saved).model_id == before.model_id
    assert [path.name for path in saved.parent.iterdir()] == ["world"]


def test_a_newer_world_replaces_an_older_one_as_a_whole(saved):
    world = tiny_world(outcome=False, contexts=0)
    world.save_pretrained(saved)
    assert sorted(p.name for p in saved.iterdir()) == [
        "README.md",
        "config.json",
        "network.safetensors",
    ]
    assert World.from_pretrained(saved).outcome is None


def test_what_is_no_world_is_never_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StorageError, match="holds files but no world"):
        tiny_world().save_pretrained(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    tiny_world().save_pretrained(tmp_path / "empty")


# -- a distilled world keeps its teacher ---------------------------------------------------------


def distilled() -> World:
    """A world with other weights, and the tiny world as its teacher."""
    teacher = tiny_world()
    config = replace(teacher.config, sampler="consistency", sampling_steps=1)
    return replace(tiny_world(seed=7), config=config, teacher=teacher.as_teacher())


def test_the_teacher_comes_back_and_imagines_as_before(tmp_path):
    found = World.from_pretrained(distilled().save_pretrained(tmp_path / "world"))
    assert not torch.equal(imagine(found), imagine(tiny_world()))
    assert not any(p.requires_grad for p in found.teacher.network.parameters())
    many = found.many_step()
    assert (many.config.sampler, many.config.sampling_steps) == ("euler", 2)
    assert many.model_id == found.model_id
    frames = imagine(many)
    alone = replace(tiny_world(), outcome=found.outcome, contexts=found.contexts, _networks={})
    assert torch.equal(frames, imagine(alone))


def test_a_world_without_a_teacher_says_so(saved):
    with pytest.raises(ConfigError, match="keeps no teacher"):
        World.from_pretrained(saved).many_step()


def test_a_teacher_of_other_tokens_is_refused(tmp_path):
    folder = distilled().save_pretrained(tmp_path / "world")
    edit_config(folder, lambda data: data["teacher"]["network"].update(token_dim=48))
    with pytest.raises(WorldFormatError, match="the teacher takes"):
        World.from_pretrained(folder)


def test_worlds_from_before_teachers_are_read(saved):
    edit_config(saved, lambda data: data.pop("teacher"))
    assert World.from_pretrained(saved).teacher is None
