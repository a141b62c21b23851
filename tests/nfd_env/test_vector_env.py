from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

from nfd_env.env import NFDWorldEnv
from nfd_env.vector_env import NFDWorldVectorEnv
from tests.toy import FRAME_SHAPE, ToyGame, ToyWorld, start_clip
from world_model.errors import ActionError, ContextError

TOY = "tests.toy:ToyWorld"
MODES = list(AutoresetMode)


def assert_same_info(ours, theirs):
    assert sorted(ours) == sorted(theirs)
    for key, value in theirs.items():
        if isinstance(value, dict):
            assert_same_info(ours[key], value)
        elif value.dtype == object:
            assert ours[key].dtype == object
            for x, y in zip(ours[key], value, strict=True):
                assert np.array_equal(x, y)
        else:
            assert np.array_equal(ours[key], value)
            assert ours[key].dtype == value.dtype


def assert_same(ours, theirs, info=True):
    for x, y in zip(ours[:-1], theirs[:-1], strict=True):
        assert np.array_equal(x, y)
        assert x.dtype == y.dtype
    if info:
        assert_same_info(ours[-1], theirs[-1])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("settings", [{}, {"max_episode_steps": 9, "max_uncertainty": 0.5}])
def test_equals_gymnasiums_sync_vector_env_of_the_single_env(mode, settings):
    """Arrays, infos, masks, final observations: everything, step for step."""
    world = ToyWorld(uncertain=True)
    ours = NFDWorldVectorEnv(5, world, autoreset_mode=mode, **settings)
    theirs = SyncVectorEnv([lambda: NFDWorldEnv(world, **settings)] * 5, autoreset_mode=mode)
    compare(ours, theirs, mode)


@pytest.mark.parametrize("mode", MODES)
def test_equals_gymnasiums_sync_vector_env_of_the_real_game(mode):
    ours = NFDWorldVectorEnv(4, ToyWorld(), autoreset_mode=mode)
    theirs = SyncVectorEnv([ToyGame] * 4, autoreset_mode=mode)
    compare(ours, theirs, mode, info=False)


def compare(ours, theirs, mode, info=True, steps=160):
    rng = np.random.default_rng(0)
    assert_same(ours.reset(seed=3), theirs.reset(seed=3), info)
    ends = 0
    for _ in range(steps):
        actions = rng.integers(3, size=ours.num_envs)
        mine, other = ours.step(actions), theirs.step(actions)
        assert_same(mine, other, info)
        if mode is AutoresetMode.SAME_STEP:
            assert_same_info(
                {k: v for k, v in mine[4].items() if "final_obs" in k},
                {k: v for k, v in other[4].items() if "final_obs" in k},
            )
        done = mine[2] | mine[3]
        ends += done.sum()
        if mode is AutoresetMode.DISABLED and done.any():
            mask = {"reset_mask": done}
            assert_same(ours.reset(options=dict(mask)), theirs.reset(options=dict(mask)), info)
    assert ends > 10


@pytest.mark.parametrize("mode", MODES)
def test_reset_mask_is_honoured(mode):
    ours = NFDWorldVectorEnv(4, ToyWorld(), autoreset_mode=mode)
    theirs = SyncVectorEnv([lambda: NFDWorldEnv(ToyWorld())] * 4, autoreset_mode=mode)
    for envs in (ours, theirs):
        envs.reset(seed=1)
        for _ in range(5):
            envs.step(np.array([0, 1, 2, 0]))
    options = {"reset_mask": np.array([False, True, False, True])}
    seeds = [None, 70, 71, None]
    mine = ours.reset(seed=seeds, options=options)
    assert "reset_mask" in options  # the caller's dict is left alone
    assert_same(mine, theirs.reset(seed=seeds, options=options))
    assert mine[1]["_episode_seed"].tolist() == [False, True, False, True]
    assert mine[1]["episode_seed"][1] == 70
    for _ in range(30):
        if mode is AutoresetMode.DISABLED and (ours.core.finished).any():
            break
        assert_same(ours.step(np.zeros(4, int)), theirs.step(np.zeros(4, int)))


def test_wrong_reset_masks():
    envs = NFDWorldVectorEnv(2, ToyWorld())
    with pytest.raises(ResetNeeded):
        envs.reset(options={"reset_mask": np.array([True, False])})
    envs.reset(seed=0)
    for mask, error in (
        ([True, False], TypeError),
        (np.array([1, 0]), TypeError),
        (np.array([True]), ValueError),
        (np.array([False, False]), ValueError),
    ):
        with pytest.raises(error, match="reset_mask"):
            envs.reset(options={"reset_mask": mask})


