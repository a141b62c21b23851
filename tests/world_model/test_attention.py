"""The masks are their definition, and the ways to compute attention agree."""

import pytest
import torch

from world_model.attention import (
    attend_window,
    attend_within_frames,
    expand_mask,
    frame_mask,
    softmax_attention,
)


def naive(q, k, v, window):
    """Attention token by token, written from the definition; (B, F, N, heads, d)."""
    batch, frames, tokens, heads, dim = q.shape
    out = torch.zeros_like(q)
    for b in range(batch):
        for h in range(heads):
            for i in range(frames):
                for n in range(tokens):
                    first = max(0, i - window + 1)
                    keys = k[b, first : i + 1, :, h].reshape(-1, dim)
                    values = v[b, first : i + 1, :, h].reshape(-1, dim)
                    weights = (keys @ q[b, i, n, h] / dim**0.5).softmax(0)
                    out[b, i, n, h] = weights @ values
    return out


def qkv(batch=2, frames=5, tokens=3, heads=2, dim=4):
    generator = torch.Generator().manual_seed(0)
    shape = (batch, frames, tokens, heads, dim)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3)]


def test_frame_mask_is_its_definition():
    index = torch.arange(6)
    mask = frame_mask(index, index, 3)
    for i in range(6):
        for j in range(6):
            assert mask[i, j] == (j <= i and i - j < 3)


def test_empty_slots_are_never_seen():
    assert not frame_mask(torch.tensor([0, 5]), torch.tensor([-1, -1]), 10).any()


def test_expanded_mask_follows_the_frames_of_the_tokens():
    index = torch.arange(4)
    mask = expand_mask(frame_mask(index, index, 2), 3)
    for i in range(12):
        for j in range(12):
            assert mask[i, j] == (j // 3 <= i // 3 and i // 3 - j // 3 < 2)


def test_window_attention_equals_the_definition():
    q, k, v = qkv()
    for window in (1, 2, 3, 5, 9):
        torch.testing.assert_close(attend_window(q, k, v, window), naive(q, k, v, window))


def test_attention_within_frames_is_a_window_of_one():
    q, k, v = qkv()
    torch.testing.assert_close(attend_within_frames(q, k, v), naive(q, k, v, 1))


def test_training_and_inference_kernels_agree():
    q, k, v = (x.flatten(1, 2).transpose(1, 2) for x in qkv())
    mask = torch.rand(2, 1, 15, 15) > 0.3
    mask[..., 0] = True
    trained = softmax_attention(q, k, v, mask)
    with torch.no_grad():
        torch.testing.assert_close(softmax_attention(q, k, v, mask), trained)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("heads", [16, 64])
def test_many_keys_on_a_gpu_give_the_same(heads):
    """Few heads take flash attention, many what PyTorch chooses."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, heads, n, 64, device="cuda") for n in (84, 2688, 2688))
    expected = softmax_attention(q, k, v)
    with torch.no_grad():
        found = softmax_attention(*(x.bfloat16() for x in (q, k, v)))
    torch.testing.assert_close(found.float(), expected, atol=2e-3, rtol=0.1)
