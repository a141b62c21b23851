"""Agents: recorders of real environments, training in imagination, evaluation in the real game."""