def test_a_stream_equals_a_single_environment():
    envs = NFDWorldVectorEnv(3, ToyWorld(), autoreset_mode="same_step")
    frames, _ = envs.reset(seed=10)
    singles = [NFDWorldEnv(ToyWorld()) for _ in range(3)]
    for i, single in enumerate(singles):
        assert np.array_equal(single.reset(seed=10 + i)[0], frames[i])
    rng = np.random.default_rng(0)
    for _ in range(100):
        actions = rng.integers(3, size=3)
        frames, rewards, *_ = envs.step(actions)
        for i, single in enumerate(singles):
            frame, reward, terminated, truncated, _ = single.step(actions[i])
            if terminated or truncated:
                frame, _ = single.reset()
            assert np.array_equal(frame, frames[i])
            assert reward == rewards[i]


def test_terminal_frame_and_end_are_delivered_once():
    """In the default mode: the last frame with the flag, then the first one without a reward."""
    envs = NFDWorldVectorEnv(1, ToyWorld(max_misses=1))
    frames, _ = envs.reset(seed=2)
    for _ in range(50):
        last = frames
        frames, rewards, terminated, truncated, info = envs.step(np.array([1]))
        if terminated[0]:
            break
    assert terminated[0]
    assert rewards[0] == -1
    assert not np.array_equal(frames, last)
    terminal = frames
    frames, rewards, terminated, truncated, info = envs.step(np.array([1]))
    assert (rewards[0], terminated[0], truncated[0]) == (0, False, False)
    assert not np.array_equal(frames, terminal)
    assert info["imagined_steps"][0] == 0
    assert "_episode_seed" in info
    assert envs.step(np.array([1]))[4]["imagined_steps"][0] == 1


def test_disabled_autoreset_asks_for_a_reset():
    envs = NFDWorldVectorEnv(2, ToyWorld(), max_episode_steps=3, autoreset_mode="disabled")
    envs.reset(seed=0)
    for _ in range(3):
        truncated = envs.step(np.zeros(2, int))[3]
    assert truncated.all()
    with pytest.raises(ResetNeeded, match="0, 1"):
        envs.step(np.zeros(2, int))
    envs.reset(options={"reset_mask": np.array([False, True])})
    with pytest.raises(ResetNeeded, match="stream 0"):
        envs.step(np.zeros(2, int))


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("next_step", AutoresetMode.NEXT_STEP),
        ("SAME_STEP", AutoresetMode.SAME_STEP),
        ("Disabled", AutoresetMode.DISABLED),
        (AutoresetMode.SAME_STEP, AutoresetMode.SAME_STEP),
    ],
)
def test_autoreset_mode_by_any_of_its_names(name, mode):
    envs = gym.make_vec("NFD-World-v0", num_envs=2, world=TOY, autoreset_mode=name)
    assert envs.metadata["autoreset_mode"] is mode
    assert NFDWorldVectorEnv.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


def test_unknown_autoreset_mode():
    with pytest.raises(ValueError, match="sometimes"):
        NFDWorldVectorEnv(2, ToyWorld(), autoreset_mode="sometimes")


def test_make_vec_uses_the_batched_environment_and_its_horizon():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        envs = gym.make_vec("NFD-World-v0", num_envs=3, world=TOY, max_episode_steps=4)
    assert isinstance(envs.unwrapped, NFDWorldVectorEnv)
    assert envs.observation_space.shape == (3, *FRAME_SHAPE)
    assert envs.single_observation_space.dtype == np.uint8
    assert envs.spec.id == "NFD-World-v0"
    envs.reset(seed=0)
    for step in range(1, 5):
        frames, rewards, terminated, truncated, info = envs.step(envs.action_space.sample())
        assert frames in envs.observation_space
        assert truncated.all() == (step == 4)
        assert rewards.dtype == np.float64
        assert terminated.dtype == truncated.dtype == np.bool_
    assert info["truncation_reason"].tolist() == ["horizon"] * 3
    envs.close()
    envs.close()


def test_make_vec_sync_of_single_environments():
    envs = gym.make_vec("NFD-World-v0", num_envs=2, vectorization_mode="sync", world=TOY)
    native = gym.make_vec("NFD-World-v0", num_envs=2, world=TOY)
    compare(native, envs, AutoresetMode.NEXT_STEP)
    envs.close()


