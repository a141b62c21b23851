"""``nfd bench``: one command for every figure about speed."""

from __future__ import annotations

from importlib import import_module

from world_model.errors import NFDError

BENCHES = {
    "speed": ("benchmarks.speed", "whole steps of the environment, and where the time goes"),
    "speculation": ("benchmarks.speculation", "what each mode of speculation gains, and when"),
    "exact": ("benchmarks.exactness", "that speculation never changes what an agent sees"),
    "peers": ("benchmarks.peers", "an imagined step of ours beside those of other projects"),
    "loading": ("benchmarks.loading", "whether training ever waits for its data"),
    "paper": ("benchmarks.paper_scale", "the paper's sizes, with random weights (best on a GPU)"),
}


def main(argv: list[str]) -> int:
    """Entry point of ``nfd bench``; without a name it is ``nfd bench speed``."""
    if argv and argv[0] in ("-h", "--help"):
        width = max(map(len, BENCHES))
        lines = [f"  {name:<{width}}  {summary}" for name, (_, summary) in BENCHES.items()]
        print(
            "\n".join(
                ["usage: nfd bench [NAME] [options]     (NAME: speed by default)", "", *lines]
            )
        )
        return 0
    name, rest = (argv[0], argv[1:]) if argv and argv[0] in BENCHES else ("speed", argv)
    if rest and name == "speed" and rest[0] in BENCHES:
        raise NFDError(f"nfd bench measures one thing at a time: {name} or {rest[0]}.")
    return int(import_module(BENCHES[name][0]).main(rest) or 0)
