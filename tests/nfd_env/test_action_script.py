"""Scripts of actions: names and values, JSON lines and CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from nfd_env.action_script import find_action, load_script
from world_model.action_spec import ActionSpec
from world_model.errors import ActionError, DataError
from world_model.minecraft.formats import FORMATS

SPEC = ActionSpec.from_space(spaces.Discrete(3, start=4), names=["stay", "left", "Right"])


def read(tmp_path: Path, text: str, spec: ActionSpec = SPEC) -> list[tuple[list[float], int]]:
    file = tmp_path / "script"
    file.write_text(text)
    return [(vector.tolist(), count) for vector, count in load_script(file, spec)]


def test_lines_of_both_kinds(tmp_path: Path) -> None:
    text = 'action,steps\n# comment\n\nleft,10\nright\n5,2\n{"action": "stay", "steps": 3}\n'
    text += '{"action": 6}\n'
    assert read(tmp_path, text) == [([1], 10), ([2], 1), ([1], 2), ([0], 3), ([2], 1)]


def test_keys_and_values_of_larger_spaces() -> None:
    spec = FORMATS["minerl"].spec
    vector = find_action("forward+attack+turn left", spec)
    action = spec.decode(vector)
    assert action["forward"] == action["attack"] == 1
    assert action["camera"].tolist() == [0, -6]
    assert np.array_equal(find_action(action, spec), vector)
    box = ActionSpec.from_space(spaces.Box(-1, 1, (2,)))
    assert find_action([0.5, -1], box).tolist() == [0.5, -1]
    assert find_action("[0.5, -1]", box).tolist() == [0.5, -1]


def test_actions_without_names_are_called_as_they_are_shown() -> None:
    unnamed = ActionSpec.from_space(spaces.Discrete(3))
    for name in ("Action 2", "action=2", " action 2"):
        assert find_action(name, unnamed).tolist() == [2]
    assert find_action("Action 0", unnamed).tolist() == [0]  # no key does it
    two = ActionSpec.from_space(spaces.MultiDiscrete([3, 4]))
    assert find_action("Action 0: 2+Action 1: 3", two).tolist() == [2, 3]
    with pytest.raises(ActionError, match="Known are Action 0, Action 1, Action 2"):
        find_action("jump", unnamed)


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("jump,3", ActionError, "line 1: no action is called 'jump'. Known are stay, left"),
        ("9", ActionError, "line 1: .*outside the action space"),
        ("left,0", DataError, "line 1: steps='0'"),
        ("left,-2", DataError, "steps='-2'"),
        ("left,many", DataError, "steps='many'"),
        ("left,1,2", DataError, "expected an action and its steps"),
        ("left,10\n{oops", DataError, "line 2 is no JSON"),
        ('{"act": "left"}', DataError, "line 1: expected"),
        ('{"action": "left", "steps": true}', DataError, "steps=True"),
        ('{"action": null}', ActionError, "None is no action"),
        ('{"action": {"a": 1}}', ActionError, "does not fit"),
        ("# nothing", DataError, "holds no action"),
    ],
)
def test_mistakes_name_their_line(
    tmp_path: Path, line: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read(tmp_path, line)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load_script(tmp_path / "none", SPEC)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(DataError, match="cannot be read"):
        load_script(tmp_path / "bytes", SPEC)
