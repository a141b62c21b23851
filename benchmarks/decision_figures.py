"""Figures of what a world is worth for decisions: ranking, lift, exploitation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from agents.agreement import agreement
from benchmarks.exploitation import RANDOM
from benchmarks.one_figure import Better, Figure, digits_of

BOTH, ALONE = ", over policies and episodes", ", these policies, over episodes alone"
"""What the intervals of agreement speak of."""


def ranking(document: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[Figure]:
    """How well returns in it stand for those in the real game, over policies."""
    policies = results["policies"]
    episodes = min(side["real"]["episodes"] for side in policies.values())
    n = f"{len(policies)} policies, {episodes} episodes of each in either game"
    found = agreements(results)
    three: tuple[tuple[str, str, str, Better], ...] = (
        ("spearman", "spearman", "rank correlation of policies (Spearman)", "higher"),
        ("pearson", "pearson", "correlation of mean returns (Pearson)", "higher"),
        ("ratio", "returns", "imagined returns, as a multiple of the real ones", "one"),
    )
    for name, key, title, better in three:
        yield Figure(key, title + BOTH, "", found["over_policies"][name], n, better)
        # Of all narrow intervals the one that earlier releases gave is shown beside the wide one.
        yield Figure(f"these.{key}", title + ALONE, "", found["over_episodes"][name], n, better,
                     chosen=name == "spearman")  # fmt: skip
    extra: tuple[tuple[str, str, Better], ...] = (
        ("kendall", "rank correlation of policies (Kendall's tau-b)", "higher"),
        ("regret", "regret of a choice between two policies (coin: 0.5)", "lower"),
        ("regret_of_the_best", "regret of the choice of the best policy", "lower"),
        ("bias", "imagined minus real mean return", ""),
    )
    for key, title, better in extra:
        if key in results:  # not in results of earlier releases
            yield Figure(key, title + BOTH, "", results[key], n, better)


def agreements(results: Mapping[str, Any]) -> dict[str, Mapping[str, Mapping[str, Any]]]:
    """Spearman, Pearson and ratio of returns, with intervals ``over_policies`` and their episodes.

    ``over_episodes``: those over episodes alone. What results of earlier releases lack is made
    from the returns, which they hold.
    """
    kinds = ("over_policies", "over_episodes")
    if all(kind in results for kind in kinds):
        return {kind: results[kind] for kind in kinds}
    returns = [
        [np.asarray(p[side]["returns"], np.float64) for p in results["policies"].values()]
        for side in ("real", "imagined")
    ]
    made: dict[str, dict[str, Mapping[str, Any]]] = {
        kind: {
            name: interval.to_json()
            for name, interval in agreement(
                *returns, resample_policies=kind == "over_policies"
            ).items()
        }
        for kind in kinds
    }
    made["over_episodes"]["spearman"] = results["spearman"]
    return {**made}


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
        yield Figure(f"chance.{key}", f"chance that an episode earns more than one of {title}", "",
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
        elif name == results.get("best_looking"):
            found[name] = "looking", f"the best policy that looks ({name})"
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
