"""Each fault is named, and nothing that the interval leaves open is."""

import pytest

from benchmarks.evaluation_folder import EvaluationFolder, read_folder
from benchmarks.findings import findings
from benchmarks.frame_findings import of_frames
from tests.benchmarks import evaluations as made


def verdicts(**documents):
    folder = EvaluationFolder(
        None,
        {kind: {"world": "toy@1#0", "settings": {}, "results": results}
         for kind, results in documents.items()},
    )  # fmt: skip
    return [(finding.verdict, finding.sentence) for finding in findings(folder)]


def only(verdict, found):
    return " ".join(sentence for kind, sentence in found if kind == verdict)


def test_a_good_world_has_no_fault():
    found = verdicts(
        fidelity=made.fidelity(accumulated=0.2), outcomes=made.outcomes(), ranking=made.ranking(),
        stability=made.stability(), controllability=made.control(), probes=made.probes(),
        uncertainty=made.uncertainty(), lift=made.lift(),
        exploitation=made.exploitation(narrower=0.3),
    )  # fmt: skip
    assert {verdict for verdict, _ in found} == {"good"}
    assert len(found) == 19


@pytest.mark.parametrize(
    ("documents", "sentence"),
    [
        ({"fidelity": made.fidelity(gain=-2)}, r"further from what really happened"),
        ({"fidelity": made.fidelity(balls=2.5)}, "too many balls, 2.50 [2.40, 2.60] times"),
        ({"fidelity": made.fidelity(balls=0.5)}, "too few balls, 0.50 [0.40, 0.60] times"),
        ({"fidelity": made.fidelity(recall=0.1)}, "few balls are where they really were"),
        ({"outcomes": made.outcomes(ends=0.3)}, "too forgiving: it expects 0.30 [0.20, 0.40]"),
        ({"outcomes": made.outcomes(ends=3)}, "too deadly"),
        ({"outcomes": made.outcomes(brier=0.2)}, "(Brier score 0.2000 [0.1000, 0.3000], base rate"),
        (
            {"outcomes": made.outcomes(rewarded=0.1)},
            "few of the rewards are told that what was done really brought: 0.10 [0.05, 0.15] of "
            "the 20 rare ones (other than 0)",
        ),
        ({"controllability": made.control(of_ceiling=0.4)}, "less well than off real ones: 0.40"),
        ({"controllability": made.control(share=0.3)}, "less than other noise does (share 0.30"),
        (
            {"controllability": made.control(unseen=-1)},
            "looks more like what it imagined under o",
        ),
        (
            {"probes": made.probes(saved=-1)},
            "show the true place worse than the last state held: after 4 steps they are "
            "2.00 [1.90, 2.10] degrees off, real frames 1.00 [0.90, 1.10], the last",
        ),
        ({"ranking": made.ranking(spearman=-0.8)}, "does not rank policies"),
        ({"ranking": made.ranking(factor=3)}, "returns are too high, 3.00"),
        ({"ranking": made.ranking(factor=0.3)}, "returns are too low, 0.30"),
        (
            {"lift": made.lift(real=15)},
            "Agents trained in it earn less in the real game than the best blind policy (sweep), "
            "by 5.00 [1.00, 9.00] (15.0 [11.0, 19.0] against 20.0 [16.0, 24.0])",
        ),
        ({"lift": made.lift(real=15)}, "earn less in the real game than PPO on 1,000 real steps"),
        (
            {"exploitation": made.exploitation(gap=2, chance=2)},
            "It overpays agents: the imagined return of bundled-5 is off from the real one by 20.0 "
            "[19.0, 21.0], 2.00 [1.90, 2.10] of what skill is worth there (2 of 2 ways to train)",
        ),
        ({"exploitation": made.exploitation(gap=-2)}, "It underpays agents: the imagined return"),
        (
            {"exploitation": made.exploitation(gap=2)},
            "Training exploits it: the gap of bundled-50 exceeds that of chance by 2.00 [1.90, "
            "2.10] of what skill is worth in the real game (1 of 2 ways to train)",
        ),
        ({"exploitation": made.exploitation(narrower=-0.5)}, "in training widens the gap"),
        ({"uncertainty": made.uncertainty(0.6)}, "hardly tells its worst frames: AUROC 0.60 [0.5"),
        ({"stability": made.stability(share=0.5)}, "do not stay like those of training"),
    ],
)
def test_each_fault_is_named(documents, sentence):
    assert sentence in only("bad", verdicts(**documents))
    # And few others with it.
    assert [verdict for verdict, _ in verdicts(**documents)].count("bad") <= 2


