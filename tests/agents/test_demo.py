import json
import sys

import numpy as np
import pytest
from rich.console import Console

from agents.command import AgentOptions
from agents.command import run as run_agent
from agents.demo import DemoOptions, main, run
from agents.ppo_config import PPOConfig
from tests.agents.big_toy import BigToyWorld
from world_model.errors import CheckpointError, NFDError

pytest.importorskip("matplotlib")

WORLD = "tests.agents.big_toy:BigToyWorld"
PPO = PPOConfig(n_envs=2, n_steps=16, batch_size=16, n_epochs=1, features_dim=16)


@pytest.mark.slow
def test_the_whole_demo(tmp_path, capsys):
    run_agent(
        AgentOptions(world=WORLD, timesteps=160, episodes=0, out=tmp_path, ppo=PPO), Console()
    )
    options = DemoOptions(
        world=WORLD, agent=str(tmp_path / "seed-0" / "policy"), minutes=0.02, episodes=2,
        blind=("uniform", "sweep-2"), film_steps=12, out=tmp_path / "demo", device="cpu",
    )  # fmt: skip
    run(options, Console(width=120), PPO)
    output = capsys.readouterr().out
    for text in ("uniform", "sweep-2", "bundled agent", "continued agent", "report.html"):
        assert text in output

    demo = tmp_path / "demo"
    results = json.loads((demo / "results.json").read_text())
    assert results["kind"] == "demo"
    assert [e["policy"] for e in results["evaluations"]] == [
        "uniform", "sweep-2", "bundled agent", "continued agent",
    ]  # fmt: skip
    assert all(len(e["returns"]) == 2 for e in results["evaluations"])
    assert [c["lead_over"] for c in results["comparisons"]] == ["sweep-2"] * 2
    assert results["training_timesteps"] >= 32

    assert (demo / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    page = (demo / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert page.count("data:video/mp4;base64,") == 1
    # Nothing is fetched from anywhere, and no markup is left open.
    assert "http" not in page
    assert page.count("<tr") == page.count("</tr>") == 5
    config = json.loads((demo / "policy" / "config.json").read_text())
    assert config["training"]["source"]["started_from"]["timesteps"] == 160

    with pytest.raises(NFDError, match="holds a demo already"):
        run(options, Console(), PPO)


def test_film_shows_both_games_under_the_same_actions(tmp_path):
    av = pytest.importorskip("av")
    from agents.policies import make_policy
    from agents.report.film import compose, imagine_along, record_take
    from tests.agents.big_toy import BigToyGame
    from world_model.video import write_video

    world = BigToyWorld()
    policy = make_policy("uniform", world.action_spec.space)
    take = record_take(policy, BigToyGame, seeds=range(3), steps=7)
    assert take.frames.shape == (8, 64, 64, 3)
    imagined = imagine_along(take, world)
    assert imagined.shape == take.frames.shape
    np.testing.assert_array_equal(imagined[:4], take.frames[:4])
    # The paddle obeys the same actions in both; the perfect world knows no other physics.
    np.testing.assert_array_equal(imagined[:, 63, :, 1], take.frames[:, 63, :, 1])

    pictures = compose(take, imagined, ("stay", "left", "right"), context=4, world="toy@1")
    assert len(pictures) == 8
    height, width = pictures[0].shape[:2]
    assert height % 2 == width % 2 == 0
    left = pictures[5][44 : 44 + 256, 16 : 16 + 256]
    np.testing.assert_array_equal(left[::4, ::4], take.frames[5])
    right = pictures[5][44 : 44 + 256, 32 + 256 : 32 + 512]
    np.testing.assert_array_equal(right[::4, ::4], imagined[5])

    write_video(tmp_path / "film.mp4", np.stack(pictures), 8.75, scale=1)
    with av.open(str(tmp_path / "film.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert float(stream.average_rate) == 8.75
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(decoded) == 8
    assert np.abs(decoded[5].astype(int) - pictures[5]).mean() < 6


def test_a_take_prefers_the_episode_that_lasts():
    from agents.policies import make_policy
    from agents.report.film import record_take
    from tests.agents.test_evaluation import CountDown, true_length

    seeds = list(range(6))
    lengths = [true_length(seed) for seed in seeds]
    assert lengths[0] < max(lengths) or lengths[1] < max(lengths)
    policy = make_policy("noop", CountDown().action_space)
    take = record_take(policy, CountDown, seeds, steps=30)
    assert len(take.actions) == 30
    # No episode lasts so long: the longest is taken, without the frame of its end.
    longest = record_take(policy, CountDown, seeds, steps=500)
    assert len(longest.actions) == 49
    assert len(longest.frames) == 50


def test_what_is_missing_is_said_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="no policy at 'nobody'"):
        run(DemoOptions(world=WORLD, agent="nobody"), Console())
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    world = BigToyWorld()
    object.__setattr__(world.config, "source", {"preset": "doom-take-cover"})
    monkeypatch.setattr("agents.demo.load_world", lambda name, device: world)
    with pytest.raises(NFDError, match=r"nfd-world\[doom\]"):
        main(["--agent", "none"])
    assert list(tmp_path.iterdir()) == []
