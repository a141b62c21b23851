import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from benchmarks import i3d
from benchmarks.i3d import I3D, MIXED
from world_model.errors import ConfigError


@pytest.fixture
def narrow(monkeypatch):
    """A network with few channels and small frames, but the names and blocks of the real one."""
    monkeypatch.setattr(i3d, "MIXED", dict.fromkeys(MIXED, (2, 2, 3, 2, 2, 1)))
    monkeypatch.setattr(i3d, "SIDE", 64)


@pytest.fixture
def weights(narrow):
    torch.manual_seed(0)
    return {k: torch.rand_like(v.float()) for k, v in I3D().state_dict().items() if v.dim()}


def clips(count, length=10, side=20, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, length, side, side, 3), dtype=np.uint8)


def test_names_and_sizes_are_those_of_the_published_network():
    with torch.device("meta"):
        network = I3D()
    shapes = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    assert len(shapes) == 57 * 6 + 2  # every convolution with its normalisation, and the logits
    assert shapes["Conv3d_1a_7x7.conv3d.weight"] == (64, 3, 7, 7, 7)
    assert shapes["Conv3d_1a_7x7.bn.running_var"] == (64,)
    assert shapes["Mixed_3c.b1b.conv3d.weight"] == (192, 128, 3, 3, 3)
    assert shapes["Mixed_4f.b2a.conv3d.weight"] == (32, 528, 1, 1, 1)
    assert shapes["Mixed_5c.b3b.conv3d.weight"] == (128, 832, 1, 1, 1)
    assert shapes["logits.conv3d.weight"] == (400, 1024, 1, 1, 1)
    assert sum(p.numel() for p in network.parameters()) == 12_697_264


def test_features_of_clips_of_any_size(weights, tmp_path):
    save_file(weights, tmp_path / "i3d.safetensors")
    network = I3D.from_file(tmp_path / "i3d.safetensors")
    name = "Conv3d_2b_1x1.bn.running_mean"
    assert torch.equal(network.get_buffer(name), weights[name])
    seen = network.features(clips(3, length=11, side=20))
    assert seen.shape == (3, 400)
    assert seen.dtype == np.float64
    one = network.features(clips(3, length=11, side=20)[1:2])
    assert one == pytest.approx(seen[1:2], rel=1e-4)
    assert not network.training


def test_what_it_sees_is_resized_and_between_minus_one_and_one(narrow, monkeypatch):
    network, seen = I3D(), []
    monkeypatch.setattr(I3D, "forward", lambda self, x: seen.append(x) or x.mean((2, 3, 4)))
    film = clips(5)
    film[0], film[1] = 0, 255
    network.features(film)
    assert [tuple(x.shape) for x in seen] == [(4, 3, 10, 64, 64), (1, 3, 10, 64, 64)]
    assert (seen[0][0] == -1).all()
    assert (seen[0][1] == 1).all()
    frame = torch.from_numpy(film[2, 7]).permute(2, 0, 1)[None].float()
    wanted = F.interpolate(frame, (64, 64), mode="bilinear")[0] / 127.5 - 1
    assert torch.allclose(seen[0][2, :, 7], wanted, atol=1e-5)


def test_windows_are_padded_as_tensorflow_does():
    """A window of 3 with a stride of 2 over an even number of places: one zero, behind."""
    x = torch.arange(1.0, 7).reshape(1, 1, 6, 1, 1)
    padded = i3d._pad(x, (3, 1, 1), (2, 1, 1))
    assert padded.flatten().tolist() == [1, 2, 3, 4, 5, 6, 0]
    assert i3d._pad(x[:, :, :5], (3, 1, 1), (2, 1, 1)).flatten().tolist() == [0, 1, 2, 3, 4, 5, 0]
    assert i3d._pool(x, (3, 1, 1), (2, 1, 1)).flatten().tolist() == [3, 5, 6]


def test_normalisation_is_that_of_inference():
    unit = i3d._Unit(1, 1, 1).eval()
    nn.init.constant_(unit.conv3d.weight, 2.0)
    unit.bn.running_mean.fill_(1.0)
    unit.bn.running_var.fill_(4.0)
    unit.bn.weight.data.fill_(3.0)
    unit.bn.bias.data.fill_(0.5)
    seen = unit(torch.tensor([3.0, -3.0]).reshape(2, 1, 1, 1, 1)).flatten()
    assert seen.tolist() == pytest.approx([3 * 5 / (4 + 1e-3) ** 0.5 + 0.5, 0.0])


def test_short_clips_are_refused(narrow):
    with pytest.raises(ConfigError, match="9 frames are too short for I3D, which needs 10"):
        I3D().features(clips(1, length=9))


def test_files_that_are_none(weights, tmp_path):
    path = tmp_path / "i3d.safetensors"
    with pytest.raises(ConfigError, match="cannot be read"):
        I3D.from_file(tmp_path / "absent.safetensors")
    path.write_bytes(b"PK a file of torch.save")
    with pytest.raises(ConfigError, match="Give a safetensors file"):
        I3D.from_file(path)
    save_file({k: v for k, v in weights.items() if k != "Mixed_5c.b0.bn.bias"}, path)
    with pytest.raises(ConfigError, match=r"lacks 1 of 287 weights, such as Mixed_5c.b0.bn.bias"):
        I3D.from_file(path)
    save_file({**weights, "logits.conv3d.bias": torch.zeros(157)}, path)
    with pytest.raises(ConfigError, match=r"of shape \(157,\), not \(400,\).*Kinetics-400"):
        I3D.from_file(path)
