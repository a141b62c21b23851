"""Training of worlds: configuration, optimisation, checkpoints, the whole pipeline."""
