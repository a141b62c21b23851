import json
import re
from html.parser import HTMLParser

import pytest

from benchmarks import evaluate, fidelity_report
from benchmarks.evaluation_folder import command_of, find_evaluation, read_folder
from benchmarks.report import headlines, render_report, write_report
from tests.benchmarks import evaluations as made
from tests.benchmarks import sliding
from world_model.errors import DataError, NFDError

VOID = {"meta", "img", "br", "polygon", "polyline", "path", "circle", "line", "link", "input"}


class Page(HTMLParser):
    """Elements of a page; complains about those that are not closed in order."""

    def __init__(self, content):
        super().__init__()
        self.open, self.elements, self.text = [], [], []
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture
def folder(tmp_path):
    return made.write_all(tmp_path)


def test_the_page_is_whole_and_needs_nothing_else(folder):
    content = write_report(folder).read_text()
    page = Page(content)
    assert "script" not in {tag for tag, _ in page.elements}
    sources = [a[k] for _, a in page.elements for k in ("src", "href") if k in a]
    assert len(sources) == 6  # a film and a strip of each of three clips
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(r"https?://|@import|url\(", content)
    assert "prefers-color-scheme:dark" in content
    assert [a["name"] for a in page.all("meta") if "name" in a] == ["viewport"]


def test_everybody_can_read_it(folder):
    page = Page(render_report(read_folder(folder)))
    assert all(a["alt"] for a in page.all("img"))
    assert all(a["aria-label"] for a in page.all("video"))
    assert all(a.get("aria-label") or a.get("aria-hidden") for a in page.all("svg"))
    assert {a["scope"] for a in page.all("th")} == {"col", "row"}
    assert page.all("html") == [{"lang": "en"}]


def test_a_minute_tells_what_matters(folder):
    page = Page(render_report(read_folder(folder)))
    top = page.words.split("Frames and objects")[0]
    assert "toy@1" in top
    assert "abc" in top
    assert "CPUs" in top
    assert "40 clips of 20 episodes" in top
    assert "What it gets right" in top
    assert "Spearman 0.90 [0.85, 0.95]" in top
    keys = [figure.key for figure in headlines(read_folder(folder))]
    assert keys == ["gain.repeat_last@4", "gain.shuffled_actions@4", "count.ball",
                    "ends.imagined", "spearman", "returns", "usual.change"]  # fmt: skip


def test_every_curve_has_its_numbers(folder):
    page = Page(render_report(read_folder(folder)))
    assert page.words.count("PSNR of whole frames") >= 2  # the chart and the table
    assert "30.00 [29.90, 30.10]" in page.words
    assert sum(a.get("role") == "img" for a in page.all("svg")) == 15
    assert "SSIM, 95 % intervals" in page.words
    assert "0.750 [0.740, 0.760]" in page.words
    forced = page.words.split("PSNR, teacher-forced and free-running, 95 % intervals")[1]
    row = "33.00 [32.90, 33.10] 30.00 [29.90, 30.10] 40 clips of 20 episodes"
    assert f"1 {row} 2 {row} 4 {row}" in forced  # step 3 was not looked at
    assert "are errors that accumulated" in page.words
    assert "Frechet distance to real frames steps model real halves frames 1-4 1.25 0.50 160" in (
        page.words
    )
    assert "(0123456789ab): compare" in page.words


def test_results_of_earlier_releases_have_a_page_too(tmp_path):
    made.write(tmp_path, "fidelity", made.older(made.fidelity()))
    page = Page(render_report(read_folder(tmp_path)))
    assert "PSNR of whole frames" in page.words
    assert "SSIM" not in page.words
    assert "eacher-forced" not in page.words
    assert "Frechet" not in page.words
    tables = fidelity_report.tables(made.older(made.fidelity()), "title")
    fidelity_report.plot(made.older(made.fidelity()), tmp_path / "plot.png")
    assert len(tables) == 3  # frames, the ball, how many there are


