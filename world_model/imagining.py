"""Recorded episodes imagined again: real context, recorded actions, the world's own frames."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from world_model.data import EpisodeStore
from world_model.distillation.history import own_frames
from world_model.errors import DataError
from world_model.outcome_calibration import GeneratedSequence
from world_model.precision import choose_precision
from world_model.rollout import Rollout
from world_model.types import Context, Episode
from world_model.world import World

RETRACING_T = (0.6, 0.9)
"""Noise levels from which recorded frames are retraced: what is in the picture shows through, how
it looks does not."""


def episode_context(episode: Episode, start: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The frames right before ``start`` and the actions that produced them.

    Args:
        episode: a recorded episode.
        start: index of the first frame that does not belong to the context.
        length: frames of context, at most ``start``.

    Returns:
        Frames uint8 (length, H, W, 3) and actions float32 (length, K); the first action is null
        only where the context begins with the episode's first frame.

    Raises:
        DataError: if the episode has no such frames.
    """
    first = start - length
    if first < 0 or start > len(episode.frames):
        raise DataError(
            f"there are no {length} frames before frame {start} of an episode of "
            f"{len(episode.frames)}."
        )
    null = np.full((1, episode.actions.shape[1]), np.nan, np.float32)
    produced = np.concatenate([null, episode.actions])
    return episode.frames[first:start], produced[first:start]


def imagined_sequences(
    rollout: Rollout,
    store: EpisodeStore,
    split: str,
    *,
    horizon: int,
    batch: int,
    seed: int,
) -> Iterator[list[GeneratedSequence]]:
    """Endless batches of episodes of which a stretch was imagined under the recorded actions.

    Stretches start at frames drawn uniformly from all frames, so every transition, the last ones
    included, appears as often as it really does: what is calibrated on them stays calibrated.

    Args:
        rollout: imagines; terminations are ignored.
        store: recorded episodes.
        split: ``train`` or ``validation``.
        horizon: imagined frames of each sequence; fewer where the episode ends earlier.
        batch: sequences per batch.
        seed: of episodes, starts and noise.

    Raises:
        DataError: if no episode of the split is longer than the context.
    """
    context = rollout.world.config.context_length
    for chosen, starts, seeds in _draw_stretches(store, split, context, batch, seed):
        yield imagine_episodes(rollout, chosen, starts, horizon, torch.from_numpy(seeds))


def _draw_stretches(
    store: EpisodeStore, split: str, context: int, batch: int, seed: int
) -> Iterator[tuple[list[Episode], list[int], np.ndarray]]:
    """Endless batches of episodes, a frame of each, and a seed of each."""
    episodes = store.split(split)
    episodes = episodes[store.lengths[episodes] > context]
    if len(episodes) == 0:
        raise DataError(
            f"no episode of the split {split!r} of {store.root} is longer than its context of "
            f"{context} frames. Record more episodes."
        )
    rng = np.random.default_rng(seed)
    # An episode is drawn as often as it has frames to start at.
    share = store.lengths[episodes] - context
    share = share / share.sum()
    while True:
        chosen, starts = [], []
        for index in rng.choice(episodes, size=batch, p=share):
            episode = store.episode(int(index))
            chosen.append(episode)
            starts.append(int(rng.integers(context, len(episode.frames))))
        yield chosen, starts, rng.integers(0, 2**62, size=batch)


