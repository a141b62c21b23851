"""The real environments that have a name: games, their preprocessing, and why it is as it is."""

from __future__ import annotations

import difflib

from agents.frame_env import FrameEnv
from agents.real_env import RealEnv, RealEnvPreset
from agents.recipe import EnvRecipe, FrameOptions
from world_model.errors import WorldNotFoundError

Preset = RealEnvPreset | EnvRecipe

# The whole width is kept (90 degrees: fireballs come from the sides), but only the middle two
# thirds of the height: above and below is bare ceiling and floor. A distant fireball is one to
# two pixels wide, so the picture is rendered large and averaged in whole pixels, which keeps
# such a fireball visible and steady where nearest-neighbour sampling would make it flicker.
# ViZDoom orders the combinations of its buttons as binary numbers, hence right before left.
DOOM_TAKE_COVER = RealEnvPreset(
    name="doom-take-cover",
    env_id="VizdoomTakeCover-v1",
    screen_resolution="RES_256X192",
    crop=(32, 160, 0, 256),
    reduce=(2, 4),
    frame_skip=4,
    fps=35 / 4,
    max_episode_steps=525,
    action_names=("stay", "right", "left"),
    reward_meaning="game tics survived (35 per second)",
    state_variables=(
        "HEALTH",
        "POSITION_X",
        "POSITION_Y",
        "ANGLE",
        "VELOCITY_X",
        "VELOCITY_Y",
    ),
    label_classes={"DoomImp": (1, "monster"), "DoomImpBall": (2, "fireball")},
)

# The sky is empty, and medikits are large where they are near: the lower two thirds. The health
# that runs out is not on the screen, as in the scenario; it is in the state.
DOOM_HEALTH_GATHERING = RealEnvPreset(
    name="doom-health-gathering",
    env_id="VizdoomHealthGathering-v1",
    screen_resolution="RES_256X192",
    crop=(64, 192, 0, 256),
    reduce=(2, 4),
    frame_skip=4,
    fps=35 / 4,
    max_episode_steps=525,
    action_names=("stay", "forward", "right", "left"),
    reward_meaning="game tics survived (35 per second), and -100 for death",
    state_variables=("HEALTH", "POSITION_X", "POSITION_Y", "ANGLE"),
    label_classes={"Medikit": (1, "medikit")},
)

# Monsters stand on the horizon in the middle of the screen; the weapon below is cut in half.
DOOM_DEFEND_THE_CENTER = RealEnvPreset(
    name="doom-defend-the-center",
    env_id="VizdoomDefendCenter-v1",
    screen_resolution="RES_256X192",
    crop=(48, 176, 0, 256),
    reduce=(2, 4),
    frame_skip=4,
    fps=35 / 4,
    max_episode_steps=525,
    action_names=("stay", "attack", "right", "left"),
    reward_meaning="monsters killed, and -1 for death",
    state_variables=("HEALTH", "AMMO2", "KILLCOUNT", "ANGLE"),
    label_classes={"Demon": (1, "monster"), "MarineChainsawVzd": (1, "monster")},
)

# The controls of Minecraft in a level of Freedoom: keys that are held, and a mouse. 17.5 steps a
# second come nearest to Minecraft's 20. Degrees are per game tic, so twice as many a step.
DOOM_KEYBOARD_MOUSE = EnvRecipe(
    name="doom-keyboard-mouse",
    env_id="VizdoomFreedoom1E1M1-S3-v0",
    kwargs={
        "available_buttons": [
            "MOVE_FORWARD",
            "MOVE_BACKWARD",
            "MOVE_LEFT",
            "MOVE_RIGHT",
            "ATTACK",
            "USE",
            "SPEED",
            "TURN_LEFT_RIGHT_DELTA",
            "LOOK_UP_DOWN_DELTA",
        ],
        "max_buttons_pressed": 0,
        "available_game_variables": [
            "POSITION_X",
            "POSITION_Y",
            "POSITION_Z",
            "ANGLE",
            "PITCH",
            "HEALTH",
        ],
        "screen_resolution": "RES_256X192",
        "frame_skip": 2,
        "render_hud": False,
        "render_messages": False,
        "audio_buffer_enabled": False,
        "automap_buffer_enabled": False,
    },
    frames=FrameOptions(action_limit=5.0, max_episode_steps=1050),
    fps=17.5,
    reward="1 for the exit of the level",
)


def _atari(name: str, reward: str, crop: tuple[int, int, int, int] | None = None) -> EnvRecipe:
    """A game of the Arcade Learning Environment, 15 steps a second.

    Sticky actions are off, so that a frame follows from the action; up to 30 steps of waiting
    make episodes differ, since seeds hardly do. Whole games are played: a life lost is no end.
    """
    return EnvRecipe(
        name=name,
        env_id=f"ALE/{name.capitalize()}-v5",
        kwargs={"frameskip": 1, "repeat_action_probability": 0.0},
        frames=FrameOptions(
            crop=crop, frame_skip=4, noop_starts=30, pool_frames=True, max_episode_steps=2000
        ),
        fps=15.0,
        reward=reward,
    )


# Three lines of the screen make one of a frame, and a row of bricks two: nothing is blurred.
BREAKOUT = _atari("breakout", "points for bricks", crop=(3, 195, 0, 160))
PONG = _atari("pong", "points won, less points lost")
# What it shows are 9 by 9 tiles: of 8 pixels a side, each is a token of its own. Episodes end
# before night, which after 147 steps begins to hide the land behind noise that no world foresees.
CRAFTER = EnvRecipe(
    name="crafter",
    env_id="Crafter-v1",
    kwargs={"size": [72, 72]},
    frames=FrameOptions(size=(72, 72), max_episode_steps=145),
    fps=10.0,
    reward="1 for each achievement unlocked first, and 0.1 for each point of health",
)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        DOOM_TAKE_COVER,
        DOOM_HEALTH_GATHERING,
        DOOM_DEFEND_THE_CENTER,
        DOOM_KEYBOARD_MOUSE,
        BREAKOUT,
        PONG,
        CRAFTER,
    )
}


def get_preset(name: str) -> Preset:
    """The preset called ``name``.

    Raises:
        WorldNotFoundError: if there is none.
    """
    try:
        return PRESETS[name]
    except KeyError:
        close = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise WorldNotFoundError(
            f"no real environment is called {name!r}.{hint} There are: "
            f"{', '.join(sorted(PRESETS))}."
        ) from None


def make_real_env(
    preset: Preset | str, seed: int | None = None, *, labels: bool = True
) -> RealEnv | FrameEnv:
    """Makes a real environment.

    Args:
        preset: a recipe, a preset, or the name of one.
        seed: seed of the first ``reset()`` that is given none.
        labels: whether ``info["labels"]`` is filled, where the preset names classes of objects
            (costs a second picture per step).

    Raises:
        WorldNotFoundError: if no preset has the given name.
        NFDError: if the game is not installed, or does not fit the recipe.
    """
    if isinstance(preset, str):
        preset = get_preset(preset)
    if isinstance(preset, EnvRecipe):
        return FrameEnv(preset, seed)
    return RealEnv(preset, seed, labels=labels)
