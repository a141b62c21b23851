import json
import re
from dataclasses import replace
from typing import get_args

import pytest
from rich.console import Console

from benchmarks import comparison_page, evaluate
from benchmarks.comparison import side_by_side, surely_best
from benchmarks.evaluate_options import Part
from benchmarks.evaluation_folder import read_folder
from benchmarks.one_figure import Figure
from benchmarks.parts import PARTS
from benchmarks.protocols import check_same, protocol_of
from tests.benchmarks import evaluations as made
from tests.benchmarks.test_report import Page
from world_model.errors import DataError


def two(tmp_path, first, second, kind="fidelity", **settings):
    made.write(tmp_path / "a", kind, first, "good@1#0")
    made.write(tmp_path / "b", kind, second, "bad@1#1", **settings)
    return [read_folder(tmp_path / name) for name in "ab"]


def figure(low, high):
    return Figure("k", "t", "", {"estimate": None if low is None else (low + high) / 2,
                                 "low": low, "high": high}, "n")  # fmt: skip


@pytest.mark.parametrize(
    ("intervals", "better", "best"),
    [
        ([(1, 2), (3, 4)], "higher", 1),
        ([(1, 2), (3, 4)], "lower", 0),
        ([(1, 2), (3, 4)], "", None),
        ([(1, 3), (2, 4)], "higher", None),  # overlap
        ([(1, 2), (2, 3)], "higher", None),  # touch
        ([(1, 2), (5, 6), (5.5, 7)], "higher", None),  # the first is surely not, which is no matter
        ([(1, 2), (1, 3), (5, 6)], "higher", 2),
        ([(0.9, 1.1), (1.5, 2)], "one", 0),
        ([(-1.1, -0.9), (-0.5, 0.2)], "zero", 1),
        ([(-1.1, -0.9), (0.9, 1.2)], "zero", None),
        ([(0.5, 0.7), (1.5, 1.7)], "one", None),  # one below, one above: no nearer
        ([(1, 2)], "higher", None),
        ([(1, 2), (None, None)], "higher", None),
    ],
)
def test_best_is_only_who_surely_is(intervals, better, best):
    assert surely_best([figure(*ends) for ends in intervals], better) == best


def test_a_world_that_was_not_measured_does_not_stand_in_the_way():
    assert surely_best([figure(1, 2), None, figure(3, 4)], "higher") == 2


def test_worlds_side_by_side(tmp_path):
    better, worse = made.fidelity(psnr=30), made.fidelity(psnr=20)
    names, rows = side_by_side(two(tmp_path, better, worse))["fidelity"]
    assert names == ["good@1#0, 1 step", "bad@1#1, 1 step"]
    by_title = {row.title: row for row in rows}
    psnr = by_title["PSNR, step 4, dB"]
    assert [f.interval["estimate"] for f in psnr.figures] == [30, 20]
    assert psnr.best == 0
    assert by_title["energy score, step 4, grey levels"].best is None  # equal
    ssim = by_title["SSIM, step 4"]
    assert [f.interval["estimate"] for f in ssim.figures] == [0.75, 0.5]
    assert ssim.best == 0
    better, worse = made.outcomes(), made.outcomes(ends=1.05)
    _, rows = side_by_side(two(tmp_path / "ends", better, worse, "outcomes"))["outcomes"]
    by_title = {row.title: row for row in rows}
    ends = "ends of episodes expected on imagined frames, as a multiple of the real ones"
    assert by_title[ends].best is None  # 1 and 1.05: overlap


def test_agents_side_by_side(tmp_path):
    _, rows = side_by_side(two(tmp_path, made.lift(), made.lift(real=40), "lift"))["lift"]
    lead = next(row for row in rows if "above the best blind policy" in row.title)
    assert [figure.interval["estimate"] for figure in lead.figures] == [30, 20]
    assert lead.best == 0
    folders = two(tmp_path / "gap", made.exploitation(gap=2), made.exploitation(), "exploitation")
    _, rows = side_by_side(folders)["exploitation"]
    by_title = {row.title: row for row in rows}
    assert by_title["bundled-50: imagined minus real return"].best == 1
    # Each evaluation has a scale of its own: shares are no contest.
    assert by_title["bundled-50: the same, beyond that of chance"].best is None


def test_what_an_earlier_release_did_not_measure_is_left_open(tmp_path):
    _, rows = side_by_side(two(tmp_path, made.fidelity(), made.older(made.fidelity())))["fidelity"]
    by_title = {row.title: row for row in rows}
    assert by_title["SSIM, step 4"].figures[1] is None
    assert by_title["SSIM, step 4"].best is None
    assert by_title["PSNR of one step from real frames, step 4, dB"].figures[1] is None
    assert None not in by_title["PSNR, step 4, dB"].figures


