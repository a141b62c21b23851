"""The figures by which a person judges a world: shown at the top, put side by side, and in cards.

Every figure says what it is, of how many clips or episodes, its interval, and which way is better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks import decision_figures
from benchmarks.divergence import OVERALL
from benchmarks.evaluation_folder import EvaluationFolder, place_of
from benchmarks.fidelity_report import SHOWN
from benchmarks.one_figure import Better, Figure
from benchmarks.stability_words import batch_of, called, not_within


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
        "ranking": decision_figures.ranking,
        "lift": decision_figures.lift,
        "exploitation": decision_figures.exploitation,
        "stability": _stability,
    }
    if part in makers:
        return list(makers[part](folder.documents[part], results))
    return list(_any(part, results))


def fewest_episodes(folder: EvaluationFolder, part: str) -> int | None:
    """Of how many episodes the clips of ``part`` are at the last horizon; None if nobody knows.

    Documents of earlier releases do not say, but for those of fidelity, which had the same clips.
    """
    for known in (part, "fidelity"):
        counts = folder.results(known).get("counts", {})
        if "episodes" in counts:
            return int(counts["episodes"][-1])
        settings = folder.documents.get(known, {}).get("settings", {})
        if "clip_episodes" in settings:
            return int(settings["clip_episodes"])
    return None


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


TOLD_OF_OUTCOMES = {
    "outcomes.termination.ratio",
    "outcomes.reward.events.recall",
    "outcomes.reward.events.precision",
}
"""What is shown under names of its own."""


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
    for figure in _any("outcomes", results):
        if figure.key not in TOLD_OF_OUTCOMES:
            title = figure.title.removeprefix("outcomes.").replace(".", ", ")
            yield replace(figure, title=title)


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


def _stability(document: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[Figure]:
    n = f"{results['steps']:,} steps of one episode"
    for name, part in results["statistics"].items():
        share = 100 * part["share_in_usual_range"]
        title = f"frames whose {called(name)} is within the range of 99 % of training frames"
        yield _bare(f"usual.{name}", title, "%", share, n, "higher", 1)
    yield from _divergence(results, n)
    frozen = 100 * results["frozen_share"]
    yield _bare("frozen", "frames equal to the one before", "%", frozen, n, "", 1)
    bad = results["bad_numbers"]
    yield _bare("bad", "checks with NaN or infinity", "", bad, n, "lower", 0)
    growth = results["memory_mb"]["growth_per_1000_steps"]
    yield _bare("memory", "growth of memory per 1,000 steps", "MB", growth, n, "lower")
    yield from _determinism(results.get("determinism", {}))
    yield from _speed(results, place_of(document))


def _bare(key: str, title: str, unit: str, value: float | None, n: str, better: Better,
          digits: int = 2, **more: Any) -> Figure:  # fmt: skip
    """A figure that has no interval."""
    interval = {"estimate": value, "low": None, "high": None}
    return Figure(key, title, unit, interval, n, better, digits, **more)


def _divergence(results: Mapping[str, Any], n: str) -> Iterator[Figure]:
    """When frames left their usual range for good; nothing of results that did not ask."""
    if "divergence" not in results:
        return
    found = results["divergence"]
    for name, step in {OVERALL: found[OVERALL], **found["statistics"]}.items():
        frames = "frames" if name == OVERALL else f"the {called(name)} of frames"
        title = f"step from which {frames} had left the usual range for good"
        more = {"chosen": name == OVERALL, "otherwise": not_within(results)}
        yield _bare(f"diverged.{name}", title, "", step, n, "higher", 0, **more)


def _determinism(found: Mapping[str, Any]) -> Iterator[Figure]:
    """Of how many steps all is equal where they are played again; nothing where nobody asked."""
    for key, where in (("again", "again"), ("beside_others", "beside other streams")):
        part = found.get(key, {"why_not": "nobody asked"})
        if "why_not" in part:
            continue
        n = f"{found['steps']} steps"
        # Beside others a chance of the end may differ in its last digit: there the card has frames.
        for what, name, ours in (("steps", "equal_share", "again"),
                                 ("frames", "equal_frames", "beside_others")):  # fmt: skip
            title = f"{what} that are equal when played {where}, bit for bit"
            share, chosen = 100 * part[name], key == ours
            yield _bare(f"{name}.{key}", title, "%", share, n, "higher", 1, chosen=chosen)
        title = f"largest difference of a pixel when played {where}"
        apart, chosen = part["largest_difference"], key != "again"
        yield _bare(f"apart.{key}", title, "grey levels", apart, n, "lower", 0, chosen=chosen)


def _speed(results: Mapping[str, Any], machine: str) -> Iterator[Figure]:
    """Frames per second, alone and in a batch, as far as they were measured."""
    title = "frames per second, end to end"
    if (alone := results.get("frames_per_second")) is not None:
        n = f"{results['steps']:,} steps on {machine}"
        yield _bare("speed", f"{title}, of one stream", "", alone, n, "higher", 1)
    batch = results.get("throughput", {})
    if (together := batch.get("frames_per_second")) is not None:
        n = f"{batch['steps']} steps on {machine}"
        yield _bare(f"speed.{batch['streams']}", f"{title}, of {batch_of(batch)}", "", together, n,
                    "higher", 1)  # fmt: skip


def _decimals(interval: Mapping[str, Any]) -> int:
    """Two, or four where two would hide the whole interval."""
    ends = [abs(interval[name]) for name in ("estimate", "low", "high") if interval[name]]
    return 4 if ends and max(ends) < 0.1 else 2


def _any(place: str, value: Any) -> Iterator[Figure]:
    """Every interval of a document whose layout is not known here."""
    words = place.replace("_", " ")
    if isinstance(value, Mapping):
        if {"estimate", "low", "high"} <= set(value):
            n = str(value.get("n", "see the protocol"))
            yield Figure(place, words, "", value, n, digits=_decimals(value), chosen=False)
            return
        for key, part in value.items():
            yield from _any(f"{place}.{key}", part)
    elif isinstance(value, list) and all(isinstance(v, Mapping) and "estimate" in v for v in value):
        for h in sorted({h for h in (*SHOWN, len(value)) if h <= len(value)}):
            yield from _any(f"{place}, step {h}", value[h - 1])
