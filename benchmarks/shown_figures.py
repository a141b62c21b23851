"""The figures by which a person judges a world: shown at the top, put side by side, and in cards.

Every figure says what it is, of how many clips or episodes, its interval, and which way is better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from agents.statistics import Interval, percentile_interval
from benchmarks.evaluation_folder import EvaluationFolder
from benchmarks.fidelity_report import SHOWN

Better = Literal["higher", "lower", "one", ""]
"""Which way is better; ``one``: the nearer to 1 the better; empty: neither."""
RESAMPLES = 2000


@dataclass(frozen=True)
class Figure:
    """One number of a world."""

    key: str
    """Short name, the same in every evaluation."""
    title: str
    """What it is, in words."""
    unit: str
    """Empty where it has none."""
    interval: Mapping[str, Any]
    """``estimate``, ``low``, ``high``; the ends are None where nothing was resampled."""
    n: str
    """Of how many clips, episodes or steps."""
    better: Better = ""
    """Which way is better."""
    digits: int = 2
    """Decimals to show."""
    chosen: bool = True
    """Whether somebody chose it to be shown; the others are all that a document holds besides."""

    @property
    def short(self) -> str:
        """The number alone."""
        estimate = self.interval["estimate"]
        return "-" if estimate is None else f"{estimate:.{self.digits}f}"

    @property
    def ends(self) -> str:
        """The interval, or a word for none."""
        low, high = self.interval.get("low"), self.interval.get("high")
        if low is None or high is None:
            return "no interval"
        return f"[{low:.{self.digits}f}, {high:.{self.digits}f}]"


def shown_horizons(results: Mapping[str, Any]) -> list[int]:
    """The horizons that tables show: first, fourth, last."""
    last = len(results["psnr"]["model"])
    return sorted({h for h in (*SHOWN, last) if h <= last})


def figures_of(folder: EvaluationFolder, part: str, steps: str | None = None) -> list[Figure]:
    """The figures of one part, with some number of sampling steps (default: the world's own)."""
    results = folder.results(part, steps)
    if not results:
        return []
    makers = {
        "fidelity": _fidelity,
        "outcomes": _outcomes,
        "controllability": _controllability,
        "probes": _probes,
        "uncertainty": _uncertainty,
        "ranking": _ranking,
        "stability": _stability,
    }
    if part in makers:
        return list(makers[part](folder.documents[part], results))
    return list(_any(part, results))


def fewest_episodes(folder: EvaluationFolder) -> int | None:
    """Of how many episodes the clips are at the last horizon, or the long rollouts if fewer."""
    results = folder.results("fidelity")
    if "counts" not in results:
        return None
    return int(min(results["counts"]["episodes"][-1], results["long_rollouts"]["rollouts"]))


def counted(document: Mapping[str, Any], results: Mapping[str, Any], horizon: int) -> str:
    """How many clips of how many episodes still know what happened at a horizon."""
    counts = results.get("counts")
    if counts is None:
        return f"at most {document['settings'].get('clips')} clips"
    clips, episodes = counts["clips"][horizon - 1], counts["episodes"][horizon - 1]
    return f"{clips} clips of {episodes} episodes"


def _fidelity(document: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[Figure]:
    horizons = shown_horizons(results)

    def at(key: str, title: str, unit: str, curve: Sequence[Any], better: Better, n: str = "",
           digits: int = 1) -> Iterator[Figure]:  # fmt: skip
        for h in horizons:
            count = n or counted(document, results, h)
            where = f"{title}, step {h}"
            yield Figure(f"{key}@{h}", where, unit, curve[h - 1], count, better, digits)

    yield from at("psnr", "PSNR", "dB", results["psnr"]["model"], "higher")
    for name, title in (("repeat_last", "the last frame repeated"),
                        ("shuffled_actions", "itself under other actions")):  # fmt: skip
        curve = results["psnr_gain_over"][name]
        yield from at(f"gain.{name}", f"PSNR gained over {title}", "dB", curve, "higher")
    if "ssim" in results:  # not in results of earlier releases
        yield from at("ssim", "SSIM", "", results["ssim"]["model"], "higher", digits=3)
    forced = results.get("teacher_forced", {"why_not": ""})
    if "why_not" not in forced:
        curve = forced["psnr"]["one_step"]
        yield from at("forced", "PSNR of one step from real frames", "dB", curve, "higher")
        curve = forced["accumulated"]["psnr"]
        yield from at("accumulated", "PSNR lost to accumulated errors", "dB", curve, "lower")
        curve = forced["ssim"]["one_step"]
        yield from at("forced.ssim", "SSIM of one step from real frames", "", curve, "higher",
                      digits=3)  # fmt: skip
    changed = results["psnr_changed"]["model"]
    yield from at("changed", "PSNR of the pixels that changed", "dB", changed, "higher")
    if "samples" in results:
        curve = results["samples"]["energy_score"]["samples"]
        n = f"{results['samples']['clips']} clips"
        yield from at("energy", "energy score", "grey levels", curve, "lower", n)
    # Figures by other weights, or of other numbers of clips or frames, are other figures.
    told = results.get("frechet", {})
    for group, row in told.get("distance", {}).items():
        n = f"{row['model']['n']} frames"
        key = f"frechet.{told['weights']}.{group}.{n}"
        title = f"Frechet distance of frames by outcome model {told['weights']}, steps {group}"
        yield Figure(key, title, "", row["model"], n, "lower")
    if "lpips" in results:
        key = f"lpips.{document['settings'].get('lpips_weights')}"
        yield from at(key, "LPIPS", "", results["lpips"]["model"], "lower", digits=3)
    if distance := results.get("fvd", {}).get("distance"):
        of = f"{results['fvd']['clips']} clips of {results['fvd']['frames']} frames"
        key = f"fvd.{document['settings'].get('fvd_weights')}.{of}"
        yield Figure(key, f"FVD of {of}", "", distance["model"], of, "lower", 1)
    for name, part in results.get("small_things", {}).items():
        for what in ("recall", "precision"):
            curve = part["presence"]["model"][what]
            yield from at(f"{what}.{name}", f"{name}: {what}", "", curve, "higher", digits=2)
    long = results["long_rollouts"]
    for name, part in long["objects"].items():
        title = f"{name}s shown, as a multiple of the real ones"
        n = f"{long['rollouts']} episodes, {long['frames']} frames"
        yield Figure(f"count.{name}", title, "", part["ratio"], n, "one")


def seen_ends(document: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """What was found of ends of episodes, on ``imagined`` frames and on ``real_frames``."""
    return _seen("termination", document, results)


def _seen(kind: str, document: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    sources = {"imagined": results, "real_frames": document["results"].get("real_frames", {})}
    return {where: part[kind] for where, part in sources.items() if kind in part}


def _outcomes(document: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[Figure]:
    for where, part in _seen("reward", document, results).items():
        if part.get("events") is None:
            continue
        frames = "imagined frames" if where == "imagined" else "real frames"
        n = f"{part['steps']} steps, rare rewards: {part['events']['real']}"
        for key in ("recall", "precision"):
            title = f"rare rewards on {frames}, at the right step: {key}"
            yield Figure(f"rewards.{where}.{key}", title, "", part["events"][key], n, "higher")
    for where, part in seen_ends(document, results).items():
        title = f"ends of episodes expected on {where.replace('_', ' ')} "
        n = f"{part['steps']} steps, real ends: {part['ends']}"
        frames = "frames" if where == "imagined" else ""
        title = f"{title}{frames}".strip() + ", as a multiple of the real ones"
        yield Figure(f"ends.{where}", title, "", part["ratio"], n, "one")
    yield from _any("outcomes", results)


def _controllability(document: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[Figure]:
    for name, part in results.get("inverse_dynamics", {}).items():
        if isinstance(part, Mapping) and "of_ceiling" in part:
            title = f"{name} read off imagined frames, of the way from chance to real frames"
            n = f"{part['imagined']['n']} pairs of frames"
            yield Figure(f"read.{name}", title, "", part["of_ceiling"], n, "higher")
    chosen: list[tuple[str, str, str, Any, Better]] = []
    if "divergence" in results:
        share = results["divergence"]["share"]
        chosen.append(("share", "share of actions in how far futures part", "", share, "higher"))
    told = results.get("counterfactual", {})
    if "gain" in told:
        title = "other actions than recorded, against the real game: "
        chosen += [
            ("other.psnr", f"{title}PSNR", "dB", told["psnr"]["model"], "higher"),
            ("other.gain", f"{title}PSNR gained by the right ones", "dB", told["gain"], "higher"),
            ("other.cosine", f"{title}likeness of their effect (cosine)", "",
             told["effect_cosine"], "higher"),
        ]  # fmt: skip
    for key, title, unit, curve, better in chosen:
        for h in sorted({h for h in (*SHOWN, len(curve)) if h <= len(curve)}):
            n = f"{curve[h - 1]['n']} clips"
            yield Figure(f"{key}@{h}", f"{title}, step {h}", unit, curve[h - 1], n, better)
    yield from _any("controllability", results)


def _uncertainty(document: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[Figure]:
    asked = {"the worst tenth of the frames": results.get("frames")}
    asked |= {f"wrong {what}s": part for what, part in results.get("outcomes", {}).items()}
    for what, part in asked.items():
        if part is not None and part["uncertainty"]["overall"]["estimate"] is not None:
            figure = part["uncertainty"]["overall"]
            title = f"{what} told by the uncertainty (AUROC)"
            n = f"{figure['n']} steps, {figure['wrong']} of them wrong"
            yield Figure(f"auroc.{what}", title, "", figure, n, "higher")
    yield from _any("uncertainty", results)


def _probes(document: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[Figure]:
    for name, part in results.get("read", {}).items():
        count = len(part["mae"]["model"])
        for h in sorted({h for h in (*SHOWN, count) if h <= count}):
            n, unit = counted(document, results, h), part["unit"]
            mae, r2 = (part[what]["model"][h - 1] for what in ("mae", "r2"))
            # Where the probe is no better on real frames than the last state, nothing can be told.
            told = h == count and (part["told"][h - 1]["low"] or 0) > 0
            title = f"{name}, step {h}: error of what frames show"
            yield Figure(f"mae.{name}@{h}", title, unit, mae, n, "lower", chosen=told)
            title = f"{name}, step {h}: R2 of what frames show"
            yield Figure(f"r2.{name}@{h}", title, "", r2, n, "higher", chosen=False)
            title = f"{name}, step {h}: error saved over the last state held"
            saved = part["gain_over"]["repeat_last"][h - 1]
            yield Figure(f"saved.{name}@{h}", title, unit, saved, n, "higher", chosen=told)


def _ranking(document: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[Figure]:
    policies = results["policies"]
    episodes = min(side["real"]["episodes"] for side in policies.values())
    n = f"{len(policies)} policies, {episodes} episodes of each in either game"
    yield Figure("spearman", "rank correlation of policies (Spearman)", "", results["spearman"], n,
                 "higher")  # fmt: skip
    agreement = agreement_of_returns(policies)
    yield Figure("pearson", "correlation of mean returns (Pearson)", "",
                 agreement["pearson"].to_dict(), n, "higher")  # fmt: skip
    extra: tuple[tuple[str, str, Better], ...] = (
        ("kendall", "rank correlation of policies (Kendall's tau-b)", "higher"),
        ("regret", "regret of a choice between two policies (coin: 0.5)", "lower"),
        ("regret_of_the_best", "regret of the choice of the best policy", "lower"),
        ("bias", "imagined minus real mean return", ""),
    )
    for key, title, better in extra:
        if key in results:  # not in results of earlier releases
            yield Figure(key, title, "", results[key], n, better)
    yield Figure("returns", "imagined returns, as a multiple of the real ones", "",
                 agreement["ratio"].to_dict(), n, "one")  # fmt: skip


def agreement_of_returns(policies: Mapping[str, Any], seed: int = 0) -> dict[str, Interval]:
    """Ratio and Pearson correlation of mean returns, with bootstrap intervals over episodes.

    Args:
        policies: both sides of each, every return included.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    means, draws = [], []
    for side in ("real", "imagined"):
        returns = [np.asarray(p[side]["returns"], np.float64) for p in policies.values()]
        means.append(np.array([r.mean() for r in returns]))
        drawn = [r[rng.integers(len(r), size=(RESAMPLES, len(r)))].mean(1) for r in returns]
        draws.append(np.stack(drawn))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = draws[1].mean(0) / draws[0].mean(0)
        centred = [part - part.mean(0) for part in draws]
        scale = np.sqrt((centred[0] ** 2).sum(0) * (centred[1] ** 2).sum(0))
        pearson = (centred[0] * centred[1]).sum(0) / scale
        whole = float(means[1].mean() / means[0].mean())
    spread = min(part.std() for part in means)
    correlation = float(np.corrcoef(means)[0, 1]) if len(policies) > 1 and spread > 0 else np.nan
    return {
        "ratio": percentile_interval(whole, ratio, 0.95, between=False),
        "pearson": percentile_interval(correlation, pearson, 0.95),
    }


def _stability(document: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[Figure]:
    n = f"{results['steps']:,} steps of one episode"

    def one(key: str, title: str, unit: str, value: float, better: Better,
            digits: int = 2) -> Figure:  # fmt: skip
        interval = {"estimate": value, "low": None, "high": None}
        return Figure(key, title, unit, interval, n, better, digits)

    for name, part in results["statistics"].items():
        share = 100 * part["share_in_usual_range"]
        title = f"frames whose {name} is within the range of 99 % of training frames"
        yield one(f"usual.{name}", title, "%", share, "higher", 1)
    yield one("frozen", "frames equal to the one before", "%", 100 * results["frozen_share"], "", 1)
    bad = results["bad_numbers"]
    yield one("bad", "checks with NaN or infinity", "", bad, "lower", 0)
    growth = results["memory_mb"]["growth_per_1000_steps"]
    yield one("memory", "growth of memory per 1,000 steps", "MB", growth, "lower")


def _any(place: str, value: Any) -> Iterator[Figure]:
    """Every interval of a document whose layout is not known here."""
    words = place.replace("_", " ")
    if isinstance(value, Mapping):
        if {"estimate", "low", "high"} <= set(value):
            n = str(value.get("n", "see the protocol"))
            yield Figure(place, words, "", value, n, chosen=False)
            return
        for key, part in value.items():
            yield from _any(f"{place}.{key}", part)
    elif isinstance(value, list) and all(isinstance(v, Mapping) and "estimate" in v for v in value):
        for h in sorted({h for h in (*SHOWN, len(value)) if h <= len(value)}):
            yield from _any(f"{place}, step {h}", value[h - 1])
