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
    timeline.put_snapshot(path[4].id, "four", 1, tip)
    timeline.put_snapshot(path[8].id, "eight", 1, tip)

    def way(step, live=None):
        begin, snapshot, steps = timeline.way_to(path[step].id, live)
        return begin.step, snapshot, [m.step for m in steps]

    assert way(10) == (8, "eight", [9, 10])
    assert way(8) == (8, "eight", [])
    assert way(7) == (4, "four", [5, 6, 7])
    assert way(2) == (0, None, [1, 2])
    assert way(7, live=path[6].id) == (6, None, [7])
    assert way(6, live=path[7].id) == (4, "four", [5, 6])  # there is no stepping back


def lengthen(timeline, here, steps, size=2**20):
    """A line with snapshots; returns its last moment and the longest way that there was to it."""
    longest = 0
    for _ in range(steps):
        here = walk(timeline, here, [0])
        longest = max(longest, len(timeline.way_to(here, None)[2]))
        if timeline.wants_snapshot(timeline[here].step):
            timeline.put_snapshot(here, timeline[here].step, size, here)
    return here, longest


def test_snapshots_stay_within_their_memory_and_dense_where_the_visitor_is():
    timeline, root = begun(snapshot_mb=10, every=2)
    tip, longest = lengthen(timeline, root, 2000)
    assert timeline.snapshots.bytes <= 10 * 2**20
    assert longest <= 2  # the nearest snapshot is always that of the moment before
    ways = {m.step: len(timeline.way_to(m.id, None)[2]) for m in timeline.path_to(tip)}
    assert all(
        timeline.way_to(n, None)[1] in (None, timeline.way_to(n, None)[0].step)
        for n in timeline.moments
    )
    near, far = max(ways[s] for s in range(1950, 2001)), max(ways.values())
    assert near < 50  # evenly spread, ten would be 200 steps apart everywhere
    assert near < far < 700


def test_the_snapshot_from_which_a_visitor_is_reached_never_goes():
    timeline, root = begun(snapshot_mb=3, every=4)
    tip, _ = lengthen(timeline, root, 40)
    way = len(timeline.way_to(tip, None)[2])
    other = walk(timeline, root, [1])
    for _ in range(200):  # they look around elsewhere
        other = walk(timeline, other, [0])
        if timeline.wants_snapshot(timeline[other].step):
            timeline.put_snapshot(other, timeline[other].step, 2**20, tip)
    assert len(timeline.way_to(tip, None)[2]) == way < 4
    assert len(timeline.snapshots) == 3


def test_one_snapshot_is_kept_however_large():
    timeline, root = begun(snapshot_mb=0.5, every=4)
    _, longest = lengthen(timeline, root, 40)
    assert len(timeline.snapshots) == 1
    assert longest <= 4


def test_pictures_shown_longest_ago_are_dropped_and_moments_stay():
    timeline, root = begun(picture_mb=0.01)
    tip = walk(timeline, root, [0] * 9, size=1000)
    first, second = [m.id for m in timeline.path_to(tip)][1:3]
    timeline.shown(first)
    tip = walk(timeline, tip, [0] * 3, size=1000)
    assert timeline[first].picture
    assert not timeline[second].picture
    assert timeline.bytes == sum(len(m.picture) for m in timeline.moments.values()) <= 10486
    assert len(timeline.moments) == 13
    assert timeline.following(first, np.array([0], np.float32)).id == second
    assert timeline.keep_picture(second, b"y" * 1000).picture == timeline[second].picture
    assert timeline.bytes == sum(len(m.picture) for m in timeline.moments.values())
    timeline.keep_picture(tip, b"z" * 20_000)  # larger than all the memory
    assert [m.id for m in timeline.moments.values() if m.picture] == [tip]


def test_the_oldest_lines_make_room_for_new_moments():
    timeline, root = begun(most_moments=40)
    walk(timeline, root, [0] * 9)
    side = walk(timeline, root, [1] * 9)
    lines = list(timeline.branches)
    other = timeline.add(None, None, picture=b"", check=0, start="another").id
    tip = walk(timeline, other, [0] * 20)
    assert timeline.gone == []
    tip = walk(timeline, tip, [0])
    assert timeline.gone == lines  # the first start, and what left from it
    assert side not in timeline.moments
    assert len(timeline.path_to(tip)) == 22
    assert set(timeline.moments) == {m.id for m in timeline.path_to(tip)}


def test_a_line_that_is_all_there_may_be_makes_room_only_for_a_new_start():
    timeline, root = begun(most_moments=20)
    tip = walk(timeline, root, [0] * 19)
    with pytest.raises(RequestError, match=r"this line has 20 moments.*start anew"):
        walk(timeline, tip, [0])
    with pytest.raises(RequestError, match="this line has 20 moments"):
        walk(timeline, root, [1])
    assert timeline.gone == []
    assert walk(timeline, root, [0] * 19) == tip  # what is known can be walked
    branch = timeline[root].branch
    again = timeline.add(None, None, picture=b"", check=0, start="another").id
    assert timeline.gone == [branch]
    assert list(timeline.moments) == [again]


def test_forgetting_a_branch_frees_its_memory_and_not_ones_own():
    timeline, root = begun()
    walk(timeline, root, [0, 0], size=500)
    side = walk(timeline, root, [1] * 8, size=2000)
    walked = timeline[side].branch
    with pytest.raises(RequestError, match="you are on this branch"):
        timeline.forget(walked, side)
    assert timeline.bytes == 17_000
    assert timeline.forget(walked, root) == [walked]
    assert timeline.bytes == 1000
    with pytest.raises(RequestError, match="no such moment"):
        _ = timeline[side]


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
