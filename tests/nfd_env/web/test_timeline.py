from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("aiohttp")

from nfd_env.web.limits import RequestError
from nfd_env.web.timeline import Timeline


def walk(timeline, here, actions, size=10):
    for action in actions:
        vector = np.array([action], np.float32)
        known = timeline.following(here, vector)
        here = (known or timeline.add(here, vector, picture=b"x" * size, check=action)).id
    return here


def begun(**options):
    timeline = Timeline(**options)
    return timeline, timeline.add(None, None, picture=b"", check=0, start="seed").id


def test_doing_something_else_begins_a_branch_and_the_same_again_does_not():
    timeline, root = begun()
    tip = walk(timeline, root, [0, 1, 2])
    middle = timeline.path_to(tip)[1].id
    other = walk(timeline, middle, [2, 2])
    assert walk(timeline, middle, [1, 2]) == tip
    assert walk(timeline, middle, [2, 2]) == other
    assert len(timeline.branches) == 2
    assert [m.action for m in timeline.path_to(other)] == [(), (0,), (2,), (2,)]
    assert [m.step for m in timeline.path_to(other)] == [0, 1, 2, 3]
    fork = timeline.branches[timeline[other].branch].fork
    assert fork == middle


def test_a_branch_of_a_branch_knows_where_it_began():
    timeline, root = begun()
    other = timeline.add(None, None, picture=b"", check=0, start="another").id
    middle = walk(timeline, root, [0, 1, 2])
    branch = walk(timeline, timeline.path_to(middle)[1].id, [2, 2])
    deeper = walk(timeline, timeline.path_to(branch)[3].parent, [1, 1])
    assert len(timeline.branches) == 4
    assert [timeline.start_of(n) for n in (root, branch, deeper, other)] == [
        *["seed"] * 3,
        "another",
    ]


def test_another_number_of_denoising_steps_is_another_future():
    timeline, root = begun()
    action = np.array([1], np.float32)
    few = timeline.add(root, action, picture=b"", check=0, sampling=1)
    many = timeline.add(root, action, picture=b"", check=0, sampling=4)
    assert few.branch != many.branch
    assert timeline.following(root, action, 1) == few
    assert timeline.following(root, action, 4) == many
    assert timeline.following(root, action) is None
    timeline.forget(many.branch, few.id)
    assert timeline.following(root, action, 4) is None
    assert timeline.following(root, action, 1) == few


def test_the_way_back_is_the_shortest_from_what_is_there():
    timeline, root = begun(every=4)
    tip = walk(timeline, root, range(11))
    path = timeline.path_to(tip)
    timeline.put_snapshot(path[4].id, "four", 1)
    timeline.put_snapshot(path[8].id, "eight", 1)

    def way(step, live=None):
        begin, snapshot, steps = timeline.way_to(path[step].id, live)
        return begin.step, snapshot, [m.step for m in steps]

    assert way(10) == (8, "eight", [9, 10])
    assert way(8) == (8, "eight", [])
    assert way(7) == (4, "four", [5, 6, 7])
    assert way(2) == (0, None, [1, 2])
    assert way(7, live=path[6].id) == (6, None, [7])
    assert way(6, live=path[7].id) == (4, "four", [5, 6])  # there is no stepping back


def test_snapshots_are_thinned_to_stay_within_their_memory():
    timeline, root = begun(snapshot_mb=10, every=2)
    here = root
    for step in range(1, 201):
        here = walk(timeline, here, [0])
        if timeline.wants_snapshot(step):
            timeline.put_snapshot(here, step, 2**20)
        assert timeline.snapshot_bytes <= 10 * 2**20
    begin, snapshot, steps = timeline.way_to(here, None)
    assert snapshot == begin.step
    assert len(steps) < timeline.every == 32


def test_a_full_timeline_says_so_and_forgetting_a_branch_makes_room():
    timeline, root = begun(picture_mb=0.02)
    walk(timeline, root, [0, 0], size=500)
    side = walk(timeline, root, [1] * 8, size=2000)
    with pytest.raises(RequestError, match="full"):
        walk(timeline, root, [2, 2], size=2000)
    walked = timeline[side].branch
    with pytest.raises(RequestError, match="you are on this branch"):
        timeline.forget(walked, side)
    gone = timeline.forget(walked, root)
    assert gone[0] == walked
    with pytest.raises(RequestError, match="no such moment"):
        _ = timeline[side]
    before = timeline.bytes
    walk(timeline, root, [1], size=500)
    assert timeline.bytes > before > 0


def test_a_branch_goes_with_all_that_leave_from_it():
    timeline, root = begun()
    main = walk(timeline, root, [0, 0])
    first = walk(timeline, root, [1, 1])
    second = walk(timeline, first, [2])  # goes on along the first
    third = walk(timeline, timeline[first].parent, [2])
    timeline.forget(timeline[first].branch, main)
    assert set(timeline.moments) == {m.id for m in timeline.path_to(main)}
    assert first not in timeline.moments
    assert second not in timeline.moments
    assert third not in timeline.moments


@pytest.mark.parametrize("number", [None, "1", 1.0, True, -1, 99, [1]])
def test_moments_and_branches_that_are_none(number):
    timeline, root = begun()
    assert root not in (99, -1)
    for ask in (timeline.__getitem__, lambda n: timeline.rename(n, "x")):
        if number is True and 1 in timeline.branches:
            continue
        with pytest.raises(RequestError, match="there is no such"):
            ask(number)


def test_names_are_short_and_printable():
    timeline, _ = begun()
    branch = next(iter(timeline.branches))
    assert timeline.rename(branch, "  the\n left\x00 door ").name == "the left door"
    assert len(timeline.rename(branch, "x" * 100).name) == 40
    assert timeline.rename(branch, "\x00").name == "x" * 40
