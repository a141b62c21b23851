"""Documents as ``nfd evaluate`` writes them, with figures that are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.results import write_benchmark

HORIZON = 4


def interval(estimate: float, width: float = 0.1) -> dict[str, Any]:
    low, high = estimate - width, estimate + width
    return {"estimate": estimate, "low": low, "high": high, "confidence": 0.95}


def curve(value: float, width: float = 0.1) -> list[dict[str, Any]]:
    return [interval(value, width) for _ in range(HORIZON)]


def steps_of(value: float, width: float = 0.1) -> list[dict[str, Any]]:
    """A curve that was not measured at step 3."""
    unknown = dict.fromkeys(("estimate", "low", "high"))
    return [unknown if h == 3 else interval(value, width) for h in range(1, HORIZON + 1)]


def fidelity(psnr: float = 30.0, gain: float = 2.0, balls: float = 1.0, recall: float = 0.9,
             episodes: int = 20) -> dict[str, Any]:  # fmt: skip
    """Results with one number of steps."""
    presence = {
        who: {what: curve(value) for what in ("precision", "recall", "per_frame")}
        for who, value in (("real_frames", 1.0), ("model", recall), ("repeat_last", 0.5))
    }
    return {
        "psnr": {"model": curve(psnr), "repeat_last": curve(25.0), "blurred": curve(26.0)},
        "psnr_gain_over": {
            "repeat_last": curve(gain),
            "shuffled_actions": curve(1.0),
            "blurred": curve(1.0),
        },
        "psnr_changed": {"model": curve(psnr - 5)},
        "ssim": {
            who: curve(value, 0.01)
            for who, value in (
                ("model", psnr / 40),
                ("shuffled_actions", 0.6),
                ("repeat_last", 0.5),
            )
        },
        "teacher_forced": {
            "psnr": {"one_step": steps_of(psnr + 3), "free_running": steps_of(psnr)},
            "ssim": {"one_step": steps_of(0.9, 0.01), "free_running": steps_of(0.8, 0.01)},
            "accumulated": {"psnr": steps_of(3.0), "ssim": steps_of(0.1, 0.01)},
        },
        "frechet": {
            "space": "features of the outcome model",
            "weights": "0123456789ab",
            "directions": 32,
            "distance": {
                "1-4": {
                    who: {"estimate": value, "low": None, "high": None, "n": n}
                    for who, value, n in (("model", 1.25, 160), ("real_halves", 0.5, 80))
                }
            },
        },
        "counts": {"clips": [40] * HORIZON, "episodes": [episodes] * HORIZON},
        "samples": {
            "clips": 8,
            "psnr": {"best_of_2": curve(31.0)},
            "energy_score": {"samples": curve(5.0)},
        },
        "small_things": {
            "ball": {
                "rmse_inside": {"model": curve(20.0)},
                "presence": presence,
                "detector_on_real_frames": dict.fromkeys(("precision", "recall"), interval(1.0)),
            },
        },
        "long_rollouts": {
            "rollouts": 12,
            "frames": 600,
            "objects": {
                "ball": {
                    "real": interval(1.0),
                    "imagined": interval(balls),
                    "ratio": interval(balls),
                    "by_step": {"real": [1.0] * 6, "imagined": [balls] * 6},
                }
            },
        },
    }


NEW = ("ssim", "teacher_forced", "frechet")
"""Parts of the results of fidelity that earlier releases did not write."""


def older(results: dict[str, Any]) -> dict[str, Any]:
    """The same results of fidelity as earlier releases wrote them."""
    return {key: part for key, part in results.items() if key not in NEW}


def outcomes(
    ends: float = 1.0, brier: float = 0.01, rewarded: float | None = None
) -> dict[str, Any]:
    """What was found of outcomes on imagined frames, with one number of steps.

    ``rewarded`` is the share of rare rewards that are told; without it all are the same.
    """
    scores = {"brier": brier, "brier_base": 0.09, "ece": 0.1, "auroc": 0.9}
    events = None
    if rewarded is not None:
        found = {**interval(rewarded, 0.05), "n": 20}
        events = {"usual": 0.0, "real": 20, "predicted": 18, "recall": found, "precision": found}
    return {
        "reward": {"steps": 100, "events": events},
        "termination": {
            "steps": 100,
            "ends": 10,
            "expected_ends": 10 * ends,
            "ratio": interval(ends),
            "scores": {key: {**interval(value), "n": 100} for key, value in scores.items()},
            "bins": [{"predicted": 0.1, "observed": 0.1, "steps": 100}],
        },
    }


def control(of_ceiling: float = 0.95, share: float = 0.8, unseen: float = 3.0) -> dict[str, Any]:
    """What was found of actions."""

    def counted(value: float, width: float = 0.05) -> dict[str, Any]:
        return {**interval(value, width), "n": 40}

    both = {"imagined": counted(0.7), "ceiling": counted(0.75)}
    return {
        "gain": [counted(2.0)] * HORIZON,
        "inverse_dynamics": {
            "action": {
                **both,
                "floor": counted(0.3),
                "of_ceiling": counted(of_ceiling),
                "by_horizon": {name: [point] * HORIZON for name, point in both.items()},
                "recall": {"left": both, "right": both},
            }
        },
        "divergence": {
            "clips": 8,
            "courses": ["left", "right"],
            "by_actions": [counted(9.0)] * HORIZON,
            "by_noise": [counted(3.0)] * HORIZON,
            "share": [counted(share)] * HORIZON,
            "pairs": {"left | right": counted(9.0)},
        },
        "counterfactual": {
            "clips": 40,
            "tried": 41,
            "not_restored": "one was recorded by another version",
            "courses": ["left", "right"],
            "gain": [counted(unseen)] * HORIZON,
            **{
                name: {who: [counted(20.0)] * HORIZON for who in ("model", "repeat_last")}
                for name in ("psnr", "psnr_changed")
            },
            **{
                name: [counted(0.5)] * HORIZON
                for name in ("real_apart", "imagined_apart", "effect_cosine", "effect_explained")
            },
        },
    }


def probes(saved: float = 2.0, told: float = 3.0, episodes: int = 20) -> dict[str, Any]:
    """What was read off imagined frames of where the player is."""
    errors = {"model": 2.0, "shuffled_actions": 3.0, "repeat_last": 4.0, "real_frames": 1.0}
    return {
        "read": {
            "place": {
                "unit": "degrees",
                "ceiling": {what: {**interval(0.9), "n": 100} for what in ("r2", "mae")},
                "mae": {who: curve(value) for who, value in errors.items()},
                "r2": {who: curve(1 - value / 10) for who, value in errors.items()},
                "gain_over": {who: curve(saved) for who in ("repeat_last", "shuffled_actions")},
                "told": curve(told),
            }
        },
        "not_read": {"luck": "the probe cannot read it off real frames: R2 0.01, below 0.3"},
        "counts": {"clips": [40] * HORIZON, "episodes": [episodes] * HORIZON},
    }


def ranking(spearman: float = 0.9, factor: float = 1.0) -> dict[str, Any]:
    """Results of three policies, imagined returns ``factor`` times the real ones."""
    policies = {}
    for name, mean in (("noop", 10.0), ("uniform", 20.0), ("sweep", 40.0)):
        sides = {}
        for side, times in (("real", 1.0), ("imagined", factor)):
            returns = [times * (mean + spread) for spread in 4 * (-1.0, 0.0, 1.0)]
            sides[side] = {
                "environment": f"toy ({side})",
                "episodes": 12,
                "mean_return": interval(times * mean, 1.0),
                "mean_length": 5.0,
                "returns": returns,
            }
        policies[name] = sides
    return {
        "spearman": interval(spearman, 0.05),
        "best": {"real": "sweep", "imagined": "sweep"},
        "policies": policies,
    }


def stability(share: float = 0.99) -> dict[str, Any]:
    """Results of one episode."""
    part = {
        "training": [0.0, 1.0, 9.0, 10.0],
        "first_tenth_mean": 5.0,
        "last_tenth_mean": 5.5,
        "share_in_usual_range": share,
    }
    return {
        "steps": 1000,
        "bad_numbers": 0,
        "frozen_share": 0.01,
        "memory_mb": {"growth_per_1000_steps": 0.1},
        "statistics": {"mean": part, "change": part},
        "by_length": [
            {"first": 1, "last": 1000, "frames_per_second": 50.0, "share_in_usual_range": share,
             "frechet": None}
        ],
    }  # fmt: skip


def write(folder: Path, kind: str, results: dict[str, Any], world: str = "toy@1#abc",
          **settings: Any) -> Path:  # fmt: skip
    """One document."""
    results = {"by_steps": results if "1" in results or "2" in results else {"1": results}}
    if kind == "outcomes":
        results["real_frames"] = outcomes()
    write_benchmark(
        folder / f"{kind}.json",
        kind,
        world=world,
        data=None
        if kind == "ranking"
        else {"content_hash": "d00d", "split": "validation", "episodes": 20, "source": {}},
        settings={"seed": 0, "clips": 40, "horizon": HORIZON, "split": "validation", **settings},
        results=results,
        seconds=1.0,
    )
    return folder


def write_all(folder: Path, world: str = "toy@1#abc", **settings: Any) -> Path:
    """Documents of all parts but one, and pictures."""
    results = fidelity()
    results["pictures"] = {"clips": [], "counterfactuals": []}
    for role in ("best", "median", "worst"):
        picture(folder / f"{role}-1.png")
        (folder / f"{role}-1.mp4").write_bytes(b"a film")
        results["pictures"]["clips"].append(
            {"role": role, "film": f"{role}-1.mp4", "strip": f"{role}-1.png", "episode": 3,
             "start": 7, "steps": 4, "of": 40, "psnr": 30.0, "psnr_repeat_last": 25.0}
        )  # fmt: skip
    write(folder, "fidelity", results, world, **settings)
    write(folder, "outcomes", outcomes(), world, **settings)
    write(folder, "ranking", ranking(), world, **settings)
    return write(folder, "stability", stability(), world, **settings)


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)
    return path


def change(path: Path, **fields: Any) -> None:
    """Alters a document."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **fields}))