def retraced_sequences(
    world: World,
    store: EpisodeStore,
    split: str,
    *,
    horizon: int,
    batch: int,
    seed: int,
    device: torch.device | str = "cpu",
    precision: str = "float32",
) -> Iterator[list[GeneratedSequence]]:
    """As :func:`imagined_sequences`, but what is imagined stays near what happened.

    Every frame is made in one step from the recorded one under noise, of a level drawn for each
    sequence from :data:`RETRACING_T`: the network draws the picture, the recording says what is
    in it.

    Args:
        world: one whose network makes samples (``world.flow.makes_samples``).
        store: recorded episodes.
        split: ``train`` or ``validation``.
        horizon: imagined frames of each sequence; fewer where the episode ends earlier.
        batch: sequences per batch.
        seed: of episodes, starts and noise.
        device: where to compute.
        precision: of the transformer's matrix products, see :class:`Rollout`.

    Raises:
        DataError: if no episode of the split is longer than the context.
    """
    world = world.to(device)
    network = world.network_in(choose_precision(precision, torch.device(device)))
    context, tokenizer = world.config.context_length, world.tokenizer
    stretches = _draw_stretches(store, split, context, batch, seed)
    for number, (episodes, starts, _) in enumerate(stretches):
        generator = torch.Generator(device).manual_seed(seed * 1_000_003 + number)
        stops = [min(s + horizon, len(e.frames)) for e, s in zip(episodes, starts, strict=True)]
        clips = [
            episode_context(e, stop, stop - s + context)
            for e, s, stop in zip(episodes, starts, stops, strict=True)
        ]
        # Shorter ones go on with their last frame; what comes of it is cut off below.
        longest = max(len(frames) for frames, _ in clips)
        rows = [np.minimum(np.arange(longest), len(frames) - 1) for frames, _ in clips]
        frames = np.stack([frames[row] for (frames, _), row in zip(clips, rows, strict=True)])
        actions = np.stack([actions[row] for (_, actions), row in zip(clips, rows, strict=True)])
        low, high = RETRACING_T
        made = own_frames(
            network,
            tokenizer.encode(torch.from_numpy(frames).to(device)),
            torch.from_numpy(actions).to(device),
            world.flow,
            generator,
            first=torch.full((batch,), context, device=device),
            t=low + (high - low) * torch.rand(batch, generator=generator, device=device),
            level=torch.full((batch,), world.config.context_noise, device=device),
        )
        pictures = tokenizer.decode(made[:, context:]).cpu().numpy()
        yield [
            GeneratedSequence(e, s, pictures[i, : stop - s])
            for i, (e, s, stop) in enumerate(zip(episodes, starts, stops, strict=True))
        ]


def imagine_episodes(
    rollout: Rollout,
    episodes: list[Episode],
    starts: list[int],
    horizon: int,
    seeds: torch.Tensor,
) -> list[GeneratedSequence]:
    """Imagines up to ``horizon`` frames of each episode from frame ``starts[i]`` on.

    Args:
        rollout: imagines; terminations are ignored.
        episodes: what was recorded, of any lengths.
        starts: index of the first imagined frame of each, with a context before it and at least
            one recorded frame from there on.
        horizon: imagined frames of each; fewer where its episode ends earlier.
        seeds: int64 (B,), noise seed of each.

    Raises:
        DataError: if there is no room for the context, or nothing to imagine, at a start.
    """
    for episode, start in zip(episodes, starts, strict=True):
        if start >= len(episode.frames):
            raise DataError(f"frame {start} is beyond an episode of {len(episode.frames)} frames.")
    length = rollout.world.config.context_length
    clips = [episode_context(e, s, length) for e, s in zip(episodes, starts, strict=True)]
    frames, actions = (torch.from_numpy(np.stack(part)) for part in zip(*clips, strict=True))
    counts = [min(horizon, len(e.frames) - s) for e, s in zip(episodes, starts, strict=True)]
    state = rollout.begin(Context(frames, actions), seeds)
    made = []
    for step in range(max(counts)):
        # Frame start + step is produced by action start + step - 1; streams that are done idle on.
        now = np.stack(
            [
                e.actions[min(s + step, len(e.frames) - 1) - 1]
                for e, s in zip(episodes, starts, strict=True)
            ]
        )
        state, outcome = rollout.advance(state, torch.from_numpy(now))
        made.append(outcome.frames.cpu().numpy())
    imagined = np.stack(made, axis=1)
    return [
        GeneratedSequence(e, s, imagined[i, :count])
        for i, (e, s, count) in enumerate(zip(episodes, starts, counts, strict=True))
    ]
