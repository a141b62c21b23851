import numpy as np
import pytest

from benchmarks.image_metrics import (
    blur,
    changed,
    energy_score,
    psnr,
    similarity,
    squared_error,
)


def frames(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 8, 8, 3), dtype=np.uint8)


def test_psnr_of_a_constant_offset():
    a = np.full((2, 3, 8, 8, 3), 100, np.uint8)
    error = squared_error(a, a + 5)
    assert error.shape == (2, 3)
    np.testing.assert_allclose(error, 25)
    np.testing.assert_allclose(psnr(error), 20 * np.log10(255 / 5))


def test_squares_do_not_wrap_around():
    black, white = np.zeros((1, 8, 8, 3), np.uint8), np.full((1, 8, 8, 3), 255, np.uint8)
    assert squared_error(black, white) == squared_error(white, black) == 255**2


def test_equal_frames_have_the_highest_psnr():
    same = frames(1)
    assert psnr(squared_error(same, same)) == pytest.approx(58.9, abs=0.05)


def test_masked_error_looks_only_inside():
    a, b = np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8, 3), np.uint8)
    b[0, :4], mask = 10, np.zeros((1, 8, 8), bool)
    mask[0, :4] = True
    assert squared_error(a, b, mask) == 100
    assert squared_error(a, b, ~mask) == 0
    assert np.isnan(squared_error(a, b, np.zeros_like(mask)))


def test_changed_needs_more_than_the_threshold_in_one_channel():
    a = np.full((1, 8, 8, 3), 100, np.uint8)
    b = a.copy()
    b[0, 0, 0, 2], b[0, 1, 1] = 111, 110
    assert np.argwhere(changed(b, a)).tolist() == [[0, 0, 0]]


def test_energy_score_of_one_sample_is_the_distance():
    truth = np.full((1, 2, 8, 8, 3), 50, np.uint8)
    np.testing.assert_allclose(energy_score(truth[:, None] + 7, truth), 7)


def test_energy_score_rewards_the_true_distribution_where_psnr_rewards_blur():
    """The future is black or white by a coin; grey is the mean of both."""
    rng = np.random.default_rng(0)
    coin = lambda *n: rng.integers(0, 2, (*n, 1, 1, 1, 1)).astype(np.uint8) * 200  # noqa: E731
    truth = np.broadcast_to(coin(400), (400, 1, 8, 8, 3))
    honest = np.broadcast_to(coin(400, 8), (400, 8, 1, 8, 8, 3))
    certain = np.zeros_like(honest)
    grey = np.full_like(honest, 100)
    score = {
        name: energy_score(samples, truth).mean()
        for name, samples in (("honest", honest), ("certain", certain), ("grey", grey))
    }
    assert score["honest"] == pytest.approx(50, rel=0.12)  # 100 - 100 / 2
    assert score["honest"] < 0.7 * min(score["grey"], score["certain"])
    error = {"honest": squared_error(honest[:, 0], truth), "grey": squared_error(grey[:, 0], truth)}
    assert error["grey"].mean() < error["honest"].mean()


def test_equal_frames_are_wholly_alike_and_it_goes_both_ways():
    a, b = (np.random.default_rng(s).integers(0, 256, (2, 3, 16, 14, 3), np.uint8) for s in (0, 1))
    np.testing.assert_allclose(similarity(a, a, batch=4), np.ones((2, 3)))
    there, back = similarity(a, b, batch=4), similarity(b, a)
    np.testing.assert_allclose(there, back)
    assert there.shape == (2, 3)
    assert there.max() < 0.2  # noise is like no other noise
    assert similarity(a, a[:, :1]).argmax(1).tolist() == [0, 0]  # one frame against several


def test_similarity_of_constant_frames_is_that_of_their_brightness():
    """Without structure only (2 x y + c) / (x^2 + y^2 + c) is left, c = (0.01 * 255)^2."""
    x, y, c = 100, 140, (0.01 * 255) ** 2
    a, b = (np.full((1, 12, 16, 3), grey, np.uint8) for grey in (x, y))
    assert similarity(a, b)[0] == pytest.approx((2 * x * y + c) / (x**2 + y**2 + c), abs=1e-9)
    b[..., 1:] = x  # one of three colours differs
    one = (2 * x * y + c) / (x**2 + y**2 + c)
    assert similarity(a, b)[0] == pytest.approx((one + 2) / 3, abs=1e-9)


def test_similarity_minds_lost_structure_where_the_error_is_the_same():
    noise = np.random.default_rng(0).integers(40, 168, (2, 32, 32, 3), np.uint8)
    flat, brighter = np.full_like(noise, noise.mean().round()), noise + round(noise.std())
    error, other = squared_error(noise, flat), squared_error(noise, brighter)
    np.testing.assert_allclose(error, other, rtol=0.1)
    assert (similarity(noise, brighter) > similarity(noise, flat) + 0.5).all()


def test_blur_keeps_flat_pictures_and_flattens_dots():
    flat = np.full((2, 3, 16, 16, 3), 77, np.uint8)
    assert (blur(flat) == flat).all()
    dot = np.zeros((1, 16, 16, 3), np.uint8)
    dot[0, 8, 8] = 255
    blurred = blur(dot)
    assert blurred.max() < 30
    assert blurred.shape == dot.shape