def test_what_the_interval_leaves_open_is_open():
    results = made.fidelity(gain=0.05)
    assert "cannot be told" in only("open", verdicts(fidelity=results))
    results["psnr_gain_over"]["repeat_last"][:2] = [made.interval(1.0), made.interval(2.0)]
    assert "at some steps only (steps 1 to 2;" in only("open", verdicts(fidelity=results))
    ranking = made.ranking()
    ranking["over_policies"]["spearman"] = made.interval(0.5, 0.3)
    assert "is open: Spearman" in only("open", verdicts(ranking=ranking))
    assert "its worst frames is open" in only("open", verdicts(uncertainty=made.uncertainty(0.7)))
    unsure = verdicts(lift=made.lift(real=22))
    assert "Whether agents trained in it beat the best blind policy" in only("open", unsure)
    assert "beat chance (uniform) in the real game, by 12.0 [8.00, 16.0]" in only("good", unsure)
    unsure = verdicts(exploitation=made.exploitation(gap=1, width=1.5, narrower=0.5))
    assert [verdict for verdict, _ in unsure] == ["open"] * 3
    assert "is not shown to change the gap: by 0.50 [-1.00, 2.00]" in only("open", unsure)


def test_few_episodes_prove_nothing():
    found = verdicts(fidelity=made.fidelity(balls=2.5, episodes=2))
    assert {verdict for verdict, _ in found} == {"open"}
    assert "too many balls" in only("open", found)
    assert "Too few episodes (2)" in only("open", found)
    ranking = made.ranking(factor=3)
    for sides in ranking["policies"].values():
        sides["real"]["episodes"] = 2
    assert {verdict for verdict, _ in verdicts(ranking=ranking)} == {"open"}
    few = verdicts(lift=made.lift(episodes=9), exploitation=made.exploitation(gap=2, episodes=9))
    assert {verdict for verdict, _ in few} == {"open"}
    assert all("Too few episodes (9)" in sentence for _, sentence in few)


def test_a_gap_without_a_unit_is_a_gap():
    """Where nobody beats chance, returns alone say that agents are paid too much."""
    results = made.exploitation(gap=2)
    for part in (*results["groups"].values(), *results["blind"].values()):
        part["gap_share"] = part["beyond_random"] = None
    (found,) = verdicts(exploitation=results)
    assert found[0] == "bad"
    assert "is off from the real one by 20.0 [19.0, 21.0] (1 of 2 ways" in found[1]


def test_a_world_without_an_uncertainty_is_not_judged_by_it():
    assert verdicts(uncertainty={"why_not": "it reports none"}) == []


def test_few_policies_prove_nothing():
    """A right order of four may be luck."""
    ranking = made.ranking()
    del ranking["policies"]["hold"]
    found = verdicts(ranking=ranking)
    assert {verdict for verdict, _ in found} == {"open"}
    assert "Spearman 0.90 [0.85, 0.95] of 4 policies. Too few policies (4)" in only("open", found)


def test_rankings_of_earlier_releases_are_judged_by_their_returns():
    """They hold no interval over policies, which is made anew."""
    ranking = made.ranking(spearman=-0.8, factor=3)
    del ranking["over_policies"], ranking["over_episodes"]
    found = verdicts(ranking=ranking)
    assert "ranks policies as the real game does: Spearman 1.00 [1.00, 1.00]" in only("good", found)
    assert "too high, 3.0" in only("bad", found)


def test_blur_that_would_help_is_a_fault():
    results = made.fidelity()
    results["psnr_gain_over"]["blurred"] = [*made.curve(1.0)[:2], *made.curve(-1.0)[:2]]
    assert "from step 3 on (by 1.00 [0.90, 1.10] dB at step 4)" in only(
        "bad", verdicts(fidelity=results)
    )


@pytest.mark.parametrize(
    ("share", "verdict", "words"), [(0.9, "good", "most"), (0.5, "open", "about half")]
)
def test_rewards_that_are_told(share, verdict, words):
    found = only(verdict, verdicts(outcomes=made.outcomes(rewarded=share)))
    assert f"On its frames {words} of the rewards are told" in found


