"""A tokenizer's folder: what is saved comes back, what is damaged is named."""

from __future__ import annotations

import json

import pytest
import torch

from tests.world_model.autoencoder.tiny import make_tokenizer, pictures
from tests.world_model.disk import full_disk
from tests.world_model.tiny import tiny_world
from world_model.autoencoder.storage import load_tokenizer, save_tokenizer
from world_model.errors import NFDError, StorageError, WorldFormatError, WorldNotFoundError


@pytest.fixture
def tokenizer():
    return make_tokenizer(latent_mean=(0.123, 0.2, 0.3, 0.4), latent_std=0.7)


@pytest.fixture
def saved(tokenizer, tmp_path):
    return save_tokenizer(tokenizer, tmp_path / "run" / "tokenizer", {"steps": 3})


def test_everything_comes_back_bit_for_bit(tokenizer, saved):
    for path in (saved, saved.parent):
        again = load_tokenizer(path)
        assert again.config == tokenizer.config
        assert not again.training
        assert not any(p.requires_grad for p in again.parameters())
        frames = pictures(2)
        tokens = tokenizer.encode(frames)
        assert torch.equal(again.encode(frames), tokens)
        assert torch.equal(again.decode(tokens), tokenizer.decode(tokens))
    assert json.loads((saved / "config.json").read_text())["trained"] == {"steps": 3}
    assert {path.suffix for path in saved.iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize("damage", ["missing", "truncated", "bit"])
def test_damaged_weights(saved, damage):
    path = saved / "tokenizer.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    wanted = "is missing" if damage == "missing" else "is damaged: its SHA-256"
    with pytest.raises(WorldFormatError, match=rf"tokenizer\.safetensors {wanted}"):
        load_tokenizer(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(format_version=2), "has format version 2"),
        (lambda data: data.pop("files"), "is not the config of a tokenizer"),
        (lambda data: data["tokenizer"].update(width=30), "width must be a multiple of 4"),
        (lambda data: data["tokenizer"].pop("width"), r"\['width'\] do not fit"),
        (lambda data: data["tokenizer"].update(width=16), "do not fit the config"),
        (lambda data: data["tokenizer"].update(kind="pixel_patch"), "no autoencoder of its own"),
    ],
)
def test_configs_that_are_wrong(saved, change, message):
    path = saved / "config.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(WorldFormatError, match=message):
        load_tokenizer(saved)


def test_folders_that_hold_none(saved, tmp_path):
    with pytest.raises(WorldNotFoundError, match="Train one with 'nfd tokenizer'"):
        load_tokenizer(tmp_path / "nowhere")
    (saved / "config.json").write_text("{")
    with pytest.raises(WorldFormatError, match="is not the config of a tokenizer"):
        load_tokenizer(saved)
    world = tiny_world(outcome=False).save_pretrained(tmp_path / "world")
    with pytest.raises(WorldFormatError, match="Give the folder that 'nfd tokenizer' made"):
        load_tokenizer(world)


def test_a_full_disk_leaves_the_old_one(tokenizer, saved):
    with full_disk(1_000), pytest.raises(StorageError, match="Free some disk space") as caught:
        save_tokenizer(make_tokenizer(1), saved, {})
    assert isinstance(caught.value, NFDError)
    assert load_tokenizer(saved).config == tokenizer.config


def test_what_is_no_tokenizer_is_never_replaced(tokenizer, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StorageError, match="holds files but no tokenizer"):
        save_tokenizer(tokenizer, tmp_path, {})
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
