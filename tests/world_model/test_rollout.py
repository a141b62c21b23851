"""Streaming equals one dense pass; noise, batch, branches and resets never leak."""

import math
from dataclasses import replace

import pytest
import torch

from tests.world_model.tiny import tiny_world
from world_model.errors import ActionError, ContextError
from world_model.flow import FlowConfig, add_noise, predict_x0
from world_model.noise import Purpose, normal, stream_keys
from world_model.registry import find_world
from world_model.rollout import Rollout
from world_model.types import Context
from world_model.world import World


def start(world, batch=2, **options):
    rollout = Rollout(world, **options)
    seeds = torch.arange(batch) + 10
    return rollout, rollout.begin(world.contexts.pick(range(batch)), seeds)


def actions_for(step, batch):
    return torch.tensor([[(step + b) % 3] for b in range(batch)], dtype=torch.float32)


def play(rollout, state, steps):
    outcomes = []
    for step in range(steps):
        state, outcome = rollout.advance(state, actions_for(step, state.batch_size))
        outcomes.append(outcome)
    return state, outcomes


@pytest.mark.parametrize("temporal_layers", [(1,), (0, 2), None])
def test_streaming_equals_one_dense_masked_forward(temporal_layers):
    """Past the window, with the clean pass folded in: the test of the cache."""
    from dataclasses import replace

    from tests.world_model.tiny import randomise
    from world_model.network import NextFrameDiffusion

    world = tiny_world()
    config = replace(world.network.config, temporal_layers=temporal_layers)
    world.network = NextFrameDiffusion(config, world.action_spec)
    randomise(world.network)
    rollout, state = start(world, sampling_steps=1)
    context = world.contexts.pick([0, 1])
    seeds = state.seeds
    steps, t_ctx = 8, rollout.context_noise
    frames = [context.frames[:, i] for i in range(context.frames.shape[1])]
    actions = [context.actions[:, i] for i in range(context.actions.shape[1])]
    for step in range(steps):
        action = actions_for(step, 2)
        state, outcome = rollout.advance(state, action)
        # The same step, densely: all frames so far, clean ones at the context level.
        clean = world.tokenizer.encode(torch.stack(frames, 1))
        count = clean.shape[1]

        def noise(purpose, i, like=clean[:, 0]):
            keys = stream_keys(seeds, torch.full_like(seeds, i), purpose)
            return normal(keys, tuple(like.shape[1:]))

        def noised(purpose, i, clean=clean, noise=noise):
            level = torch.full((2,), t_ctx)
            return add_noise(clean[:, i], noise(purpose, i), level)

        x = noise(Purpose.SAMPLE, count)
        latents = torch.stack([*(noised(Purpose.CONTEXT, i) for i in range(count)), x], 1)
        before = [torch.zeros_like(x), *(noised(Purpose.PREVIOUS, i) for i in range(count))]
        further = [torch.zeros_like(x), *before[:-1]]
        previous = torch.cat([torch.stack(before, 1), torch.stack(further, 1)], -1)
        t = torch.full((2, count + 1), t_ctx)
        t[:, -1] = 1.0
        previous_t = torch.full((2, count + 1), t_ctx)
        previous_t[:, 0] = 1.0
        with torch.no_grad():
            raw = world.network(
                latents, t, torch.stack([*actions, action], 1), previous, previous_t
            )
        x0 = predict_x0(raw[:, -1], x, t[:, -1], previous[:, -1], world.flow)
        expected = world.tokenizer.encode(world.tokenizer.decode(x0))
        # Rounding to uint8 hides nothing: the tokens must agree to less than one grey level.
        assert (outcome.latents - expected).abs().max() <= 1.01 / 60.0
        frames.append(outcome.frames)
        actions.append(action)


