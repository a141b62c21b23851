"""Sections of an evaluation's page on what a world does with actions, and with what is true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.controllability_report import read_parts
from benchmarks.evaluation_folder import EvaluationFolder
from benchmarks.fidelity_report import text as interval_text
from benchmarks.html_charts import Line, curves
from benchmarks.html_page import (
    Html,
    block,
    bullets,
    details,
    fill,
    join,
    paragraph,
    section,
    table,
)
from benchmarks.probes_report import error_title
from benchmarks.report_sections import curve_with_numbers, figures_table, in_steps
from benchmarks.shown_figures import figures_of


def controllability_section(folder: EvaluationFolder, steps: str) -> Html:
    """Gain of the true actions, what is read of them, how far futures part, and counterfactuals."""
    results = folder.results("controllability", steps)
    gain, parting = results["gain"], results["divergence"]
    n = [f"{point['n']} clips" for point in gain]
    of = [f"{parting['clips']} contexts"] * len(gain)
    apart = {"by other actions": parting["by_actions"], "by other noise": parting["by_noise"]}
    reading = read_parts(results)
    shown = [
        curve_with_numbers(
            {"true over other actions": gain}, "PSNR gained by true actions", "dB", n
        ),
        *(_reading(name, part) for name, part in reading.items()),
        curve_with_numbers(apart, "how far futures part", "grey levels", of),
        curve_with_numbers(
            {"share of actions": parting["share"]}, "share of actions in that", "", of, (0.0, 1.0)
        ),
    ]
    told = results.get("counterfactual", {"why_not": "not measured"})
    if "why_not" not in told:
        shown += _counterfactuals(told)
    why_not = results["inverse_dynamics"].get("why_not")
    return section(
        f"controllability-{steps}",
        f"Do actions do what they should, {in_steps(steps)}",
        paragraph(
            "Four answers. Gain: by how much nearer to the truth frames are under the true "
            "actions than under those of another clip. Reading: whether a small classifier, "
            "trained on real frames, still reads the action off imagined ones; the ceiling is "
            "what it reads off real frames, the floor what it gets right by chance. Futures: how "
            "far other actions lead from each other, beside what other noise does; a share of 0.5 "
            "says that actions do no more than noise, 1 that they decide everything. "
            "Counterfactuals: the real game, brought back to the same moments, plays on under "
            "actions that were never taken, and what the world imagined under them is held "
            "against it; their gain is over what it imagined under the others of them."
        ),
        fill('<div class="grid">$it</div>', it=join(shown)),
        paragraph(f"Nothing was read off frames: {why_not}.") if why_not else "",
        paragraph(f"No counterfactuals: {told['why_not']}.") if "why_not" in told else "",
        *(_reading_table(name, part) for name, part in reading.items()),
        details(
            f"Futures at the last step, under {', '.join(parting['courses'])}",
            table(
                ["held all along", "grey levels apart", "n"],
                [[pair, interval_text(p, 1), p["n"]] for pair, p in parting["pairs"].items()],
                "Root mean square distance",
            ),
        )
        if parting["pairs"]
        else "",
    )


def _counterfactuals(told: Mapping[str, Any]) -> list[Html]:
    """Charts of futures that were never recorded, each under several courses of action."""
    n = [f"{point['n']} clips" for point in told["gain"]]
    return [
        curve_with_numbers(
            {"imagined": told["psnr_changed"]["model"],
             "last frame repeated": told["psnr_changed"]["repeat_last"]},
            "counterfactual PSNR of what changes", "dB", n,
        ),
        curve_with_numbers(
            {"own over other actions": told["gain"]}, "counterfactual gain", "dB", n
        ),
        curve_with_numbers(
            {"in the real game": told["real_apart"], "imagined": told["imagined_apart"]},
            "how far counterfactual futures part", "grey levels", n,
        ),
        curve_with_numbers(
            {"of the angle, clips alike": told["effect_cosine"],
             "explained": told["effect_explained"]},
            "effects of actions, imagined against real", "", n,
        ),
    ]  # fmt: skip


def _reading(name: str, part: Mapping[str, Any]) -> Html:
    by_horizon = part["by_horizon"]
    count = len(by_horizon["imagined"])
    floor = {"estimate": part["floor"]["estimate"]}
    title = f"reading {name!r} off frames: macro F1"
    lines = [
        Line("imagined", list(enumerate(by_horizon["imagined"], 1))),
        Line("real frames (ceiling)", list(enumerate(by_horizon["ceiling"], 1)), True, True),
        Line("actions of others (floor)", [(h, floor) for h in range(1, count + 1)], True),
    ]
    rows = [
        [str(h + 1), *(interval_text(by_horizon[k][h], 2) for k in ("imagined", "ceiling")),
         f"{by_horizon['imagined'][h]['n']} pairs"]
        for h in range(count)
    ]  # fmt: skip
    numbers = table(["step", "imagined", "real frames", "n"], rows, f"{title}, 95 % intervals")
    chart = curves(lines, title, "steps imagined", y_range=(0.0, 1.0))
    return block(chart, details("Numbers", numbers))


def _reading_table(name: str, part: Mapping[str, Any]) -> Html:
    rows = [["macro F1", *(interval_text(part[k], 2) for k in ("imagined", "ceiling", "floor")),
             part["imagined"]["n"]]]  # fmt: skip
    rows += [
        [f"recall of {label}", *(interval_text(recalls[k], 2) for k in ("imagined", "ceiling")),
         "", recalls["imagined"]["n"]]
        for label, recalls in part["recall"].items()
    ]  # fmt: skip
    between = part["of_ceiling"]
    words = (
        "not even real frames show this part of the actions"
        if between is None
        else f"{interval_text(between, 2)} of the way from floor to ceiling"
    )
    header = [f"reading {name!r}", "imagined", "ceiling", "floor", "pairs"]
    return block(
        paragraph(f"Read off pairs of frames, all steps together: {words}."),
        table(header, rows, "Imagined frames, between real ones and chance"),
    )


def probes_section(folder: EvaluationFolder, steps: str) -> Html:
    """What probes read off imagined frames of the true state of the game."""
    results = folder.results("probes", steps)
    shown: list[Html] = []
    shares: list[Html] = []
    read = results.get("read", {})
    if read:
        counts = results["counts"]
        n = [
            f"{clips} clips of {episodes} episodes"
            for clips, episodes in zip(counts["clips"], counts["episodes"], strict=True)
        ]
        for name, part in read.items():
            shown.append(curve_with_numbers(part["mae"], error_title(name, part), "", n))
            shares.append(curve_with_numbers(part["r2"], f"{name}: R2", "", n))
    rows = [
        [name, interval_text(part["ceiling"]["r2"], 2),
         f"{interval_text(part['ceiling']['mae'], 2)} {part['unit']}".strip(),
         part["ceiling"]["mae"]["n"]]
        for name, part in read.items()
    ]  # fmt: skip
    left_out = [("open", f"{name}: {why}.") for name, why in results["not_read"].items()]
    why_not = results.get("why_not")
    return section(
        f"probes-{steps}",
        f"Is it true what frames show, {in_steps(steps)}",
        paragraph(
            "The recordings know more than frames: where the player is, where it looks. Probes "
            "learn to read that off two real frames, and are asked what imagined ones show. Beside "
            "the model: itself under the actions of other clips, the true state of the last given "
            "frame (last frame), and the probes on the real frames of the same steps, which is as "
            "good as it gets. An R2 of 1 is exact, 0 no better than the mean."
        ),
        fill('<div class="grid">$it</div>', it=join(shown)) if shown else "",
        details("R2 by step", fill('<div class="grid">$it</div>', it=join(shares)))
        if shares
        else "",
        paragraph(f"Nothing was measured: {why_not}.") if why_not else "",
        table(
            ["read off real frames", "R2", "mean absolute error", "frames"],
            rows,
            "How well probes read held-out real frames",
        )
        if rows
        else "",
        join([fill("<h3>Not read</h3>"), bullets(left_out)]) if left_out else "",
        details("The main figures", figures_table(figures_of(folder, "probes", steps), "Probes"))
        if read
        else "",
    )
