"""bfloat16 only where the hardware is fast at it, unless it is asked for."""

from __future__ import annotations

import pytest
import torch

from world_model.precision import choose_precision


def test_what_is_asked_for():
    assert choose_precision("float32", "cpu") == torch.float32
    assert choose_precision("bfloat16", "cpu") == torch.bfloat16
    with pytest.raises(ValueError, match=r"must be one of .* not 'float16'"):
        choose_precision("float16", "cpu")


@pytest.mark.parametrize("device", ["cpu", torch.device("cuda", 1)], ids=str)
@pytest.mark.parametrize(("fast", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_automatic(monkeypatch, device, fast, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: fast)
    assert choose_precision("auto", device) == expected
