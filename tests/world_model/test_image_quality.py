"""PSNR and SSIM against their definitions."""

from __future__ import annotations

import pytest
import torch

from world_model.image_quality import psnr, ssim


def test_psnr():
    assert psnr(255.0**2) == 0
    assert psnr(1.0) == pytest.approx(48.13, abs=0.01)
    assert psnr(0.0) == 100


def by_definition(x: torch.Tensor, y: torch.Tensor) -> float:
    """SSIM of two grey pictures (H, W), window by window."""
    places = torch.arange(11, dtype=torch.float64) - 5
    row = torch.exp(-(places**2) / (2 * 1.5**2))
    weight = torch.outer(row, row) / row.sum() ** 2
    values = []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = (p[top : top + 11, left : left + 11].double() for p in (x, y))
            mean_a, mean_b = (weight * a).sum(), (weight * b).sum()
            var_a, var_b = (weight * (a - mean_a) ** 2).sum(), (weight * (b - mean_b) ** 2).sum()
            both = (weight * (a - mean_a) * (b - mean_b)).sum()
            c_1, c_2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            value = (2 * mean_a * mean_b + c_1) * (2 * both + c_2)
            values.append(value / (mean_a**2 + mean_b**2 + c_1) / (var_a + var_b + c_2))
    return float(sum(values) / len(values))


def test_ssim_is_that_of_its_definition():
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(0, 256, (2, 14, 13, 3), dtype=torch.uint8, generator=generator)
    noise = torch.randint(-30, 30, a.shape, generator=generator)
    b = (a.int() + noise).clamp(0, 255).to(torch.uint8)
    expected = [
        sum(by_definition(a[i, ..., c], b[i, ..., c]) for c in range(3)) / 3 for i in range(2)
    ]
    assert ssim(a, b).tolist() == pytest.approx(expected, abs=1e-9)


def test_ssim_of_equal_inverted_and_tiny_pictures():
    a = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    torch.testing.assert_close(ssim(a, a), torch.ones(2, dtype=torch.float64))
    assert (ssim(a, 255 - a) < 0).all()
    small = a[:, :8, :6]
    torch.testing.assert_close(ssim(small, small), torch.ones(2, dtype=torch.float64))