def test_how_to_repeat_it(folder):
    words = Page(render_report(read_folder(folder))).words
    assert "nfd evaluate toy@1 --clips 40 --horizon 4" in words
    assert "nfd evaluate toy@1 --measure ranking How ranking was" in words
    assert "benchmarks/PROTOCOL.md" in words
    assert "torch" in words
    assert command_of(
        {"kind": "benchmark/fidelity", "world": "a b@1#0",
         "settings": {"steps": [1, 2], "pictures": False, "batch": 32, "context": 4}}
    ) == "nfd evaluate 'a b@1' --steps 1 2 --no-pictures"  # fmt: skip


def test_what_was_not_measured_is_named_with_the_command(tmp_path):
    made.write(tmp_path, "fidelity", made.fidelity())
    words = Page(render_report(read_folder(tmp_path), {"ranking": "no <real> game"})).words
    assert "nfd evaluate toy@1 --measure ranking (it was tried: no <real> game)" in words
    assert "nfd evaluate toy@1 --measure stability" in words


def test_text_from_documents_is_escaped(tmp_path):
    evil = "<script>alert('x')</script>"
    results = made.fidelity()
    results["long_rollouts"]["objects"][evil] = results["long_rollouts"]["objects"].pop("ball")
    results["small_things"][evil] = results["small_things"].pop("ball")
    results["psnr"][evil] = made.curve(20)
    made.write(tmp_path, "fidelity", results, world=f"{evil}@1#{evil}", note=evil)
    policies = made.ranking()
    policies["policies"][evil] = policies["policies"].pop("noop")
    made.write(tmp_path, "ranking", policies)
    content = render_report(read_folder(tmp_path), {"stability": evil})
    assert "<script" not in content.lower()
    assert evil in Page(content).words


def test_documents_may_not_show_files_from_elsewhere(tmp_path):
    secret = made.picture(tmp_path / "secret.png")
    out = tmp_path / "out"
    made.write_all(out)
    document = json.loads((out / "fidelity.json").read_text())
    clip = document["results"]["by_steps"]["1"]["pictures"]["clips"][0]
    clip["strip"] = f"../{secret.name}"
    (out / "fidelity.json").write_text(json.dumps(document))
    page = Page(render_report(read_folder(out)))
    assert len(page.all("img")) == 2
    assert "secret.png is not in the folder" in page.words


def test_documents_of_different_worlds_are_pointed_out(folder):
    made.change(folder / "stability.json", world="toy@2#def")
    words = Page(render_report(read_folder(folder))).words
    assert "stability was measured on another world, toy@2#def" in words


def test_a_document_of_an_unknown_kind_is_shown_all_the_same(folder):
    results = {"a_part": {"of_it": made.interval(0.25, 0.05)}, "curve": made.curve(3.0)}
    made.write(folder, "loading", results)
    words = Page(render_report(read_folder(folder))).words
    assert "loading.a part.of it 0.25 [0.20, 0.30]" in words
    assert "loading.curve, step 4 3.00 [2.90, 3.10]" in words


def test_the_numbers_of_steps_stand_side_by_side(tmp_path):
    results = {"1": made.fidelity(psnr=20), "2": made.fidelity(psnr=30)}
    made.write(tmp_path, "fidelity", results, own_steps=1)
    folder = read_folder(tmp_path)
    assert folder.own_steps("fidelity") == "1"
    words = Page(render_report(folder)).words
    assert words.index("in 1 sampling step ") < words.index("in 2 sampling steps ")


