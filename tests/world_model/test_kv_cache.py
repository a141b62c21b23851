"""The ring of keys and values: what a frame finds there is its window, however it is stored."""

import pytest
import torch

from tests.world_model.test_attention import naive, qkv
from world_model.kv_cache import KVCache

WINDOW = 3


def empty(slots=WINDOW):
    return KVCache.empty(2, 1, 2, slots, 3, 4, device="cpu", dtype=torch.float64)


@pytest.mark.parametrize("spare", [0, 1])
def test_ring_cache_equals_the_sliding_window(spare):
    """Frame by frame through the ring, far past its length, streams at different positions."""
    q, k, v = qkv(frames=9)
    expected = naive(q, k, v, WINDOW)
    cache = empty(WINDOW + spare)
    offset = torch.tensor([0, 100])  # the second stream has been running for longer
    for i in range(9):
        index, one = (offset + i)[:, None], slice(i, i + 1)
        parts = cache.parts(index, WINDOW)
        out = cache.look_back(0, q[:, one], k[:, one], v[:, one], parts)
        torch.testing.assert_close(out[:, 0], expected[:, i])


@pytest.mark.parametrize("spare", [0, 1, 4])
def test_a_folded_pass_sees_what_two_passes_see(spare):
    """The clean frame i - 1 and the noisy frame i, which pushes out what i - 1 still sees."""
    q, k, v = qkv(frames=8)
    expected = naive(q, k, v, WINDOW)
    cache = empty(WINDOW + spare)
    for i in range(1, 8):
        pair = slice(i - 1, i + 1)
        parts = cache.parts(torch.tensor([[i - 1, i]] * 2), WINDOW)
        assert len(parts) == (1 if spare else 2), "with a spare slot both attend at once"
        out = cache.look_back(0, q[:, pair], k[:, pair], v[:, pair], parts)
        torch.testing.assert_close(out, expected[:, pair])


def test_a_full_ring_needs_no_mask():
    q, k, v = qkv(frames=8)
    expected = naive(q, k, v, WINDOW)
    cache = empty()
    for i in range(1, 8):
        pair = slice(i - 1, i + 1)
        parts = cache.parts(torch.tensor([[i - 1, i]] * 2), WINDOW, full=i >= WINDOW)
        assert [part.mask is None for part in parts] == [i >= WINDOW] * 2
        out = cache.look_back(0, q[:, pair], k[:, pair], v[:, pair], parts)
        torch.testing.assert_close(out, expected[:, pair])


def test_spare_slots_are_masked_though_the_ring_is_full():
    cache = empty(WINDOW + 1)
    for i in range(1, 8):
        parts = cache.parts(torch.tensor([[i - 1, i]] * 2), WINDOW, full=True)
    assert not parts[0].mask.all()


def test_a_frame_that_is_stored_again_finds_the_same_window():
    """Every denoising pass but the first stores the newest frame alone."""
    q, k, v = qkv(frames=8)
    expected = naive(q, k, v, WINDOW)
    cache = empty()
    for i in range(8):
        index, one = torch.tensor([[i]] * 2), slice(i, i + 1)
        for noise in (1.0, 0.5, 0.0):
            other = k[:, one] + noise, v[:, one] + noise
            out = cache.look_back(0, q[:, one], *other, cache.parts(index, WINDOW))
        torch.testing.assert_close(out[:, 0], expected[:, i])


@pytest.mark.parametrize("spare", [0, 1])
def test_dropped_frames_are_stored_and_do_not_attend(spare):
    q, k, v = qkv(frames=6)
    expected = naive(q, k, v, WINDOW)
    cache = empty(WINDOW + spare)
    for i in range(1, 6):
        pair = slice(i - 1, i + 1)
        parts = cache.parts(torch.tensor([[i - 1, i]] * 2), WINDOW)
        out = cache.look_back(0, q[:, pair], k[:, pair], v[:, pair], parts, dropped=1)
        torch.testing.assert_close(out, expected[:, i : i + 1])
    nothing = cache.look_back(0, q[:, pair], k[:, pair], v[:, pair], parts, dropped=2)
    assert nothing is None
