"""What a world is worth for decisions, in plain words: ranking, lift, exploitation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.decision_figures import agreements, fewest, opponents
from benchmarks.verdicts import (
    Finding,
    Verdict,
    is_above,
    is_below,
    judge_multiple,
    spoken,
    spoken_return,
    weigh,
)

RANKS_WELL = 0.5
"""Spearman whose whole interval, over policies and episodes, should be above."""
ENOUGH_POLICIES = 5
"""Of four, one in 24 orders that are mere luck is the right one."""
FAIR = 0.5
"""Gap that is small, as a share of what skill is worth in the real game."""


def ranking(results: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether it orders policies as the real game does, and pays them alike."""
    played = min(side["real"]["episodes"] for side in results["policies"].values())
    for finding in _ranking(results):
        weighed = weigh(finding, played)
        count = len(results["policies"])
        if count < ENOUGH_POLICIES and weighed.verdict != "open":
            words = f"{finding.sentence} Too few policies ({count}) to be sure."
            weighed = Finding("open", words)
        yield weighed


def _ranking(results: Mapping[str, Any]) -> Iterator[Finding]:
    found, best = agreements(results)["over_policies"], results["best"]
    rank, of = found["spearman"], f"of {len(results['policies'])} policies"
    if is_above(rank["low"], RANKS_WELL):
        yield Finding("good", f"It ranks policies as the real game does: Spearman {spoken(rank)} "
                      f"{of}.")  # fmt: skip
    elif is_below(rank["high"], RANKS_WELL):
        yield Finding("bad", f"It does not rank policies as the real game does: Spearman "
                      f"{spoken(rank)} {of}.")  # fmt: skip
    else:
        yield Finding("open", f"Whether it ranks policies as the real game does is open: Spearman "
                      f"{spoken(rank)} {of}.")  # fmt: skip
    if best["real"] != best["imagined"]:
        yield Finding(
            "bad",
            f"Its best policy is another one: {best['imagined']}, in the real game {best['real']}.",
        )
    yield judge_multiple(
        found["ratio"],
        more="Its returns are too high, {} times the real ones.",
        less="Its returns are too low, {} times the real ones.",
        equal="Its returns are about as high as the real ones, {} times.",
    )


def lift(results: Mapping[str, Any]) -> Iterator[Finding]:
    """What its agents earn in the real game, against each of those that they are held against."""
    groups, ours = results["groups"], results["of"]
    who = "The agents that were given" if ours == "given" else "Agents trained in it"
    for name, (_, title) in opponents(results).items():
        lead = results["lift"][name]["lead"]
        returns = " against ".join(spoken_return(groups[n]["mean"]) for n in (ours, name))
        less = is_below(lead["high"], 0)
        figures = f"by {spoken_return(lead, -1 if less else 1)} ({returns})"
        if is_above(lead["low"], 0):
            found = Finding("good", f"{who} beat {title} in the real game, {figures}.")
        elif less:
            found = Finding("bad", f"{who} earn less in the real game than {title}, {figures}.")
        else:
            found = Finding("open", f"Whether {who[0].lower()}{who[1:]} beat {title} in the real "
                            f"game is open: {figures}.")  # fmt: skip
        yield weigh(found, fewest([*groups[ours]["returns"], *groups[name]["returns"]]))