@pytest.mark.slow
def test_make_vec_async_in_processes_of_their_own():
    envs = gym.make_vec(
        "NFD-World-v0",
        num_envs=2,
        vectorization_mode="async",
        vector_kwargs={"context": "forkserver"},
        world=TOY,
    )
    try:
        native = gym.make_vec("NFD-World-v0", num_envs=2, world=TOY)
        compare(native, envs, AutoresetMode.NEXT_STEP)
    finally:
        envs.close()


@pytest.mark.parametrize("mode", MODES)
def test_gymnasiums_wrappers_work(mode):
    envs = NFDWorldVectorEnv(3, ToyWorld(), autoreset_mode=mode)
    envs = DictInfoToList(RecordEpisodeStatistics(envs))
    envs.reset(seed=0)
    returns = []
    for _ in range(60):
        _, _, terminated, truncated, infos = envs.step(np.array([0, 1, 2]))
        assert len(infos) == 3
        for info in infos:
            returns += [info["episode"]["r"]] if "episode" in info else []
        if mode is AutoresetMode.DISABLED and (terminated | truncated).any():
            envs.reset(options={"reset_mask": terminated | truncated})
    assert len(returns) > 3
    assert min(returns) < 0


def test_arrays_are_fresh_and_nothing_live_is_in_info():
    envs = NFDWorldVectorEnv(3, ToyWorld(), autoreset_mode="same_step", max_episode_steps=5)
    results = [(envs.reset(seed=0)[0],)] + [envs.step(np.ones(3, int)) for _ in range(12)]
    kept = [result[0].copy() for result in results]
    for result in results:
        result[0][:] = 9
    replay = NFDWorldVectorEnv(3, ToyWorld(), autoreset_mode="same_step", max_episode_steps=5)
    assert np.array_equal(replay.reset(seed=0)[0], kept[0])
    for frames in kept[1:]:
        assert np.array_equal(replay.step(np.ones(3, int))[0], frames)

    def leaves(value):
        if isinstance(value, dict):
            for item in value.values():
                yield from leaves(item)
        else:
            yield value

    for result in results[1:]:
        assert all(isinstance(leaf, np.ndarray) for leaf in leaves(result[4]))


def test_more_ends_at_once_than_there_are_contexts():
    envs = NFDWorldVectorEnv(32, ToyWorld(), autoreset_mode="same_step", max_episode_steps=2)
    assert len(envs.world.contexts) < 32
    envs.reset(seed=0)
    for _ in range(12):
        envs.step(np.ones(32, int))
    assert envs.core.seeds.episodes.tolist() == [6] * 32


def test_one_batch_for_all_streams():
    envs = NFDWorldVectorEnv(8, ToyWorld())
    envs.reset(seed=0)
    assert envs.core.rollout.streams_begun == 8
    batches = []
    advance = envs.core.rollout.advance
    envs.core.rollout.advance = lambda state, actions: (
        batches.append(len(actions)) or advance(state, actions)
    )
    for _ in range(5):
        envs.step(np.zeros(8, int))
    assert batches == [8] * 5


@pytest.mark.parametrize(
    "actions", [[0, 1], [0, 1, 3], [0, 1, 2, 0], [0.5, 1, 1], [np.nan, 0, 0], 1, ["a", "b", "c"]]
)
def test_wrong_actions(actions):
    envs = NFDWorldVectorEnv(3, ToyWorld())
    envs.reset(seed=0)
    with pytest.raises(ActionError):
        envs.step(np.array(actions))
    assert envs.step(np.zeros(3, int))[4]["imagined_steps"].tolist() == [1, 1, 1]


def test_wrong_seeds():
    envs = NFDWorldVectorEnv(3, ToyWorld())
    with pytest.raises(ValueError, match="2 seeds for 3"):
        envs.reset(seed=[1, 2])
    with pytest.raises(ResetNeeded):
        envs.step(np.zeros(3, int))


# -- snapshots and given frames --------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_restored_batch_repeats_itself(mode):
    actions = np.random.default_rng(1).integers(3, size=(80, 4))
    envs = NFDWorldVectorEnv(4, ToyWorld(max_misses=99), autoreset_mode=mode)
    envs.reset(seed=1)
    count = 39 if mode is AutoresetMode.DISABLED else 80
    for action in actions[:20]:
        envs.step(action)
    snapshot = envs.save_state()
    expected = [envs.step(action) for action in actions[20:count]]
    other = NFDWorldVectorEnv(4, ToyWorld(max_misses=99), autoreset_mode=mode)
    for target in (envs, other):
        target.restore_state(snapshot)
        for action, result in zip(actions[20:count], expected, strict=True):
            assert_same(target.step(action), result)


