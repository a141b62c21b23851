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
             episodes: int = 20, accumulated: float = 3.0) -> dict[str, Any]:  # fmt: skip
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
            "accumulated": {"psnr": steps_of(accumulated), "ssim": steps_of(0.1, 0.01)},
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
        "not_read": {"luck": "probes cannot read it off real frames: R2 0.01, below 0.3"},
        "counts": {"clips": [40] * HORIZON, "episodes": [episodes] * HORIZON},
    }


def ranking(spearman: float = 0.9, factor: float = 1.0) -> dict[str, Any]:
    """Results of five policies, imagined returns ``factor`` times the real ones."""
    policies = {}
    means = {"noop": 10.0, "right": 15.0, "uniform": 20.0, "hold": 30.0, "sweep": 40.0}
    for name, mean in means.items():
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
        "spearman": interval(spearman, 0.02),
        "over_policies": {
            "spearman": interval(spearman, 0.05),
            "pearson": interval(0.95, 0.05),
            "ratio": interval(factor),
        },
        "over_episodes": {
            "spearman": interval(spearman, 0.02),
            "pearson": interval(0.95, 0.02),
            "ratio": interval(factor, 0.05),
        },
        "best": {"real": "sweep", "imagined": "sweep"},
        "policies": policies,
    }


def lift(
    real: float = 50.0, blind: float = 20.0, width: float = 4.0, episodes: int = 12
) -> dict[str, Any]:
    """Agents, PPO on real steps (mean 30), chance (10) and a blind policy, with known leads."""
    groups = {
        "imagination": (3, real),
        "real steps, as the world's data": (3, 30.0),
        "uniform": (None, 10.0),
        "sweep": (None, blind),
    }
    arm = {"starts": "real", "horizon": None, "max_uncertainty": None, "steps": 1000}
    return {
        "best_blind": "sweep",
        "of": "imagination",
        "groups": {
            name: {
                "agents": agents,
                "mean": interval(mean, width),
                "iqm": interval(mean, width),
                "returns": [[mean] * episodes] * (agents or 1),
            }
            for name, (agents, mean) in groups.items()
        },
        "lift": {
            name: {"lead": interval(real - mean, width), "improvement": interval(0.7)}
            for name, (_, mean) in groups.items()
            if name != "imagination"
        },
        "training": {
            "imagination": {**arm, "starts": "bundled"},
            "real steps, as the world's data": arm,
        },
    }


def exploitation(
    gap: float = 0.0, chance: float = 0.0, width: float = 0.1, narrower: float | None = None,
    episodes: int = 12
) -> dict[str, Any]:  # fmt: skip
    """Two ways to train, one of which has a gap, in units of a scale of 10, and chance's own."""

    def player(share: float, beyond: float | None, **training: Any) -> dict[str, Any]:
        return {
            **training,
            "real": interval(20.0, 1.0),
            "imagined": interval(20.0 + 10 * share, 1.0),
            "gap": interval(10 * share, 10 * width),
            "gap_share": interval(share, width),
            "beyond_random": None if beyond is None else interval(beyond, width),
            "returns": {side: [[20.0] * episodes] for side in ("real", "imagined")},
        }

    def arm(share: float, horizon: int, limit: float | None = None) -> dict[str, Any]:
        training = {"starts": "bundled", "horizon": horizon, "max_uncertainty": limit,
                    "steps": 1000, "agents": 1}  # fmt: skip
        return player(share, share - chance, **training)

    groups = {"bundled-5": arm(chance, 5), "bundled-50": arm(gap, 50)}
    narrowed = {}
    if narrower is not None:
        groups["bundled-50-limited"] = arm(gap - narrower, 50, 0.3)
        narrowed["bundled-50"] = {"gap": interval(narrower, width), "real": interval(0.0, 1.0)}
    return {
        "best": "bundled-50",
        "scale": 10.0,
        "blind": {"uniform": player(chance, None)},
        "groups": groups,
        "narrowed": narrowed,
        "limit": None if narrower is None else 0.3,
    }


def uncertainty(auroc: float = 0.9) -> dict[str, Any]:
    """How well an uncertainty tells the worst frames, and nothing else."""

    def sign(value: float) -> dict[str, Any]:
        found = {**interval(value, 0.05), "n": 160, "wrong": 16}
        return {"overall": found, "by_step": [found] * HORIZON}

    return {"frames": {"uncertainty": sign(auroc), "steps_imagined": sign(0.6)}, "outcomes": {}}


def diverged(step: int | None) -> dict[str, Any]:
    """What was found of when one episode left the usual range for good."""
    times = {"mean": None, "change": step}
    return {"window": 100, "least": 0.5, "overall": step, "statistics": times}


def repeated(first: int | None = None, apart: int = 0, why_not: str = "") -> dict[str, Any]:
    """What was found where the same was played again: all equal up to the step ``first``."""
    share = 1.0 if first is None else first / 64
    again = {"equal_share": share, "equal_frames": share,
             "first_different": first, "largest_difference": apart}  # fmt: skip
    beside = {"why_not": why_not} if why_not else {"streams": 4, **again}
    return {"steps": 64, "again": again, "beside_others": beside}


def stability(share: float = 0.99, **found: Any) -> dict[str, Any]:
    """Results of one episode; those of ``found``, which earlier releases did not ask for, too."""
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
        **found,
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
        if kind in ("ranking", "lift", "exploitation")
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