def test_no_results(tmp_path):
    with pytest.raises(DataError, match="no results"):
        read_folder(tmp_path)
    (tmp_path / "fidelity.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        read_folder(tmp_path)
    (tmp_path / "fidelity.json").write_text('{"kind": "benchmark/fidelity"}')
    with pytest.raises(DataError, match="lack"):
        read_folder(tmp_path)


def test_evaluations_are_found_by_folder_or_world(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_evaluation(str(folder)).world == "toy@1#abc"
    with pytest.raises(DataError, match="Measure it first: nfd evaluate doom-take-cover"):
        find_evaluation("doom-take-cover")
    with pytest.raises(DataError, match="neither a folder of results nor a world"):
        find_evaluation("no-such-thing")
    made.write_all(tmp_path / "runs" / "evaluate-doom-take-cover", "doom-take-cover@1#0")
    assert find_evaluation("doom-take-cover").world == "doom-take-cover@1#0"


@pytest.mark.slow
def test_the_command_leaves_a_page(tmp_path, capsys):
    data = sliding.make_dataset(tmp_path / "data", 60)
    arguments = ["tests.benchmarks.sliding:SlidingWorld", "--data", str(data), "--out",
                 str(tmp_path / "out"), "--clips", "8", "--horizon", "4", "--samples", "2",
                 "--sampled-clips", "2", "--rollouts", "2", "--rollout-steps", "6"]  # fmt: skip
    # The sliding game cannot be played for real: the rest is measured, and the page says why.
    assert evaluate.main([*arguments, "--measure", "fidelity", "ranking"]) == 1
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert "it was tried" in page.words
    assert "The best clip" in page.words
    assert "holding stay, right, left" in page.words
    assert len(page.all("video")) == 1 + 3 + 3
    (tmp_path / "out" / "report.html").unlink()
    assert evaluate.main([*arguments, "--report"]) == 0
    assert (tmp_path / "out" / "report.html").is_file()
    with pytest.raises(NFDError):
        evaluate.main([*arguments, "--measure", "ranking"])


def test_actions_and_what_is_true_have_sections(folder):
    made.write(folder, "controllability", made.control())
    made.write(folder, "probes", made.probes())
    page = Page(render_report(read_folder(folder)))
    assert "0.95 [0.90, 1.00] of the way from floor to ceiling" in page.words
    assert "left | right 9.0 [8.9, 9.1] 40" in page.words
    assert "place 0.90 [0.80, 1.00] 0.90 [0.80, 1.00] degrees 100" in page.words
    assert "luck: probes cannot read it off real frames: R2 0.01, below 0.3." in page.words
    labels = [a["aria-label"] for a in page.all("svg") if "aria-label" in a]
    for title in ("PSNR gained by true actions", "reading 'action' off frames: macro F1",
                  "how far futures part", "share of actions in that",
                  "counterfactual PSNR of what changes", "counterfactual gain",
                  "how far counterfactual futures part",
                  "effects of actions, imagined against real",
                  "place: mean absolute error, degrees", "place: R2"):  # fmt: skip
        assert sum(label.startswith(f"{title}:") for label in labels) == 1
    reading = next(label for label in labels if label.startswith("reading"))
    assert "imagined 0.7 at 1, 0.7 at 4; real frames (ceiling) 0.75" in reading


def test_what_agents_earn_is_told_at_the_top(folder):
    made.write(folder, "lift", made.lift())
    made.write(folder, "exploitation", made.exploitation(gap=2))
    assert "lead.blind" in [figure.key for figure in headlines(read_folder(folder))]
    top = Page(render_report(read_folder(folder))).words.split("Frames and objects")[0]
    assert "real return above the best blind policy (sweep) 30.0" in top
    assert "Agents trained in it beat the best blind policy (sweep)" in top
    assert "Training exploits it" in top


def test_what_cannot_be_teacher_forced_or_seen_says_why(tmp_path):
    results = made.fidelity()
    results["frechet"] = {"why_not": "the world has no <eye>"}
    results["teacher_forced"] = {"why_not": "it begins <nowhere> else"}
    made.write(tmp_path, "fidelity", results)
    words = Page(render_report(read_folder(tmp_path))).words
    assert "Not teacher-forced: it begins <nowhere> else." in words
    assert "No Frechet distance of frames: the world has no <eye>." in words
    frames, distances = fidelity_report.tables(results, "title")[:2]
    assert distances.caption == "No Frechet distance of frames: the world has no <eye>."
    assert "Not teacher-forced: it begins <nowhere> else." in frames.caption


def test_what_was_not_read_says_why(tmp_path):
    results = made.control()
    results["inverse_dynamics"] = {"why_not": "no part is a choice"}
    results["divergence"]["pairs"] = {}
    results["counterfactual"] = {"why_not": "the recordings hold no seeds"}
    made.write(tmp_path, "controllability", results)
    made.write(tmp_path, "probes", {"why_not": "the recordings hold no state", "not_read": {}})
    words = Page(render_report(read_folder(tmp_path))).words
    assert "Nothing was read off frames: no part is a choice." in words
    assert "No counterfactuals: the recordings hold no seeds." in words
    assert "Nothing was measured: the recordings hold no state." in words