def test_distances_by_other_weights_are_not_put_side_by_side(tmp_path):
    other = made.fidelity()
    other["frechet"]["weights"] = "ba9876543210"
    _, rows = side_by_side(two(tmp_path, made.fidelity(), other))["fidelity"]
    seen = [row for row in rows if row.title.startswith("Frechet distance of frames")]
    assert [[f is None for f in row.figures] for row in seen] == [[False, True], [True, False]]
    _, rows = side_by_side(two(tmp_path / "same", made.fidelity(), made.fidelity()))["fidelity"]
    seen = [row for row in rows if row.title.startswith("Frechet distance of frames")]
    assert [[f is None for f in row.figures] for row in seen] == [[False, False]]


def test_numbers_of_steps_are_columns(tmp_path):
    first = {"1": made.fidelity(psnr=20), "2": made.fidelity(psnr=30)}
    names, rows = side_by_side(two(tmp_path, first, made.fidelity(psnr=10)))["fidelity"]
    assert names == ["good@1#0, 1 step", "good@1#0, 2 steps", "bad@1#1, 1 step"]
    assert rows[0].best == 1


def test_one_world_twice_is_told_apart_by_its_folder(tmp_path):
    folders = two(tmp_path, made.fidelity(), made.fidelity())
    names, _ = side_by_side([folders[0], replace(folders[0], path=tmp_path / "c")])["fidelity"]
    assert names == [f"good@1#0 ({tmp_path / name}), 1 step" for name in "ac"]


@pytest.mark.parametrize("setting", ["split", "seed", "clips", "horizon", "rollouts"])
def test_another_protocol_is_refused(tmp_path, setting):
    other = "train" if setting == "split" else 77
    folders = two(tmp_path, made.fidelity(), made.fidelity(), **{setting: other})
    with pytest.raises(DataError, match=rf"{setting}: \S+ and {other}\. Measure one"):
        side_by_side(folders)


def test_other_data_are_refused(tmp_path):
    folders = two(tmp_path, made.fidelity(), made.fidelity())
    made.change(
        tmp_path / "b" / "fidelity.json", data={"content_hash": "beef", "split": "validation"}
    )
    folders = [folders[0], read_folder(tmp_path / "b")]
    with pytest.raises(DataError, match="data set: d00d and beef"):
        side_by_side(folders)


def test_other_policies_are_refused(tmp_path):
    other = made.ranking()
    other["policies"]["left"] = other["policies"].pop("noop")
    with pytest.raises(DataError, match="policies:"):
        check_same("ranking", two(tmp_path, made.ranking(), other, "ranking"))


def test_sampler_device_and_batch_are_free(tmp_path):
    free = {"steps": [1], "sampler": "euler", "device": "cuda", "batch": 4, "own_steps": 3}
    assert side_by_side(two(tmp_path, made.fidelity(), made.fidelity(), **free))


MADE = {
    "fidelity": made.fidelity,
    "outcomes": made.outcomes,
    "controllability": made.control,
    "probes": made.probes,
    "uncertainty": made.uncertainty,
    "ranking": made.ranking,
    "lift": made.lift,
    "exploitation": made.exploitation,
    "stability": made.stability,
}
TRAINING = {"steps": 10, "seeds": [0, 1], "episodes": 12, "rollout": 32, "horizons": [5],
            "starts": ["bundled"], "max_uncertainty": None, "real_data": None}  # fmt: skip
DECIDES = {
    "samples": ["fidelity"],
    "rollout_steps": ["fidelity"],
    "sampled_clips": ["fidelity", "controllability"],
    "reader_steps": ["controllability"],
    "networks": ["controllability", "probes"],
    "probe_steps": ["probes"],
    "stable_steps": ["stability"],
    "first_seed": ["ranking"],
    "episodes": ["ranking"],
    "context": ["fidelity", "outcomes", "controllability", "probes", "uncertainty"],
    "training.seeds": ["lift", "exploitation"],
    "training.steps": ["lift", "exploitation"],
    "training.episodes": ["lift", "exploitation"],
    "training.rollout": ["lift", "exploitation"],
    "training.horizons": [],
    "training.starts": [],
    "training.max_uncertainty": [],
    "training.real_data": [],
    "precision": [],
    "agents": [],
    "pictures": [],
}


def test_every_part_says_what_decides_it():
    assert set(PARTS) == set(MADE) == set(get_args(Part))


@pytest.mark.parametrize("name", DECIDES)
def test_only_what_decides_a_part_must_be_equal(tmp_path, name):
    """In documents of all parts stand all settings; each is refused where it matters alone."""
    key, _, inner = name.partition(".")
    before = TRAINING if inner else "before"
    after = {**TRAINING, inner: 77} if inner else "after"
    for part, results in MADE.items():
        for place, value in (("a", before), ("b", after)):
            made.write(tmp_path / place, part, results(), f"{place}@1#0", **{key: value})
    folders = [read_folder(tmp_path / place) for place in "ab"]
    for part in MADE:
        if part in DECIDES[name]:
            with pytest.raises(DataError, match=rf"{re.escape(name)}: "):
                check_same(part, folders)
        else:
            check_same(part, folders)


