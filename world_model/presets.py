"""Named configurations of worlds: the bundled ones and the paper's three sizes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from world_model.autoencoder.config import AutoencoderConfig
from world_model.flow import FlowConfig
from world_model.network import NetworkConfig
from world_model.training.config import TrainConfig


@dataclass(frozen=True)
class WorldPreset:
    """Everything about a world that is decided before it has seen any data."""

    network: NetworkConfig
    """The transformer."""
    flow: FlowConfig = field(default_factory=FlowConfig)
    """What it predicts and how it is trained."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Default length and speed of training."""
    patch_size: int = 8
    """Side of a pixel patch; ignored by worlds with an autoencoder."""
    autoencoder: bool = False
    """Whether it is meant for the latents of an autoencoder (``nfd tokenizer``) where frames are
    larger than pixel patches are good for."""
    context_length: int = 4
    """Real frames that start an episode."""
    context_noise: float = 0.02
    """Noise level t of context frames at inference."""
    sampler: str = "euler"
    """Default sampler of the undistilled world."""
    sampling_steps: int = 2
    """Default number of sampling steps."""
    sampling_shift: float = 1.0
    """k of the sampler's grid of noise levels, see :func:`world_model.flow.shift_time`."""


def _paper(width: int, layers: int, heads: int, mlp_width: int) -> WorldPreset:
    """NFD at 384x224: 7x12 tokens of 2x2 latents with 16 channels, 32 frames in sight."""
    network = NetworkConfig(
        grid=(7, 12),
        token_dim=64,
        width=width,
        layers=layers,
        heads=heads,
        mlp="swiglu",
        mlp_width=mlp_width,
        window=32,
    )
    return WorldPreset(
        network=network,
        flow=FlowConfig(prediction="v", loss="v", shift=3.0),
        train=TrainConfig(steps=200_000, batch_size=64, length=48, learning_rate=1e-4),
        autoencoder=True,
        context_length=16,
        context_noise=0.15,
        sampler="dpmpp2m",
        sampling_steps=18,
        sampling_shift=3.0,
    )


SMALL_GAME = WorldPreset(
    network=NetworkConfig(
        grid=(8, 8),
        token_dim=192,
        width=192,
        layers=6,
        heads=3,
        mlp="relu2",
        mlp_width=768,
        window=4,
        temporal_layers=(1, 3),
        previous_frames=2,
        transport=(1, 6),
    ),
    # Few sampling steps from pure noise: an unweighted loss, which large t dominates. Fireballs
    # (the second class of the labels) are small and decide the game.
    flow=FlowConfig(
        loss="x",
        shift=2.0,
        noise_fraction=0.25,
        context_fraction=0.05,
        motion_weight=2.0,
        object_weights=(3.0, 20.0),
        own_fraction=0.5,
    ),
    train=TrainConfig(steps=7200, batch_size=8, length=8, learning_rate=2e-3),
    # Fewer lose fireballs: they are small, and whether one is thrown is random.
    sampler="dpmpp2m",
    sampling_steps=6,
    sampling_shift=0.5,
)

# For games whose data has no labels of small objects.
PLAIN_GAME = replace(SMALL_GAME, flow=replace(SMALL_GAME.flow, object_weights=()))
# Medikits and monsters are what the game is about; they are larger than fireballs.
ONE_CLASS = replace(SMALL_GAME, flow=replace(SMALL_GAME.flow, object_weights=(5.0,)))
# An empty arena seen from one spot: half of the network will do. Who turns around sees everything
# move by 8 pixels a step in the middle of the view and by 14 at its edges.
DEFEND = replace(
    SMALL_GAME,
    network=replace(
        SMALL_GAME.network, layers=4, temporal_layers=(1, 2), mlp_width=384, transport=(1, 14)
    ),
    # Monsters far away are a dozen pixels, and where they walk is random.
    flow=replace(SMALL_GAME.flow, object_weights=(20.0,), own_retraces=True),
)
# Flat colours, and all that moves is a paddle and a ball of two pixels, which flies up to 3 pixels
# a step, or 4 to the side, in every direction.
BALL_GAME = replace(
    PLAIN_GAME,
    network=replace(
        SMALL_GAME.network, width=128, layers=4, heads=2, mlp_width=256, transport=(3, 6, 3)
    ),
    flow=replace(PLAIN_GAME.flow, motion_weight=20.0, motion_reach=17, own_retraces=True),
)

# Frames of 9 by 9 tiles, a token each: where the player walks, all of them move by one.
TILE_GAME = replace(
    PLAIN_GAME,
    network=replace(
        SMALL_GAME.network, width=128, layers=4, heads=2, mlp_width=384, transport=(8, 8, 0)
    ),
    flow=replace(PLAIN_GAME.flow, own_retraces=True),
)

TINY = WorldPreset(
    network=NetworkConfig(
        grid=(2, 2),
        token_dim=192,
        width=32,
        layers=3,
        heads=2,
        mlp_width=64,
        window=3,
        temporal_layers=(1,),
        previous_frames=2,
        transport=(1, 2),
    ),
    train=TrainConfig(steps=20, batch_size=4, length=5, warmup_steps=2, save_every=5),
    context_length=3,
)

PRESETS: dict[str, WorldPreset] = {
    "doom-take-cover": SMALL_GAME,
    "doom-health-gathering": ONE_CLASS,
    "doom-defend-the-center": DEFEND,
    "doom-keyboard-mouse": PLAIN_GAME,
    "breakout": BALL_GAME,
    "pong": BALL_GAME,
    "crafter": TILE_GAME,
    "small-game": PLAIN_GAME,
    "tiny": TINY,
    "nfd-130m": _paper(768, 12, 12, 2048),
    "nfd-310m": _paper(1024, 16, 16, 2816),
    "nfd-774m": _paper(1536, 18, 24, 4096),
}


def get_preset(name: str) -> WorldPreset:
    """The preset of that name.

    Raises:
        ValueError: if there is none; the message lists those there are.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; there are: {', '.join(PRESETS)}.")
    return PRESETS[name]


def with_frame_shape(preset: WorldPreset, frame_shape: tuple[int, int, int]) -> WorldPreset:
    """The preset for frames of another size: patches stay, the number of tokens changes."""
    height, width, channels = frame_shape
    patch = preset.patch_size
    network = replace(
        preset.network,
        grid=(height // patch, width // patch),
        token_dim=patch * patch * channels,
    )
    return replace(preset, network=network)


def with_autoencoder(preset: WorldPreset, config: AutoencoderConfig) -> WorldPreset:
    """The preset for tokens of an autoencoder, without what is about pixels.

    The network is given no filters that displace pixels, and the loss weighs none.
    """
    network = replace(preset.network, grid=config.grid, token_dim=config.token_dim, transport=None)
    flow = replace(preset.flow, motion_weight=0.0, object_weights=())
    return replace(preset, network=network, flow=flow, autoencoder=True)
