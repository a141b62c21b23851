"""Recordings of others as data sets: ``nfd import``.

A format says which recordings there are (``plan``) and reads one as a stream of steps (``read``);
everything else (episodes, shards, processes, resumption, the report) is the same for all.
"""
