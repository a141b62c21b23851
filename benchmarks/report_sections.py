"""The sections of an evaluation's page: curves, policies, one long episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.evaluation_folder import EvaluationFolder
from benchmarks.fidelity_report import (
    NAMES,
    words_on_forced,
    words_on_frechet,
    words_on_fvd,
    words_on_lent_actions,
)
from benchmarks.fidelity_report import text as interval_text
from benchmarks.html_charts import Line, curves, scatter
from benchmarks.html_page import (
    Html,
    block,
    details,
    fill,
    join,
    paragraph,
    picture,
    section,
    table,
)
from benchmarks.one_figure import SIDES, Figure, digits_of
from benchmarks.shown_figures import counted, figures_of, seen_ends
from benchmarks.stability_words import length_rows, sentences, statistic_rows

BASELINES = ("repeat_last", "real_frames")
Curves = Mapping[str, Sequence[Mapping[str, Any]]]


def figures_table(figures: Sequence[Figure], caption: str) -> Html:
    """One row per figure, with its interval and n."""
    rows = [[f.title, f"{f.short} {f.unit}".strip(), f.ends, f.n] for f in figures]
    return table(["figure", "estimate", "95 % interval", "n"], rows, caption)


def fidelity_section(folder: EvaluationFolder, steps: str) -> Html:
    """Curves per horizon against the baselines, and objects."""
    document = folder.documents["fidelity"]
    results = folder.results("fidelity", steps)
    count = len(results["psnr"]["model"])
    n = [counted(document, results, h) for h in range(1, count + 1)]
    shown: list[Html] = []

    def add(part: Curves, title: str, unit: str = "", of: Sequence[str] = n) -> None:
        shown.append(curve_with_numbers(part, title, unit, of))

    add(results["psnr"], "PSNR of whole frames", "dB")
    add(results["psnr_gain_over"], "PSNR gained over", "dB")
    add(results["psnr_changed"], "PSNR of the pixels that changed", "dB")
    if "ssim" in results:
        shown.append(curve_with_numbers(results["ssim"], "SSIM", "", n, digits=3))
    forced = results.get("teacher_forced", {"why_not": ""})
    if "why_not" not in forced:
        add(forced["psnr"], "PSNR, teacher-forced and free-running", "dB")
        title = "SSIM, teacher-forced and free-running"
        shown.append(curve_with_numbers(forced["ssim"], title, "", n, digits=3))
    if "samples" in results:
        samples = results["samples"]
        of = [f"{samples['clips']} clips"] * count
        add(samples["psnr"], "PSNR of several futures of a clip", "dB", of)
        add(samples["energy_score"], "energy score, lower is better", "grey levels", of)
    if "lpips" in results:
        title = "LPIPS, lower is better"
        shown.append(curve_with_numbers(results["lpips"], title, "", n, digits=3))
    for name, part in results.get("small_things", {}).items():
        add(part["rmse_inside"], f"{name}: error inside", "grey levels")
        for what, title in (("recall", "recall"), ("precision", "precision"),
                            ("per_frame", "found per frame")):  # fmt: skip
            add({who: p[what] for who, p in part["presence"].items()}, f"{name}: {title}")
    for name, part in results["long_rollouts"]["objects"].items():
        shown.append(_by_step(name, part, results["long_rollouts"]))
    figures = figures_of(folder, "fidelity", steps)
    lent = words_on_lent_actions(results.get("counts", {}))
    return section(
        f"frames-{steps}",
        f"Frames and objects, {in_steps(steps)}",
        paragraph(
            "Held-out clips are imagined again from their real beginning under the actions that "
            "were really taken. Beside the model: itself under the actions of other clips, the "
            "last frame repeated, its own prediction blurred. Shades are 95 % intervals over "
            "episodes."
        ),
        fill('<div class="grid">$it</div>', it=join(shown)),
        paragraph(lent, "soft") if lent else "",
        paragraph(words_on_forced(forced), "soft") if "teacher_forced" in results else "",
        _frame_distance(results["frechet"]) if "frechet" in results else "",
        _video_distance(results["fvd"]) if "fvd" in results else "",
        details("The main figures", figures_table(figures, "95 % intervals over episodes")),
    )


def _frame_distance(found: Mapping[str, Any]) -> Html:
    if "why_not" in found:
        return paragraph(words_on_frechet(found))
    rows = [
        [steps, *(interval_text(d, 2) for d in row.values()), row["model"]["n"]]
        for steps, row in found["distance"].items()
    ]
    names = next(iter(found["distance"].values()))
    header = ["steps", *map(_label, names), "frames"]
    return block(
        table(header, rows, "Frechet distance to real frames"),
        paragraph(words_on_frechet(found), "soft"),
    )


def _video_distance(found: Mapping[str, Any]) -> Html:
    if "why_not" in found:
        return paragraph(f"No Frechet video distance (FVD): {found['why_not']}.")
    rows = [[_label(n), f"{d['estimate']:.1f}", d["n"]] for n, d in found["distance"].items()]
    return block(
        table(["", "distance", "clips"], rows, "Frechet video distance (FVD) to real clips"),
        paragraph(words_on_fvd(found), "soft"),
    )


def curve_with_numbers(
    part: Curves,
    title: str,
    unit: str,
    n: Sequence[str],
    y_range: tuple[float, float] | None = None,
    digits: int = 2,
) -> Html:
    """Curves by horizon, and the numbers behind them folded away."""
    lines = [
        Line(_label(name), list(enumerate(curve, 1)), name in BASELINES, name == BASELINES[1])
        for name, curve in part.items()
    ]
    rows = [
        [str(h + 1), *(interval_text(curve[h], digits) for curve in part.values()), n[h]]
        for h in range(len(n))
        # Steps that were not looked at, or that no clip knows.
        if any(curve[h]["estimate"] is not None for curve in part.values())
    ]
    header = ["step", *map(_label, part), "n"]
    chart = curves(lines, title, "steps imagined", unit, y_range)
    return block(chart, details("Numbers", table(header, rows, f"{title}, 95 % intervals")))


def ranking_section(folder: EvaluationFolder, steps: str) -> Html:
    """Real against imagined returns of every policy."""
    results = folder.results("ranking", steps)
    policies = results["policies"]
    points = [
        (name, side["real"]["mean_return"], side["imagined"]["mean_return"])
        for name, side in policies.items()
    ]
    rows = []
    played = [side[where]["mean_return"] for side in policies.values() for where in SIDES]
    digits = digits_of(*played)
    for name, side in policies.items():
        row = [name]
        for where in SIDES:
            part = side[where]
            row += [interval_text(part["mean_return"], digits), f"{part['mean_length']:.0f}",
                    str(part["episodes"])]  # fmt: skip
        rows.append(row)
    header = ["policy", "real return", "steps", "n", "imagined return", "steps", "n"]
    return section(
        f"ranking-{steps}",
        f"Policies, {in_steps(steps)}",
        paragraph(
            "The same policies play the real and the imagined game. A world that ranks them "
            "alike can be trained in; on the dashed line the returns are equal as well."
        ),
        scatter(points, "Mean return of each policy", "in the real game", "in the imagined one"),
        table(header, rows, "Mean returns with 95 % intervals over episodes"),
        figures_table(figures_of(folder, "ranking", steps), "Agreement"),
    )


def stability_section(folder: EvaluationFolder, steps: str) -> Html:
    """One very long episode."""
    results = folder.results("stability", steps)
    rows, lengths = statistic_rows(results), length_rows(results.get("by_length", []))
    length, mark = f"{results['steps']:,}", f"-{steps}" if steps else ""
    pictures = [
        picture(folder.path / name, alt, alt, kind)
        for name, alt, kind in (
            (f"stability{mark}.png", "Statistics of frames and memory over the episode", "plot"),
            (f"stability-frames{mark}.png", "Frames, further and further apart", "strip"),
        )
        if (folder.path / name).is_file()
    ]
    return section(
        f"stability{mark}",
        f"One episode of {length} steps" + (f", {in_steps(steps)}" if steps else ""),
        paragraph(
            "Ends are switched off and random actions held for a while. One episode, so no "
            "interval."
        ),
        *(paragraph(sentence) for sentence in sentences(results)),
        table(
            [
                "of a frame",
                "99 % of training",
                "first tenth",
                "last tenth",
                "in that range",
                "left for good",
            ],
            rows,
            f"n = {length} frames",
        ),
        table(
            ["steps", "frames/s", "in the range of training", "Frechet distance"],
            lengths,
            "By length",
        )
        if lengths
        else "",
        figures_table(figures_of(folder, "stability", steps), "Figures"),
        *pictures,
    )


def outcomes_section(folder: EvaluationFolder, steps: str) -> Html:
    """Ends of episodes on imagined and on real frames, and every figure of rewards and ends."""
    results = folder.results("outcomes", steps)
    ends = seen_ends(folder.documents["outcomes"], results)
    shown = [_reliability(ends)] if ends else []
    if "why_not" in results:
        shown.append(paragraph(f"{str(results['why_not']).capitalize()}."))
    figures = figures_of(folder, "outcomes", steps)
    return section(
        f"outcomes-{steps}",
        f"Rewards and ends, {in_steps(steps)}",
        fill('<div class="grid">$it</div>', it=join(shown)),
        details("All figures", figures_table(figures, "95 % intervals over episodes")),
    )


def other_section(folder: EvaluationFolder, part: str) -> Html:
    """Every interval of a document of another kind."""
    tables = []
    for steps in folder.steps(part):
        figures = figures_of(folder, part, steps or None)
        tables.append(figures_table(figures, f"{steps} sampling steps" if steps else "Figures"))
    images = sorted(folder.path.glob(f"{part}*.png"))
    shown = [picture(path, f"Plot of {part}: {path.stem}", path.stem, "plot") for path in images]
    return section(part, part.replace("-", " ").capitalize(), *tables, *shown)


def _by_step(name: str, part: Mapping[str, Any], long: Mapping[str, Any]) -> Html:
    lines = [
        Line(
            who,
            [(h, {"estimate": v}) for h, v in enumerate(part["by_step"][who], 1)],
            who == "real",
        )
        for who in ("imagined", "real")
    ]
    n = f"{long['rollouts']} episodes, {long['frames']} frames"
    rows = [[who, interval_text(part[who], 2), n] for who in ("imagined", "real", "ratio")]
    title = f"{name}s a frame, long rollouts"
    return block(
        curves(lines, title, "steps imagined"),
        details("Numbers", table(["", "mean over all steps", "n"], rows, title)),
    )


def _reliability(ends: Mapping[str, Any]) -> Html:
    lines, rows, top = [], [], 1e-3
    for where, part in ends.items():
        points = [(b["predicted"], {"estimate": b["observed"]}) for b in part["bins"]]
        top = max([top, *(x for x, _ in points)])
        lines.append(Line(f"on {_label(where)}", points))
        rows.append(
            [
                _label(where),
                str(part["ends"]),
                f"{part['expected_ends']:.1f}",
                interval_text(part["ratio"], 2),
                *(
                    interval_text(part["scores"][key], digits)
                    for key, digits in (("brier", 4), ("brier_base", 4), ("ece", 4), ("auroc", 2))
                ),
                f"{part['steps']} steps",
            ]
        )
    ideal = Line("as it should be", [(0.0, {"estimate": 0.0}), (top, {"estimate": top})], True)
    header = ["frames", "ends", "expected", "expected / real", "Brier", "of the base rate", "ECE",
              "AUROC", "n"]  # fmt: skip
    title = "Chance that a step ends the episode"
    return block(
        curves([*lines, ideal], title, "predicted", "happened"),
        details("Numbers", table(header, rows, title)),
    )


def in_steps(steps: str) -> str:
    """``in 4 sampling steps``."""
    return f"in {steps} sampling step{'s' if steps != '1' else ''}"


def _label(name: str) -> str:
    return NAMES.get(name, name.replace("_", " "))
