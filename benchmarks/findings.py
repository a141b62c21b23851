"""What a world gets wrong, and right, in plain words: each sentence follows from a figure.

A sentence is only said where the interval allows it. What the interval leaves open is said to be
open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from benchmarks import decision_findings
from benchmarks.evaluation_folder import EvaluationFolder
from benchmarks.frame_findings import judge_gain, of_frames, of_objects
from benchmarks.shown_figures import fewest_episodes
from benchmarks.stability_words import called, likeness
from benchmarks.verdicts import (
    Finding,
    Verdict,
    is_above,
    is_below,
    judge_multiple,
    spoken,
    weigh,
)

ENOUGH_IN_RANGE = 0.95
"""Of the frames of a long episode, where each usual range holds 99 % of training frames."""
FLAT_MB = 1.0
"""Growth of memory per 1,000 steps that is no leak."""
SETTLED = 2_000
"""Steps in which memory shows whether it grows; before, what is loaded on use hides that."""
CLEAR = 0.8
"""Of the way from floor to ceiling, where actions are about as clear in frames as in reality."""
TELLS = 0.7
"""AUROC that the whole interval of an uncertainty that tells wrong frames should be above."""


def findings(folder: EvaluationFolder) -> list[Finding]:
    """All sentences, faults first."""
    found: list[Finding] = []

    def weighed(part: str, sentences: Iterable[Finding], most: int | None = None) -> None:
        """Adds sentences on clips, open where these are of too few episodes, or ``most`` is."""
        known = [n for n in (fewest_episodes(folder, part), most) if n is not None]
        found.extend(weigh(f, min(known)) if known else f for f in sentences)

    if results := folder.results("fidelity"):
        weighed("fidelity", of_frames(results))
        weighed("fidelity", of_objects(results), results["long_rollouts"]["rollouts"])
    outcomes = folder.results("outcomes")
    weighed("outcomes", [*_rewards(outcomes), *_ends(outcomes)])
    if control := folder.results("controllability"):
        weighed("controllability", [*_control(control), *_counterfactuals(control)])
    weighed("uncertainty", _uncertainty(folder.results("uncertainty")))
    if probes := folder.results("probes"):
        found += _probes(probes)
    for part, sentences in decision_findings.PARTS.items():
        if results := folder.results(part):
            found += sentences(results)
    if stability := folder.results("stability"):
        found += _stability(stability)
    order = ("bad", "open", "good")
    return sorted(found, key=lambda finding: order.index(finding.verdict))


def _rewards(results: Mapping[str, Any]) -> Iterator[Finding]:
    events = results.get("reward", {}).get("events")
    if events is None or events["recall"]["estimate"] is None:  # every reward was the same
        return
    recall = events["recall"]
    verdict: Verdict = "open"
    words = "about half"
    if is_above(recall["low"], 0.5):
        verdict, words = "good", "most"
    elif is_below(recall["high"], 0.5):
        verdict, words = "bad", "few"
    yield Finding(
        verdict,
        f"On its frames {words} of the rewards are told that what was done really brought: "
        f"{spoken(recall)} of the {events['real']} rare ones (other than {events['usual']:g}), at "
        f"the step at which they came.",
    )


def _ends(results: Mapping[str, Any]) -> Iterator[Finding]:
    if "termination" not in results:  # not measured, or a world that ends nothing by itself
        return
    hazard = results["termination"]
    if not hazard["ends"]:
        yield Finding("open", "No episode ended in these clips: its ends were not put to the test.")
        return
    yield judge_multiple(
        hazard["ratio"],
        more=f"It is too deadly: it expects {{}} times as many ends of episodes as there were "
        f"({hazard['ends']}).",
        less=f"It is too forgiving: it expects {{}} times as many ends of episodes as there were "
        f"({hazard['ends']}).",
        equal=f"It expects about as many ends of episodes as there were ({hazard['ends']}), {{}} "
        "times.",
    )
    brier, base = (hazard["scores"][key] for key in ("brier", "brier_base"))
    if brier["estimate"] >= base["estimate"]:
        yield Finding(
            "bad",
            "Which step ends an episode it foretells no better than the same chance for every step "
            f"would (Brier score {spoken(brier, digits=4)}, base rate {base['estimate']:.4f}, "
            f"{brier['n']} steps).",
        )


def _control(results: Mapping[str, Any]) -> Iterator[Finding]:
    for name, part in results["inverse_dynamics"].items():
        between = None if name == "why_not" else part["of_ceiling"]
        if between is None:  # nothing to read, or reality does not show it either
            continue
        verdict: Verdict
        if is_above(between["low"], CLEAR):
            verdict, words = "good", "can be read off its frames about as well as off real ones"
        elif is_below(between["high"], CLEAR):
            verdict, words = "bad", "can be read off its frames less well than off real ones"
        else:
            verdict, words = "open", "can be read off its frames, how well is open"
        yield Finding(
            verdict,
            f"What was done ({name}) {words}: {spoken(between)} of the way from chance to reality.",
        )
    share = results["divergence"]["share"][-1]
    if share["estimate"] is None:
        return
    said = f"share {spoken(share)} at step {len(results['divergence']['share'])}"
    if is_above(share["low"], 0.5):
        yield Finding(
            "good", f"Other actions part its futures more than other noise does ({said})."
        )
    elif is_below(share["high"], 0.5):
        yield Finding("bad", f"Other actions part its futures less than other noise does ({said}).")


def _counterfactuals(results: Mapping[str, Any]) -> Iterator[Finding]:
    told = results.get("counterfactual", {"why_not": "not measured"})
    if "why_not" in told:
        return
    yield judge_gain(
        told["gain"],
        good="It foretells what actions that nobody took would have led to: the real game, brought "
        "back and played on, is nearer to what it imagined under them than to what it imagined "
        f"under others, at each of the {len(told['gain'])} steps",
        partly="It surely foretells what actions that nobody took would have led to at some steps "
        "only",
        bad="What actions that nobody took would have led to looks more like what it imagined "
        "under others",
        unsure="Whether it foretells what actions that nobody took would have led to cannot be "
        "told",
    )


def _uncertainty(results: Mapping[str, Any]) -> Iterator[Finding]:
    if "frames" not in results:  # not measured, or a world that reports none
        return
    frames = results["frames"]
    sign = frames["uncertainty"]["overall"]
    steps = frames["steps_imagined"]["overall"]
    figures = f"AUROC {spoken(sign)}; that of the number of steps imagined {spoken(steps)}"
    if is_above(sign["low"], TELLS):
        yield Finding("good", f"Its uncertainty tells its worst frames: {figures}.")
    elif is_below(sign["high"], TELLS):
        yield Finding("bad", f"Its uncertainty hardly tells its worst frames: {figures}.")
    else:
        yield Finding(
            "open", f"How well its uncertainty tells its worst frames is open: {figures}."
        )


def _probes(results: Mapping[str, Any]) -> Iterator[Finding]:
    for name, part in results.get("read", {}).items():
        known = [h for h, n in enumerate(results["counts"]["clips"]) if n]
        if not known:
            continue
        h = known[-1]
        saved = part["gain_over"]["repeat_last"][h]
        error, ceiling, held = (
            spoken(part["mae"][who][h]) for who in ("model", "real_frames", "repeat_last")
        )
        figures = (
            f"after {h + 1} steps they are {error} {part['unit']}".rstrip()
            + f" off, real frames {ceiling}, the last state held {held}"
        )
        verdict: Verdict
        if not is_above(part["told"][h]["low"], 0):
            verdict = "open"
            words = (
                "Whether its frames show the true {} cannot be told, since of real frames the "
                "probes do no better than the last state held"
            )
        elif is_above(saved["low"], 0):
            verdict, words = "good", "Its frames show the true {} better than the last state held"
        elif is_below(saved["high"], 0):
            verdict, words = "bad", "Its frames show the true {} worse than the last state held"
        else:
            verdict, words = "open", "Whether its frames show the true {} is open"
        finding = Finding(verdict, f"{words.format(name)}: {figures}.")
        yield weigh(finding, results["counts"]["episodes"][h])


def _stability(results: Mapping[str, Any]) -> Iterator[Finding]:
    steps = f"{results['steps']:,} steps"
    if results["bad_numbers"]:
        yield Finding(
            "bad", f"Numbers break down: {results['bad_numbers']} checks within {steps} found a "
            "NaN or an infinity."
        )  # fmt: skip
    shares = {n: p["share_in_usual_range"] for n, p in results["statistics"].items()}
    worst = min(shares, key=lambda name: shares[name])
    fine = shares[worst] >= ENOUGH_IN_RANGE
    least = f"{called(worst)} of {shares[worst]:.1%}"
    yield Finding(
        "good" if fine else "bad",
        f"In one episode of {steps} its frames {'stay' if fine else 'do not stay'} like those of "
        f"training: the {least} of them is in the usual range (one episode, so no interval).",
    )
    left = results.get("divergence", {}).get("overall")
    if left is not None:
        yield Finding(
            "bad",
            f"From step {left:,} on its frames have left the usual range of training frames for "
            f"good (one episode of {steps}).",
        )
    again = results.get("determinism", {}).get("again", {})
    if again.get("first_different") is not None:
        yield Finding(
            "bad",
            "It is not deterministic: played again with the same seed and actions, "
            f"{likeness(again)}.",
        )
    grown = results["memory_mb"]["growth_per_1000_steps"]
    if grown > FLAT_MB and results["steps"] >= SETTLED:
        yield Finding("bad", f"Memory grows by {grown:.1f} MB per 1,000 steps.")
