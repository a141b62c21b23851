"""One imagined episode whose settings may change in its midst."""

from __future__ import annotations

from typing import Any

import numpy as np

from nfd_env.env import NFDWorldEnv
from nfd_env.snapshot import Snapshot

Moment = tuple[np.ndarray, float, bool, bool, dict[str, Any]]
"""What a step returns: frame, reward, terminated, truncated, info."""


class Dream:
    """An imagined world that is given encoded actions.

    Args:
        world: name, folder or object, as the environment takes it.
        settings: arguments of the environment.

    Raises:
        NFDError: as the environment does.
    """

    def __init__(self, world: Any, **settings: Any) -> None:
        self.settings = settings
        self.env = NFDWorldEnv(world, **settings)
        self.world = self.env.world

    @property
    def speculation(self) -> dict[str, Any] | None:
        """What speculation brought, see the environment's."""
        return self.env.speculation

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode: its first frame, and ``info`` with its ``episode_seed``."""
        return self.env.reset(seed=seed, options=options)

    def step(self, vector: np.ndarray) -> Moment:
        """Imagines the next frame for an encoded action, float32 (K,)."""
        result = self.env.core.step(np.asarray(vector, np.float32)[None])
        return result.single()

    def save(self) -> Snapshot:
        """This moment."""
        return self.env.save_state()

    def restore(self, snapshot: Snapshot) -> np.ndarray:
        """Returns to a moment; the frame seen then."""
        return self.env.restore_state(snapshot)

    def change(self, **settings: Any) -> None:
        """Goes on from here with other settings.

        Raises:
            NFDError: if there is no going on so; everything stays as it was.
        """
        wanted = {**self.settings, **settings}
        if wanted == self.settings:
            return
        other = NFDWorldEnv(self.world, **wanted)
        try:
            if self.env.core.state is not None:
                other.restore_state(self.env.save_state())
        except BaseException:
            other.close()
            raise
        self.env.close()
        self.env, self.settings = other, wanted

    def close(self) -> None:
        """Lets go of what computes ahead."""
        self.env.close()