def exploitation(results: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether it pays agents what the real game does, and whether training made use of that."""
    everyone = [*results["groups"].values(), *results["blind"].values()]
    played = fewest(r for part in everyone for side in part["returns"].values() for r in side)
    # Those that a limit cut off are judged by what the limit changed.
    agents = {n: p for n, p in results["groups"].items() if p["max_uncertainty"] is None}
    found = [*_gap(agents), *_exploited(agents), *_narrowed(results["narrowed"])]
    yield from (weigh(finding, played) for finding in found)


def _gap(agents: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    over = [name for name, part in agents.items() if is_above(part["gap"]["low"], 0)]
    under = [name for name, part in agents.items() if is_below(part["gap"]["high"], 0)]

    def worst(names: Sequence[str], count: str) -> str:
        name = max(names, key=lambda n: abs(agents[n]["gap"]["estimate"]))
        gap, share = agents[name]["gap"], agents[name]["gap_share"]
        scaled = "" if share is None else f", {spoken(share)} of what skill is worth there"
        return (
            f"the imagined return of {name} is off from the real one by {spoken_return(gap)}"
            f"{scaled} ({count})"
        )

    if over:
        yield Finding("bad", f"It overpays agents: {worst(over, _of(over, agents))}.")
    if under:
        yield Finding("bad", f"It underpays agents: {worst(under, _of(under, agents))}.")
    if over or under:
        return
    shares = [part["gap_share"] for part in agents.values()]
    if shares and all(_within(share, FAIR) for share in shares):
        yield Finding("good", f"It pays agents about what the real game does: no gap beyond {FAIR} "
                      f"of what skill is worth there ({_of(agents, agents)}).")  # fmt: skip
    elif agents:
        yield Finding("open", f"Whether it pays agents what the real game does is open: "
                      f"{worst(list(agents), f'the most of {_ways(agents)}')}.")  # fmt: skip


def _exploited(agents: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    beyond = {n: p["beyond_random"] for n, p in agents.items() if p["beyond_random"] is not None}
    if not beyond:  # nobody beats chance: there is no unit
        return
    most = max(beyond, key=lambda name: beyond[name]["estimate"])
    figure = f"most of {most}, {spoken(beyond[most])} of what skill is worth in the real game"
    sure = [name for name, part in beyond.items() if is_above(part["low"], 0)]
    if sure:
        most = max(sure, key=lambda name: beyond[name]["estimate"])
        yield Finding(
            "bad",
            f"Training exploits it: the gap of {most} exceeds that of chance by "
            f"{spoken(beyond[most])} of what skill is worth in the real game "
            f"({_of(sure, beyond)}).",
        )
    elif all(is_below(part["high"], FAIR) for part in beyond.values()):
        yield Finding("good", "Training does not exploit it: gaps exceed that of chance by little "
                      f"or nothing, {figure}.")  # fmt: skip
    else:
        yield Finding("open", "Whether training exploits it is open: how far gaps exceed that of "
                      f"chance, {figure}.")  # fmt: skip


def _narrowed(narrowed: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    if not narrowed:
        return
    gaps = {name: part["gap"] for name, part in narrowed.items()}
    less = [name for name, part in gaps.items() if is_above(part["low"], 0)]
    more = [name for name, part in gaps.items() if is_below(part["high"], 0)]
    told: tuple[Verdict, str, Sequence[str]] = ("open", "is not shown to change the gap", [*gaps])
    if more:
        told = ("bad", "widens the gap", more)
    elif less:
        told = ("good", "narrows the gap", less)
    verdict, words, names = told
    most = max(names, key=lambda name: abs(gaps[name]["estimate"]))
    yield Finding(
        verdict,
        f"A limit of its uncertainty in training {words}: by {spoken(gaps[most])} of what skill is "
        f"worth in the real game where agents are trained as {most} ({_of(names, gaps)}).",
    )


def _of(names: Iterable[str], all_of: Mapping[str, Any]) -> str:
    return f"{len(list(names))} of {_ways(all_of)}"


def _ways(all_of: Mapping[str, Any]) -> str:
    return f"{len(all_of)} way{'' if len(all_of) == 1 else 's'} to train"


def _within(share: Mapping[str, Any] | None, bar: float) -> bool:
    return share is not None and is_above(share["low"], -bar) and is_below(share["high"], bar)


PARTS: dict[str, Callable[[Mapping[str, Any]], Iterator[Finding]]] = {
    "ranking": ranking,
    "lift": lift,
    "exploitation": exploitation,
}
"""What is said of each part."""