def test_ends_that_are_not_there_are_not_judged():
    results = made.outcomes()
    results["termination"].update(ends=0, ratio=made.interval(1.0))
    assert "not put to the test" in only("open", verdicts(outcomes=results))
    assert verdicts(outcomes={"why_not": "the world has no outcome model"}) == []


def test_another_best_policy_and_broken_numbers():
    ranking, stability = made.ranking(), made.stability()
    ranking["best"]["imagined"] = "noop"
    stability["bad_numbers"] = 3
    stability["memory_mb"]["growth_per_1000_steps"] = 40.0
    bad = only("bad", verdicts(ranking=ranking, stability=stability))
    assert "noop, in the real game sweep" in bad
    assert "3 checks" in bad
    assert "Memory" not in bad  # 1,000 steps: still loading
    stability["steps"] = 2000
    bad = only("bad", verdicts(stability=stability))
    assert "Memory grows by 40.0 MB" in bad


def test_what_no_probe_can_tell_is_open():
    """Where real frames read no better than the last state held, nor can imagined ones."""
    found = verdicts(probes=made.probes(saved=-1, told=-0.5))
    assert found[0][0] == "open"
    assert "cannot be told, since of real frames the probes do no better" in found[0][1]
    assert verdicts(probes=made.probes(saved=0.01))[0][0] == "open"
    assert "Too few episodes (5)" in only("open", verdicts(probes=made.probes(episodes=5)))


def test_how_well_actions_are_read_may_be_open():
    found = verdicts(controllability=made.control(of_ceiling=0.8, share=0.5, unseen=0.01))
    assert [verdict for verdict, _ in found] == ["open", "open"]
    nothing = made.control()
    nothing["inverse_dynamics"] = {"why_not": "no choices"}
    nothing["counterfactual"] = {"why_not": "no game"}
    assert len(verdicts(controllability=nothing)) == 1
    older = made.control()
    del older["counterfactual"]
    assert len(verdicts(controllability=older)) == 2


@pytest.mark.parametrize(
    ("lost", "verdict", "words"),
    [
        (3.0, "open", "by 3.0 [2.9, 3.1] dB at step 4: errors that add up, or chance"),
        (0.2, "good", "Errors hardly add up"),
    ],
)
def test_errors_that_add_up(lost, verdict, words):
    frames = made.fidelity(accumulated=lost)
    found = [f for f in of_frames(frames) if words in f.sentence]
    assert [f.verdict for f in found] == [verdict]


def test_what_was_not_forced_is_not_judged():
    frames = made.fidelity()
    frames["teacher_forced"] = {"why_not": "one frame at a time"}
    assert not any("add up" in f.sentence for f in of_frames(frames))


def test_few_episodes_prove_nothing_whatever_else_was_measured(tmp_path):
    """Each part knows of how many episodes its own clips are."""

    def verdicts_of(**parts):
        for path in tmp_path.glob("*.json"):
            path.unlink()
        for kind, (results, settings) in parts.items():
            made.write(tmp_path, kind, results, **settings)
        return {finding.verdict for finding in findings(read_folder(tmp_path))}

    few, enough = {"clip_episodes": 9}, {"clip_episodes": 10}
    assert verdicts_of(outcomes=(made.outcomes(), few)) == {"open"}
    assert verdicts_of(outcomes=(made.outcomes(), enough)) - {"open"}
    assert verdicts_of(outcomes=(made.outcomes(), {})) - {"open"}  # of before it was told
    many = (made.fidelity(), {})
    assert verdicts_of(fidelity=many, outcomes=(made.outcomes(), few)) - {"open"}
    found = findings(read_folder(tmp_path))
    assert {f.verdict for f in found if "Too few episodes (9)" in f.sentence} == {"open"}


def test_few_long_rollouts_weigh_on_counts_of_objects_alone(tmp_path):
    results = made.fidelity(balls=2.5)
    results["long_rollouts"]["rollouts"] = 2
    made.write(tmp_path, "fidelity", results)
    few = [f.sentence for f in findings(read_folder(tmp_path)) if "Too few episodes" in f.sentence]
    assert few
    assert all("ball" in sentence for sentence in few)
