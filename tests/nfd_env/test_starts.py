from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from nfd_env.env import NFDWorldEnv
from nfd_env.starts import (
    BundledStarts,
    ListedStarts,
    MixedStarts,
    check_context,
    groups,
    make_starts,
    split,
)
from nfd_env.vector_env import NFDWorldVectorEnv
from tests.toy import FRAME_SHAPE, NUM_STARTS, ToyWorld, toy_contexts
from world_model.contexts import ContextSet
from world_model.errors import ContextError
from world_model.types import Context

WORLD = ToyWorld()


def newest(contexts):
    return [context.frames[0, -1].numpy().tobytes() for context in contexts]


def test_which_clip_is_a_pure_function_of_the_seed():
    starts = BundledStarts(WORLD)
    together = newest(starts.draw(range(40)))
    assert together == [newest(starts.draw([seed]))[0] for seed in range(40)]
    assert len(set(together)) == NUM_STARTS


def test_a_world_without_clips_says_what_to_do():
    bare = ToyWorld()
    bare.contexts = None
    env = NFDWorldEnv(bare)
    with pytest.raises(ContextError, match=r"brings no contexts.*frames"):
        env.reset(seed=0)
    frames = toy_contexts().frames[0]
    assert np.array_equal(env.reset(options={"frames": frames})[0], frames[-1])
    with pytest.raises(ContextError, match="brings no contexts"):
        env.reset()


def test_given_contexts_are_used_once_and_then_run_out():
    clips = split(toy_contexts().pick([4, 2, 0]))
    env = NFDWorldEnv(WORLD, contexts=clips)
    for expected in newest(clips):
        assert env.reset(seed=0)[0].tobytes() == expected
    with pytest.raises(ContextError, match="only 0 of the 3"):
        env.reset()


def test_more_ends_than_contexts_is_one_error_not_a_spin():
    envs = NFDWorldVectorEnv(
        4,
        WORLD,
        contexts=toy_contexts().pick([0, 1, 2, 3, 4, 0]),
        autoreset_mode="same_step",
        max_episode_steps=2,
    )
    envs.reset(seed=0)
    envs.step(np.zeros(4, int))
    with pytest.raises(ContextError, match="4 episodes need a start, but only 2"):
        envs.step(np.zeros(4, int))


def test_a_provider_that_gives_too_few_is_named():
    class Stingy:
        def draw(self, seeds):
            return split(toy_contexts().pick([0]))

    with pytest.raises(ContextError, match="Stingy gave 1 contexts for 3"):
        NFDWorldVectorEnv(3, WORLD, contexts=Stingy()).reset()


def test_mixtures_use_every_source_and_depend_on_the_seed_alone():
    calls = Counter()

    class Source:
        def __init__(self, index):
            self.index = index

        def draw(self, seeds):
            calls[self.index] += len(seeds)
            return split(toy_contexts().pick([self.index] * len(seeds)))

    starts = make_starts([Source(0), Source(3)], WORLD)
    assert isinstance(starts, MixedStarts)
    drawn = newest(starts.draw(range(100)))
    assert min(calls[0], calls[3]) > 30
    assert drawn == [newest(starts.draw([seed]))[0] for seed in range(100)]


def test_sources_of_equal_size_do_not_all_choose_the_same_place():
    other = ToyWorld()
    other.contexts = ContextSet(255 - toy_contexts().frames, toy_contexts().actions)
    starts = make_starts(["bundled", BundledStarts(other)], WORLD)
    assert len(set(newest(starts.draw(range(300))))) == 2 * NUM_STARTS


def test_what_a_provider_gives_is_checked():
    class Wrong:
        def draw(self, seeds):
            return [Context(torch.zeros(1, 2, 8, 8, 3, dtype=torch.uint8), torch.zeros(1, 2, 1))]

    with pytest.raises(ContextError, match="8, 8, 3"):
        NFDWorldEnv(WORLD, contexts=Wrong()).reset()


def test_contexts_of_different_lengths_are_grouped_in_place():
    clips = split(toy_contexts().pick([0, 1, 2]))
    short = Context(clips[1].frames[:, -1:], clips[1].actions[:, -1:])
    found = groups({3: clips[0], 5: short, 9: clips[2]})
    assert [places.tolist() for places, _ in found] == [[3, 9], [5]]
    assert newest(split(found[0][1])) == newest([clips[0], clips[2]])


def test_contexts_of_different_lengths_start_the_right_streams():
    clips = split(toy_contexts().pick([0, 1, 2]))
    clips[1] = Context(clips[1].frames[:, -1:], clips[1].actions[:, -1:])
    envs = NFDWorldVectorEnv(3, WORLD, contexts=clips)
    frames, _ = envs.reset(seed=0)
    assert [frame.tobytes() for frame in frames] == newest(clips)
    frames, *_ = envs.step(np.zeros(3, int))
    for i, frame in enumerate(frames):
        single = NFDWorldEnv(WORLD, contexts=[clips[i]])
        single.reset(seed=i)
        assert np.array_equal(single.step(0)[0], frame)


@pytest.mark.parametrize(
    ("frames", "actions", "text"),
    [
        (torch.zeros(1, 2, *FRAME_SHAPE), torch.zeros(1, 2, 1), "float32"),
        (torch.zeros(1, 2, 8, 8, 3, dtype=torch.uint8), torch.zeros(1, 2, 1), "8, 8, 3"),
        (torch.zeros(2, 2, *FRAME_SHAPE, dtype=torch.uint8), torch.zeros(2, 2, 1), "not 2"),
        (torch.zeros(1, 2, *FRAME_SHAPE, dtype=torch.uint8), torch.zeros(1, 1, 1), "1, 2, 1"),
    ],
)
def test_contexts_that_do_not_fit_the_world(frames, actions, text):
    with pytest.raises(ContextError, match=text):
        check_context(Context(frames, actions), WORLD)


@pytest.mark.parametrize("contexts", ["no/such/folder", "NoSuchEnv-v0", "", [], 3, None, [None]])
def test_what_names_no_start_is_refused(contexts):
    with pytest.raises(ContextError, match="contexts="):
        make_starts(contexts, WORLD).draw([0])


def test_a_single_context_is_a_list_of_one():
    assert isinstance(make_starts(toy_contexts().pick([0]), WORLD), ListedStarts)