def test_agents_of_another_game_or_origin_are_refused(tmp_path):
    """The same random actions would have earned the same in the same game."""
    for part, make in (("lift", made.lift), ("exploitation", made.exploitation)):
        other = make()
        everyone = other["groups"] if part == "lift" else other["blind"]
        chance = everyone["uniform"]["mean" if part == "lift" else "real"]
        chance["estimate"] += 1e-5
        check_same(part, two(tmp_path / part / "same", make(), other, part))
        chance["estimate"] += 1
        with pytest.raises(DataError, match="real return of chance: "):
            check_same(part, two(tmp_path / part / "other", make(), other, part))
    given = made.lift()
    given["of"] = "given"
    with pytest.raises(DataError, match="whose agents: imagination and given"):
        check_same("lift", two(tmp_path / "given", made.lift(), given, "lift"))
    more = made.exploitation()
    more["blind"]["left"] = more["blind"]["uniform"]
    with pytest.raises(DataError, match="policies:"):
        check_same("exploitation", two(tmp_path / "more", made.exploitation(), more,
                                       "exploitation"))  # fmt: skip


def test_ppo_on_other_numbers_of_real_steps_is_another_opponent(tmp_path):
    """Worlds that were learned from other amounts of data are compared by all else."""
    other = made.lift()
    other["training"]["real steps, as the world's data"]["steps"] = 2000
    _, rows = side_by_side(two(tmp_path, made.lift(), other, "lift"))["lift"]
    leads = [row for row in rows if row.title.startswith("real return above PPO")]
    assert [[figure is None for figure in row.figures] for row in leads] == [
        [False, True],
        [True, False],
    ]
    assert all(row.best is None for row in leads)


def test_another_precision_is_noted(tmp_path, monkeypatch, capsys):
    """No word is float32: earlier releases knew nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    folders = two(tmp_path, made.fidelity(), made.fidelity(), precision="float32")
    assert "Mind the precision" not in comparison_page.render(folders, side_by_side(folders))
    two(tmp_path, made.fidelity(), made.fidelity(), precision="bfloat16")
    assert evaluate.main(["--compare", "a", "b"]) == 0
    words = "Mind the precision of fidelity: float32 in a, bfloat16 in b."
    assert words in capsys.readouterr().out
    assert words in Page((tmp_path / "runs" / "comparison.html").read_text()).words


def test_nothing_in_common(tmp_path):
    made.write(tmp_path / "a", "fidelity", made.fidelity())
    made.write(tmp_path / "b", "ranking", made.ranking())
    folders = [read_folder(tmp_path / name) for name in "ab"]
    with pytest.raises(DataError, match="no part in common"):
        side_by_side(folders)
    with pytest.raises(DataError, match="two evaluations or more"):
        side_by_side(folders[:1])


def test_the_page(tmp_path):
    folders = two(tmp_path, made.fidelity(psnr=30), made.fidelity(psnr=20))
    made.write(tmp_path / "a", "stability", made.stability(), "good@1#0")
    folders[0] = read_folder(tmp_path / "a")
    content = comparison_page.render(folders, side_by_side(folders))
    page = Page(content)
    assert "good@1 beside bad@1" in page.words
    best = [attrs for attrs in page.all("td") if attrs.get("class") == "best"]
    assert (
        len(best) == 8
    )  # PSNR (also of one step), SSIM, and PSNR of what changed, each at steps 1 and 4
    assert "stability was measured in" in page.words
    assert "src=" not in content


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    two(tmp_path, made.fidelity(), made.fidelity(psnr=20))
    assert evaluate.main(["--compare", "a", "b"]) == 0
    assert "PSNR" in capsys.readouterr().out
    assert (tmp_path / "runs" / "comparison.html").is_file()
    assert evaluate.main(["--compare", "a", "b", "--out", "here"]) == 0
    assert (tmp_path / "here" / "comparison.html").is_file()


def test_names_are_no_markup(tmp_path):
    made.write(tmp_path / "a", "fidelity", made.fidelity(), "[bold]x<b>@1#0")
    made.write(tmp_path / "b", "fidelity", made.fidelity(), "y@1#0")
    folders = [read_folder(tmp_path / name) for name in "ab"]
    tables = side_by_side(folders)
    console = Console(width=200, record=True, quiet=True)
    with console.capture() as captured:
        console.print(comparison_page.terminal_table("fidelity", *tables["fidelity"]))
    assert json.dumps(captured.get())
    assert "<b>" not in comparison_page.render(folders, tables)


def test_probes_that_were_trained_for_longer_are_others(tmp_path):
    """But what other parts measured does not hang on it."""
    folders = []
    for name, steps in (("a", 10), ("b", 20)):
        made.write(tmp_path / name, "probes", made.probes(), f"{name}@1#0", probe_steps=steps)
        made.write(tmp_path / name, "outcomes", made.outcomes(), f"{name}@1#0", probe_steps=steps)
        folders.append(read_folder(tmp_path / name))
    assert protocol_of("outcomes", folders[0].documents["outcomes"]) == protocol_of(
        "outcomes", folders[1].documents["outcomes"]
    )
    one, other = (protocol_of("probes", folder.documents["probes"]) for folder in folders)
    assert {name for name in one if one[name] != other[name]} == {"probe_steps"}