def test_one_moment_branches_into_every_stream():
    single = NFDWorldEnv(ToyWorld())
    single.reset(seed=4)
    single.step(1)
    snapshot = single.save_state()
    envs = NFDWorldVectorEnv(3, ToyWorld())
    frames = envs.restore_state(snapshot)
    assert all(np.array_equal(frame, snapshot.observations[0]) for frame in frames)
    frames, *_ = envs.step(np.array([0, 1, 2]))
    for action in range(3):
        single.restore_state(snapshot)
        assert np.array_equal(single.step(action)[0], frames[action])
    # The same through reset, for some of the streams.
    mask = np.array([True, False, True])
    frames, info = envs.reset(options={"reset_mask": mask, "snapshot": snapshot})
    assert np.array_equal(frames[0], snapshot.observations[0])
    assert np.array_equal(frames[2], snapshot.observations[0])
    assert not np.array_equal(frames[1], snapshot.observations[0])
    assert info["imagined_steps"].tolist() == [1, 0, 1]


def test_one_moment_has_many_futures():
    envs = NFDWorldVectorEnv(4, ToyWorld(max_misses=99))
    envs.reset(seed=4)
    snapshot = envs.save_state([0])
    envs.restore_state(snapshot, seeds=[4, 50, 51, 52])
    frames = np.stack([envs.step(np.zeros(4, int))[0] for _ in range(20)], axis=1)
    assert len({future.tobytes() for future in frames}) > 2
    envs.restore_state(snapshot)
    again = np.stack([envs.step(np.zeros(4, int))[0] for _ in range(20)], axis=1)
    assert len({future.tobytes() for future in again}) == 1
    assert np.array_equal(again[0], frames[0])
    with pytest.raises(ValueError, match="2 seeds for 4"):
        envs.restore_state(snapshot, seeds=[1, 2])


def test_some_streams_are_saved_and_restored():
    envs = NFDWorldVectorEnv(3, ToyWorld())
    envs.reset(seed=4)
    snapshot = envs.save_state([2, 0])
    before = envs.step(np.array([0, 1, 2]))[0]
    frames = envs.restore_state(snapshot, [0, 1])
    assert np.array_equal(frames[0], snapshot.observations[0])
    assert np.array_equal(frames[1], snapshot.observations[1])
    assert np.array_equal(frames[2], before[2])
    with pytest.raises(ContextError, match="holds 2 streams"):
        envs.restore_state(snapshot)


def test_a_branch_goes_its_own_way():
    envs = NFDWorldVectorEnv(2, ToyWorld())
    envs.reset(seed=0)
    core = envs.core.branch([1, 1, 0])
    expected = envs.core.save()
    for _ in range(5):
        core.step(np.full((3, 1), 2, np.float32))
    assert np.array_equal(envs.core.save().observations, expected.observations)
    assert envs.core.steps.tolist() == [0, 0]
    assert core.steps.tolist() == [5, 5, 5]


def test_given_frames_for_all_streams_or_each():
    envs = NFDWorldVectorEnv(2, ToyWorld())
    clips = [start_clip(i) for i in range(2)]
    frames, _ = envs.reset(options={"frames": clips[1][0], "actions": clips[1][1]})
    assert np.array_equal(frames, np.stack([clips[1][0][-1]] * 2))
    batch = {"frames": np.stack([c[0] for c in clips]), "actions": np.stack([c[1] for c in clips])}
    frames, _ = envs.reset(options=batch)
    assert np.array_equal(frames, np.stack([c[0][-1] for c in clips]))
    # Clips of different lengths, one of them a single frame.
    frames, _ = envs.reset(options={"frames": [clips[0][0], clips[1][0][-1:]]})
    assert np.array_equal(frames, np.stack([c[0][-1] for c in clips]))
    with pytest.raises(ContextError, match="3 streams"):
        envs.reset(options={"frames": np.zeros((3, 1, *FRAME_SHAPE), np.uint8)})


def test_rendering():
    envs = NFDWorldVectorEnv(3, ToyWorld(), render_mode="rgb_array")
    frames, _ = envs.reset(seed=0)
    pictures = envs.render()
    assert isinstance(pictures, tuple)
    assert np.array_equal(np.stack(pictures), frames)
    assert NFDWorldVectorEnv(3, ToyWorld()).render() is None
