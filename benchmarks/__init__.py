"""Benchmarks: how fast a world is, how faithful, and what agents trained in it are worth."""
