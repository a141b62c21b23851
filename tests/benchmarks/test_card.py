import pytest

from benchmarks import card, evaluate
from benchmarks.evaluation_folder import read_folder
from tests.benchmarks import evaluations as made
from tests.world_model.tiny import tiny_world
from world_model.errors import DataError
from world_model.world import World

CARD = "# toy\n\nMine.\n\n## How good it is\n\nVery.\n\n## Licences\n\nMIT.\n"


def between(text):
    return text.split(card.BEGIN)[1].split(card.END)[0]


def test_it_goes_where_a_reader_looks():
    text = card.filled(CARD, "block")
    assert text == CARD.replace("Very.\n", f"Very.\n\n{card.BEGIN}\n\nblock\n\n{card.END}\n")
    last = card.filled("# toy\n\n## How good it is\n\nVery.\n", "block")
    assert last.endswith(f"Very.\n\n{card.BEGIN}\n\nblock\n\n{card.END}\n")
    without = card.filled("# toy\n", "block")
    assert without == f"# toy\n\n## How good it is\n\n{card.BEGIN}\n\nblock\n\n{card.END}\n"


def test_the_rest_is_left_alone():
    once = card.filled(CARD, "first")
    twice = card.filled(once, "second")
    assert "first" not in twice
    assert twice == once.replace("first", "second")
    assert card.filled(twice, "second") == twice


@pytest.mark.parametrize(
    "text", [card.BEGIN, card.END, f"{card.END}\n{card.BEGIN}", 2 * f"{card.BEGIN}\n{card.END}\n"]
)
def test_broken_markers_are_refused(text):
    with pytest.raises(DataError, match="one of each"):
        card.filled(text, "block")


def test_what_was_measured(tmp_path):
    made.write_all(tmp_path)
    text = card.measured(read_folder(tmp_path))
    assert "* right: It ranks policies as the real game does: Spearman 0.90 [0.85, 0.95]" in text
    both = "rank correlation of policies (Spearman), over policies and episodes"
    alone = "rank correlation of policies (Spearman), these policies, over episodes alone"
    assert f"| {both} | 0.90 [0.85, 0.95] | 5 policies, 12 episodes of each in" in text
    assert f"| {alone} | 0.90 [0.88, 0.92] |" in text
    assert "| PSNR, step 4, dB | 30.0 [29.9, 30.1] | 40 clips of 20 episodes |" in text
    assert "| SSIM, step 4 | 0.750 [0.740, 0.760] | 40 clips of 20 episodes |" in text
    assert "| PSNR lost to accumulated errors, step 4, dB | 3.0 [2.9, 3.1] | 40 clips" in text
    seen = "| Frechet distance of frames by outcome model 0123456789ab, steps 1-4 | 1.25 |"
    assert f"{seen} 160 frames |" in text
    assert "`nfd evaluate toy@1 --measure ranking" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {4}


def test_results_of_earlier_releases_have_a_card_too(tmp_path):
    made.write(tmp_path, "fidelity", made.older(made.fidelity()))
    text = card.measured(read_folder(tmp_path))
    assert "| PSNR, step 4, dB | 30.0 [29.9, 30.1] |" in text
    assert "SSIM" not in text
    assert "accumulated" not in text
    assert "Frechet" not in text


def test_rewards_stand_where_they_differ(tmp_path):
    made.write(tmp_path, "outcomes", made.outcomes(rewarded=0.4))
    text = card.measured(read_folder(tmp_path))
    row = "| rare rewards on imagined frames, at the right step: recall | 0.40 [0.35, 0.45] |"
    assert f"{row} 100 steps, rare rewards: 20 |" in text
    assert "rare rewards on real frames" not in text  # there they were all the same


def test_what_agents_earn_stands_there(tmp_path):
    made.write(tmp_path, "lift", made.lift())
    made.write(tmp_path, "exploitation", made.exploitation(gap=2, narrower=0.5))
    text = card.measured(read_folder(tmp_path))
    n = "3 agents, 12 episodes of each; against them 12 episodes"
    assert f"| real return above the best blind policy (sweep) | 30.0 [26.0, 34.0] | {n} |" in text
    assert "| real return above PPO on 1,000 real steps (as the world's data) | 20.0 " in text
    assert "| real return of the agents (imagination) | 50.0 [46.0, 54.0] | 3 agents, 12 " in text
    share = "imagined minus real return, as a share of what skill is worth"
    assert f"| bundled-50: {share} | 2.00 [1.90, 2.10] | 1 agent, 12 episodes in" in text
    assert f"| uniform: {share} | 0.00 " in text
    assert "* wrong: Training exploits it: the gap of bundled-50" in text
    assert "| bundled-50-limited" not in text  # the page has it all
    assert sum(line.startswith("| ") for line in text.splitlines()) == 2 + 5 + 5


def test_what_was_not_measured_is_said(tmp_path):
    made.write(tmp_path, "fidelity", {"1": made.fidelity(), "2": made.fidelity()})
    text = card.measured(read_folder(tmp_path))
    assert "* stability: not measured (`nfd evaluate toy@1 --measure stability`)" in text
    assert "| 1 step | 2 steps | n |" in text


def test_text_from_documents_is_no_markup(tmp_path):
    results = made.fidelity()
    name = f"a|b\n{card.END}<script>"
    results["long_rollouts"]["objects"] = {name: results["long_rollouts"]["objects"]["ball"]}
    made.write(tmp_path, "fidelity", results)
    text = card.measured(read_folder(tmp_path))
    assert card.END not in text
    assert "<script>" not in text
    assert "a\\|b" in text


def saved_world(path):
    world = tiny_world()
    world.card = CARD
    return world.save_pretrained(path / "world")


def test_the_command(tmp_path, capsys):
    folder = saved_world(tmp_path)
    before = World.from_pretrained(folder).model_id
    made.write_all(tmp_path / "out", before)
    assert evaluate.main([str(folder), "--card", "--out", str(tmp_path / "out")]) == 0
    after = World.from_pretrained(folder)
    assert after.model_id == before
    assert after.card.startswith("# toy\n\nMine.\n\n## How good it is\n\nVery.\n")
    assert after.card.endswith("## Licences\n\nMIT.\n")
    assert "PSNR, step 4, dB" in between(after.card)
    made.write(tmp_path / "out", "stability", made.stability(), "tiny@1#another")
    with pytest.raises(DataError, match="stability is of tiny@1#another"):
        evaluate.main([str(folder), "--card", "--out", str(tmp_path / "out")])
    assert World.from_pretrained(folder).card == after.card


def test_what_is_no_longer_in_it_is_said(tmp_path, capsys):
    folder = saved_world(tmp_path)
    model_id = World.from_pretrained(folder).model_id
    made.write_all(tmp_path / "all", model_id)
    made.write(tmp_path / "one", "fidelity", made.fidelity(), model_id)
    gone = "no longer in it"
    assert evaluate.main([str(folder), "--card", "--out", str(tmp_path / "all")]) == 0
    assert gone not in capsys.readouterr().out
    assert evaluate.main([str(folder), "--card", "--out", str(tmp_path / "one")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.endswith("does not hold it: outcomes, ranking, stability")
