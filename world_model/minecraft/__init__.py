"""Minecraft's actions, in the formats that data sets, models and agents use.

A world is trained on the actions of its data, whose format its action spec names. An environment
may face an agent with any of them, ``gym.make("NFD-World-v0", world=..., action_mode=...)``:

==================  ======================================  =======================================
discrete            Discrete(23)                            useful combinations: ``discrete.TABLE``
multidiscrete       MultiDiscrete(10 3 3 3 2 2 2 2 11 11)   VPT's groups: hotbar, fore_back,
                                                            left_right, sprint_sneak, use, drop,
                                                            attack, jump; bins of pitch and yaw
multidiscrete-full  the same, 2 2 2 2 before the camera     inventory, ESC, swapHands, pickItem, too
mineworld           MultiDiscrete(10 3 3 3 3 2 3 21 21)     MineWorld's groups, and the paper's:
                                                            hotbar, fore_back, left_right,
                                                            sprint_sneak, use_attack, jump,
                                                            drop_pick; bins of pitch and yaw
minerl              Dict of 23 Discrete(2) and camera,      MineRL 1.0's buttons, and the degrees
                    Box(-180, 180, (2,))                    of pitch and yaw
oasis               Box(25)                                 Open-Oasis's vector
==================  ======================================  =======================================

Positive pitch looks down, positive yaw to the right. stable-baselines3 takes all but the Dict.

Translation goes through buttons and degrees (``actions.MinecraftActions``). Any format survives
the way to ``minerl`` and back, but for jump and sneak at once in ``mineworld``; so do ``discrete``,
``multidiscrete`` and ``multidiscrete-full`` that to a later one of the three and back. Otherwise
the nearest action is taken:

* The camera moves by the nearest bin, nearest after companding (``camera.CameraBins``), and at most
  by the outermost. ``oasis`` has bins of half a degree, up to 20 degrees.
* Contradictions cancel, both buttons are released: forward and back, left and right, sprint and
  sneak; in ``mineworld`` also jump and sneak, attack and use. ``minerl`` and ``oasis`` keep them.
* Of several hotbar keys the lowest is taken (VPT's own code takes the highest); of drop and
  pickItem in ``mineworld``, drop. Buttons that a format does not have are released.
* ``discrete`` takes the row with the fewest other buttons, and of these that with the nearest
  camera.

To record data for a world, use ``minerl.minerl_spec()``, or ``spec`` of another format.
"""