def test_one_step_is_one_forward_pass():
    world = tiny_world()
    rollout, state = start(world, sampling_steps=1)
    calls = []
    stream = world.network.stream
    world.network.stream = lambda *args, **kwargs: (calls.append(1), stream(*args, **kwargs))[1]
    play(rollout, state, 3)
    assert len(calls) == 3


def test_same_seed_same_episode_bit_for_bit():
    world = tiny_world()
    first = play(*start(world), 6)[1]
    second = play(*start(world), 6)[1]
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.frames, b.frames)
        assert torch.equal(a.rewards, b.rewards)
        assert torch.equal(a.terminated, b.terminated)


def test_another_seed_gives_another_episode():
    world = tiny_world()
    rollout = Rollout(world)
    contexts = world.contexts.pick([0])
    one = play(rollout, rollout.begin(contexts, torch.tensor([1])), 3)[1]
    two = play(rollout, rollout.begin(contexts, torch.tensor([2])), 3)[1]
    assert not torch.equal(one[-1].frames, two[-1].frames)


@pytest.mark.parametrize("name", ["tiny-0", "tiny-1", "tiny-2", "tiny-3", "doom-take-cover"])
def test_a_stream_does_not_depend_on_its_batch(name):
    """From the same state, alone or beside others, at each of 16 steps: but for rounding errors.

    The tokens are those before they become grey levels. From a state of its own each would make
    more of a pixel that was rounded the other way with every step, hence the same state.
    """
    kind, _, seed = name.rpartition("-")
    world = (
        World.from_pretrained(find_world(name)) if kind != "tiny" else tiny_world(seed=int(seed))
    )
    rollout = Rollout(world)
    state = rollout.begin(world.contexts.pick([0, 1, 2]), torch.arange(3))
    for step in range(16):
        actions = actions_for(step, 3)
        with torch.no_grad():
            together, _ = rollout._denoise(state.clone(), actions)
            alone, _ = rollout._denoise(state.select(torch.tensor([1])), actions[1:2])
        torch.testing.assert_close(alone[0], together[1], atol=1e-4, rtol=0)
        _, outcome = rollout.advance(state.select(torch.tensor([1])), actions[1:2])
        state, others = rollout.advance(state, actions)
        assert (outcome.frames[0].int() - others.frames[1].int()).abs().max() <= 1


def test_a_branch_replays_and_leaves_the_original_alone():
    world = tiny_world()
    rollout, state = start(world)
    state, _ = play(rollout, state, 2)
    saved = state.clone()
    before = [tensor.clone() for tensor in saved.tensors()]
    _, first = play(rollout, state, 4)
    for a, b in zip(before, saved.tensors(), strict=True):
        assert torch.equal(a.nan_to_num(), b.nan_to_num())
    _, again = play(rollout, saved, 4)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.frames, b.frames)


def test_select_and_scatter_move_whole_streams():
    world = tiny_world()
    rollout, state = start(world, batch=3)
    state, _ = play(rollout, state, 2)
    swapped = state.select(torch.tensor([2, 0, 1]))
    fresh = rollout.begin(world.contexts.pick([4]), torch.tensor([99]))
    reset = state.clone().scatter(torch.tensor([1]), fresh)
    actions = torch.tensor([[0.0], [1.0], [2.0]])
    _, expected = rollout.advance(state.clone(), actions)
    _, moved = rollout.advance(swapped, actions[[2, 0, 1]])
    assert (moved.frames.int() - expected.frames[[2, 0, 1]].int()).abs().max() <= 1
    _, alone = rollout.advance(fresh, actions[1:2])
    _, beside = rollout.advance(reset, actions)
    assert (beside.frames[1].int() - alone.frames[0].int()).abs().max() <= 1
    assert (beside.frames[0].int() - expected.frames[0].int()).abs().max() <= 1


def test_actions_reach_the_next_frame():
    world = tiny_world()
    rollout, state = start(world)
    _, left = rollout.advance(state.clone(), torch.ones(2, 1))
    _, right = rollout.advance(state, torch.full((2, 1), 2.0))
    assert not torch.equal(left.frames, right.frames)


