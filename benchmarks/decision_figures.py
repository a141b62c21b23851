"""Figures of what a world is worth for decisions: ranking, lift, exploitation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from agents.statistics import Interval, percentile_interval
from benchmarks.exploitation import RANDOM
from benchmarks.one_figure import Better, Figure

RESAMPLES = 2000


def ranking(document: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[Figure]:
    """How well returns in it stand for those in the real game, over policies."""
    policies = results["policies"]
    episodes = min(side["real"]["episodes"] for side in policies.values())
    n = f"{len(policies)} policies, {episodes} episodes of each in either game"
    yield Figure("spearman", "rank correlation of policies (Spearman)", "", results["spearman"], n,
                 "higher")  # fmt: skip
    agreement = agreement_of_returns(policies)
    yield Figure("pearson", "correlation of mean returns (Pearson)", "",
                 agreement["pearson"].to_json(), n, "higher")  # fmt: skip
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
                 agreement["ratio"].to_json(), n, "one")  # fmt: skip


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
    if any(len(p[side]["returns"]) < 2 for p in policies.values() for side in ("real", "imagined")):
        # Seen once: nobody knows how much it varies.
        ratio, pearson = np.full((2, 1), np.nan)
    spread = min(part.std() for part in means)
    correlation = float(np.corrcoef(means)[0, 1]) if len(policies) > 1 and spread > 0 else np.nan
    return {
        "ratio": percentile_interval(whole, ratio, 0.95, between=False),
        "pearson": percentile_interval(correlation, pearson, 0.95),
    }


def lift(document: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[Figure]:
    """Real returns; how much more the agents that trained in it earn than each of the others."""
    groups, ours = results["groups"], results["of"]
    mean = groups[ours]["mean"]
    title = f"real return of the agents ({ours})"
    yield Figure("return.ours", title, "", mean, _players(groups[ours]), "higher", digits_of(mean))
    for name, (key, title) in opponents(results).items():
        part = results["lift"][name]
        n = f"{_players(groups[ours])}; against them {_players(groups[name])}"
        lead = part["lead"]
        yield Figure(f"lead.{key}", f"real return above {title}", "", lead, n, "higher",
                     digits_of(lead))  # fmt: skip
        yield Figure(f"chance.{key}", f"chance to beat {title}, episode by episode", "",
                     part["improvement"], n, "higher", chosen=key == "blind")  # fmt: skip
    for name, part in groups.items():
        key = "ours" if name == ours else opponents(results)[name][0]
        who = "the agents" if name == ours else opponents(results)[name][1]
        for what, words in (("mean", "real return"), ("iqm", "interquartile mean")):
            if (name, what) != (ours, "mean"):
                shown = part[what]
                yield Figure(f"{what}.{key}", f"{words} of {who}", "", shown, _players(part), "",
                             digits_of(shown), chosen=False)  # fmt: skip


def opponents(results: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Whom the agents are held against, by name: a key that all evaluations share, and words.

    PPO on other numbers of real steps is another opponent.
    """
    found = {}
    for name in results["lift"]:
        arm = results["training"].get(name)
        if name == results["best_blind"]:
            chance = ", which is chance" if name == RANDOM else ""
            found[name] = "blind", f"the best blind policy ({name}{chance})"
        elif name == RANDOM:
            found[name] = "chance", f"chance ({name})"
        elif arm is not None:
            what, _, why = name.partition(", ")
            found[name] = f"real.{arm['steps']}", f"PPO on {arm['steps']:,} {what} ({why})"
        else:
            found[name] = name, name
    return found


def exploitation(document: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[Figure]:
    """Imagined against real returns of everyone, agents first.

    Chosen are shares of the scale of those that no limit of uncertainty cut off: a scale is that of
    one evaluation, so that none of them is ever the best of several.
    """
    for name, part in (*results["groups"].items(), *results["blind"].items()):
        n = f"{_players(part)} in either game"
        agents = name in results["groups"]
        free = part.get("max_uncertainty") is None
        shares = (
            (
                "gap",
                "imagined minus real return, as a share of what skill is worth",
                "gap_share",
                agents or name == RANDOM,
            ),
            ("beyond", "the same, beyond that of chance", "beyond_random", agents),
        )
        for key, words, what, chosen in shares:
            if part[what] is not None:
                yield Figure(f"{key}.{name}", f"{name}: {words}", "", part[what], n,
                             chosen=chosen and free)  # fmt: skip
        whole: tuple[tuple[str, str, Better], ...] = (
            ("gap", "imagined minus real return", "zero"),
            ("real", "real return", "higher" if agents else ""),
            ("imagined", "imagined return", ""),
        )
        for what, words, better in whole:
            shown = part[what]
            yield Figure(f"return.{what}.{name}", f"{name}: {words}", "", shown, n, better,
                         digits_of(shown), chosen=False)  # fmt: skip
    for name, part in results["narrowed"].items():
        n = _players(results["groups"][name])
        title = f"{name}: gap narrower by a limit of uncertainty, in the same unit"
        yield Figure(f"narrowed.{name}", title, "", part["gap"], n, "higher", chosen=False)
        title = f"{name}: real return higher by a limit of uncertainty"
        yield Figure(f"raised.{name}", title, "", part["real"], n, "higher",
                     digits_of(part["real"]), chosen=False)  # fmt: skip


def fewest(returns: Iterable[Sequence[float]]) -> int:
    """Of how many episodes the policy that played the fewest is judged."""
    return min(len(part) for part in returns)


def digits_of(interval: Mapping[str, Any]) -> int:
    """Decimals that show some three digits of a return, which may be of any size."""
    known = [
        abs(interval[name]) for name in ("estimate", "low", "high") if interval[name] is not None
    ]
    largest = max(known, default=0.0)
    return 0 if largest >= 100 else 1 if largest >= 10 else 2


def _players(part: Mapping[str, Any]) -> str:
    """``3 agents, 20 episodes of each``, of returns in one game or in both."""
    returns = part["returns"]
    returns = returns["real"] if isinstance(returns, Mapping) else returns
    episodes = fewest(returns)
    played = f"{episodes} episode{'' if episodes == 1 else 's'}"
    count = part.get("agents")
    if not count:
        return played
    return f"1 agent, {played}" if count == 1 else f"{count} agents, {played} of each"