def test_the_state_does_not_grow():
    rollout, state = start(tiny_world())
    size = state.num_bytes()
    state, _ = play(rollout, state, 30)
    assert state.num_bytes() == size


def test_contexts_longer_than_the_ring_keep_their_end():
    world = tiny_world()
    frames = torch.randint(0, 256, (1, 20, 16, 16, 3), dtype=torch.uint8)
    actions = torch.zeros(1, 20, 1)
    rollout = Rollout(world)
    state = rollout.begin(Context(frames, actions), torch.tensor([0]))
    assert state.frame_index.item() == 19
    held = set(state.cache.frames[0].tolist())
    assert held == set(range(16, 19))  # frame 19 is folded into the first advance
    rollout.advance(state, torch.zeros(1, 1))


def test_what_may_be_empty_in_a_ring_is_known():
    """Contexts of one frame in a window of three: two steps later nothing is masked."""
    world = tiny_world()
    rollout = Rollout(world)
    assert world.network.config.window == 3
    context = Context(
        torch.zeros(2, 1, 16, 16, 3, dtype=torch.uint8), torch.full((2, 1, 1), torch.nan)
    )
    state = rollout.begin(context, torch.arange(2))
    left = []
    for step in range(4):
        left.append(state.cache.unfilled)
        empty = (state.cache.frames < 0).sum().item() // 2
        assert empty == left[-1] + (step == 0), "the first step stores the context's last frame"
        state, _ = rollout.advance(state, actions_for(step, 2))
    assert left == [2, 1, 0, 0]
    assert state.clone().select(torch.tensor([0])).cache.unfilled == 0
    fresh = rollout.begin(context, torch.arange(2))
    assert state.clone().scatter(torch.tensor([0, 1]), fresh).cache.unfilled == 2


def test_steps_in_a_full_ring_equal_masked_ones():
    """What is known of a ring saves a mask and changes nothing."""
    rollout, state = start(tiny_world())
    other = state.clone()
    other.cache.unfilled = 99
    _, plain = play(rollout, state, 4)
    _, masked = play(rollout, other, 4)
    for a, b in zip(plain, masked, strict=True):
        torch.testing.assert_close(a.latents, b.latents, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("table", [True, False])
def test_every_pass_is_given_what_belongs_to_its_noise_level(steps, table, monkeypatch):
    rollout, state = start(tiny_world(), sampling_steps=steps)
    if not table:
        monkeypatch.setattr("world_model.rollout.fits", lambda *_: False)
    network, calls = rollout.network, []
    stream = network.stream

    def watched(latents, modulation, *rest, **options):
        calls.append(modulation)
        return stream(latents, modulation, *rest, **options)

    monkeypatch.setattr(network, "stream", watched)
    actions = actions_for(0, state.batch_size)
    last_action, last_previous_t = state.action.clone(), state.previous_t.clone()
    rollout.advance(state, actions)
    assert len(calls) == steps
    level = torch.full((state.batch_size, 1), rollout.context_noise)
    with torch.no_grad():
        first = network.modulation(level, last_action[:, None], last_previous_t[:, None])
        torch.testing.assert_close(calls[0][:, :1], first, atol=1e-5, rtol=1e-5)
        for t, given in zip(rollout.grid, calls, strict=False):
            now = torch.full_like(level, t)
            expected = network.modulation(now, actions[:, None], level)
            torch.testing.assert_close(given[:, -1:], expected, atol=1e-5, rtol=1e-5)


def test_a_single_frame_starts_an_episode():
    world = tiny_world()
    rollout = Rollout(world)
    context = Context(
        torch.zeros(1, 1, 16, 16, 3, dtype=torch.uint8), torch.full((1, 1, 1), torch.nan)
    )
    state = rollout.begin(context, torch.tensor([0]))
    _, outcome = rollout.advance(state, torch.zeros(1, 1))
    assert outcome.frames.shape == (1, 16, 16, 3)


def test_termination_follows_its_mode():
    world = tiny_world()
    rollout, state = start(world, termination_mode="never")
    _, outcomes = play(rollout, state, 10)
    assert not any(o.terminated.any() for o in outcomes)
    for threshold in (0.5, 0.2, 0.9):  # one half unless calibration says otherwise
        if threshold != 0.5:
            world.outcome.termination_threshold.fill_(math.log(threshold / (1 - threshold)))
        rollout, state = start(world, termination_mode="threshold")
        _, outcomes = play(rollout, state, 10)
        for o in outcomes:
            assert torch.equal(o.terminated, o.termination_probability > threshold)


def test_thresholds_of_calibration_end_episodes():
    world = tiny_world()
    assert world.outcome is not None
    rollout, state = start(world, termination_mode="threshold")
    _, outcomes = play(rollout, state, 10)
    likely = max(o.termination_probability.max().item() for o in outcomes)
    ends = []
    for threshold in (0.9 * likely, min(0.999, 1.1 * likely)):
        world.outcome.termination_threshold.fill_(math.log(threshold / (1 - threshold)))
        rollout, state = start(world, termination_mode="threshold")
        _, outcomes = play(rollout, state, 10)
        ends.append(any(o.terminated.any() for o in outcomes))
    assert ends == [True, False]


def test_sampled_termination_has_the_predicted_frequency():
    world = tiny_world()
    rollout = Rollout(world, sampling_steps=1)
    contexts = world.contexts.pick([0] * 400)
    state = rollout.begin(contexts, torch.arange(400))
    _, outcome = rollout.advance(state, torch.ones(400, 1))
    p = outcome.termination_probability.mean().item()
    found = outcome.terminated.float().mean().item()
    assert abs(found - p) < 4 * (p * (1 - p) / 400) ** 0.5 + 1e-6


def test_bad_input_gets_one_clear_error():
    world = tiny_world()
    rollout, state = start(world)
    with pytest.raises(ActionError, match="shape"):
        rollout.advance(state, torch.zeros(3, 1))
    with pytest.raises(ActionError, match="NaN"):
        rollout.advance(state, torch.full((2, 1), torch.nan))
    with pytest.raises(ContextError, match="expected uint8"):
        rollout.begin(
            Context(torch.zeros(1, 3, 8, 8, 3, dtype=torch.uint8), torch.zeros(1, 3, 1)),
            torch.zeros(1),
        )
    with pytest.raises(ContextError, match="one per frame"):
        rollout.begin(
            Context(torch.zeros(1, 3, 16, 16, 3, dtype=torch.uint8), torch.zeros(1, 2, 1)),
            torch.zeros(1),
        )
    with pytest.raises(ValueError, match="there are: euler"):
        Rollout(world, sampler="magic")
    with pytest.raises(ValueError, match="at least 1"):
        Rollout(world, sampling_steps=0)


def test_bfloat16_stays_close_and_repeats():
    world = tiny_world()
    exact = play(*start(world), 2)[1]
    rough = play(*start(world, precision="bfloat16"), 2)[1]
    again = play(*start(world, precision="bfloat16"), 2)[1]
    assert torch.equal(rough[-1].frames, again[-1].frames)
    difference = (rough[0].frames.float() - exact[0].frames.float()).abs().mean()
    assert 0 < difference < 4  # grey levels
    assert world.network.embed.weight.dtype == torch.float32  # the world itself is untouched


def test_consistency_functions_are_blended_only_where_there_is_little_noise():
    world = tiny_world(outcome=False)
    contexts, seeds, actions = world.contexts.pick([0]), torch.tensor([3]), torch.ones(1, 1)

    def frame(loss: str, steps: int) -> torch.Tensor:
        other = replace(world, flow=FlowConfig(loss=loss), _networks={})
        rollout = Rollout(other, sampling_steps=steps, sampler="consistency")
        return rollout.advance(rollout.begin(contexts, seeds), actions)[1].latents

    for steps in (1, 2):  # noise levels 1 and 0.5
        assert torch.equal(frame("energy", steps), frame("scm", steps))
    assert not torch.allclose(frame("energy", 4), frame("scm", 4))


def test_pessimism_shifts_the_odds_of_an_end_and_nothing_else():
    world = tiny_world()
    contexts, seeds, actions = world.contexts.pick([0, 1]), torch.tensor([3, 4]), torch.ones(2, 1)

    def step(**settings):
        rollout = Rollout(world, **settings)
        return rollout.advance(rollout.begin(contexts, seeds), actions)[1]

    plain, wary = step(), step(pessimism=1.5)
    assert torch.equal(plain.frames, wary.frames)
    odds = [
        (p / (1 - p)).log() for p in (plain.termination_probability, wary.termination_probability)
    ]
    torch.testing.assert_close(odds[1] - odds[0], torch.full((2,), 1.5))
    with pytest.raises(ValueError, match="pessimism must be a finite number"):
        Rollout(world, pessimism=float("nan"))


@pytest.mark.parametrize("mode", ["expected", "sample", "threshold"])
def test_an_end_without_a_frame_has_a_reward_of_its_own(mode):
    plain = tiny_world()
    paid = tiny_world()
    paid.outcome.config = replace(paid.outcome.config, end_reward=-7.5)
    both = []
    for world in (plain, paid):
        rollout, state = start(world, termination_mode="sample", reward_mode=mode)
        both.append(play(rollout, state, 10)[1])
    ends = torch.stack([o.terminated for o in both[1]])
    assert ends.any()
    assert not ends.all()
    rewards = [torch.stack([o.rewards for o in outcomes]) for outcomes in both]
    assert (rewards[1][ends] == -7.5).all()
    assert torch.equal(rewards[0][~ends], rewards[1][~ends])
    assert (rewards[0][ends] != -7.5).all()


def test_uncertainty_is_what_changed_since_the_first_guess():
    """Of one step: since the last frame; either way a number of the stream's own, without noise."""
    world = tiny_world()
    for steps in (1, 2):
        rollout, state = start(world, sampling_steps=steps)
        before, copy = state.latent.clone(), state.clone()
        state, outcome = rollout.advance(state, actions_for(0, 2))
        assert (outcome.uncertainty > 0).all()
        if steps == 1:
            change = (outcome.latents - before).square().mean(dim=(1, 2)).sqrt()
            assert torch.equal(outcome.uncertainty, change)
        _, again = rollout.advance(copy, actions_for(0, 2))
        assert torch.equal(outcome.uncertainty, again.uncertainty)


@pytest.mark.parametrize("sampler", ["euler", "dpmpp2m", "consistency"])
def test_another_number_of_steps_goes_on_from_any_state(sampler):
    world = tiny_world()
    few, state = start(world, sampling_steps=1, sampler=sampler)
    state, _ = play(few, state, 2)
    many, other = few.with_sampling_steps(3), state.clone()
    made = Rollout(world, sampling_steps=3, sampler=sampler)
    assert many.network is few.network
    _, expected = play(made, state.clone(), 3)
    other, seen = play(many, other, 3)
    for one, two in zip(seen, expected, strict=True):
        assert torch.equal(one.latents, two.latents)
        assert torch.equal(one.uncertainty, two.uncertainty)
    # And the first one is as it was: back to it.
    _, back = play(many.with_sampling_steps(1), state.clone(), 1)
    _, here = play(few, state.clone(), 1)
    assert torch.equal(back[0].latents, here[0].latents)
    assert not torch.equal(here[0].latents, expected[0].latents)
    with pytest.raises(ValueError, match="at least 1"):
        few.with_sampling_steps(0)
