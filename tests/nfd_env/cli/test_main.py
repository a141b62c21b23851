from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from nfd_env.cli import main as cli
from world_model.errors import ActionError, NFDError, StorageError


@pytest.fixture
def command(monkeypatch):
    """Installs ``nfd probe``, whose body is the function given to it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("NFD_THREADS", raising=False)
    monkeypatch.delenv("NFD_DEBUG", raising=False)
    monkeypatch.setattr(sys, "argv", ["nfd"])

    def install(body, *, computes=False):
        module = ModuleType("nfd_probe")
        module.main = body
        monkeypatch.setitem(sys.modules, "nfd_probe", module)
        monkeypatch.setitem(cli.COMMANDS, "probe", cli.Command("nfd_probe", "a probe", computes))

    return install


def raising(error):
    def body(argv):
        raise error

    return body


def test_help_lists_every_command_without_torch(repository):
    code = (
        "import sys; from nfd_env.cli.main import main; code = main(['--help']);"
        "assert 'torch' not in sys.modules and 'tyro' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for name, entry in cli.COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert entry.summary in done.stdout


def test_no_arguments_print_the_help(capsys):
    assert cli.main([]) == 0
    assert "usage: nfd COMMAND" in capsys.readouterr().out


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("nfd-world ")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_main(name):
    """Read from the source: importing would load what the command needs."""
    module = cli.COMMANDS[name].module
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None
    assert spec is not None, f"{module} does not exist"
    tree = ast.parse(Path(spec.origin).read_text())
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert "main" in defined | imported


def test_unknown_command_names_the_close_ones(capsys):
    assert cli.main(["trian"]) == 2
    error = capsys.readouterr().err
    assert "'trian'" in error
    assert "Did you mean train" in error


def test_unknown_command_without_a_close_one(capsys):
    assert cli.main(["zzz"]) == 2
    assert "nfd --help" in capsys.readouterr().err


def test_arguments_and_exit_code_pass_through(command):
    seen = []
    command(lambda argv: seen.append(argv) or 3)
    assert cli.main(["probe", "--x", "1"]) == 3
    assert seen == [["--x", "1"]]


@pytest.mark.parametrize("error", [ActionError("action 7 is wrong."), StorageError("disk full.")])
def test_known_errors_are_one_line(command, capsys, error):
    command(raising(error))
    assert cli.main(["probe"]) == 1
    assert capsys.readouterr().err == f"nfd: {error}\n"


def test_debug_shows_the_traceback(command, monkeypatch):
    command(raising(NFDError("wrong")))
    monkeypatch.setenv("NFD_DEBUG", "1")
    with pytest.raises(NFDError, match="wrong"):
        cli.main(["probe"])


def test_unknown_errors_keep_their_traceback(command):
    command(raising(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["probe"])


def test_interrupt(command, capsys):
    command(raising(KeyboardInterrupt()))
    assert cli.main(["probe"]) == 130
    assert capsys.readouterr().err.strip() == "nfd: interrupted"


@pytest.mark.parametrize(
    ("package", "extra"),
    [("vizdoom", "doom"), ("vizdoom.gymnasium_wrapper", "doom"), ("pygame", "play")],
)
def test_missing_extra_says_how_to_install_it(command, capsys, package, extra):
    command(raising(ModuleNotFoundError(f"No module named {package!r}", name=package)))
    assert cli.main(["probe"]) == 1
    assert f'pip install "nfd-world[{extra}]"' in capsys.readouterr().err


def test_other_missing_modules_are_bugs(command):
    command(raising(ModuleNotFoundError("No module named 'tpyo'", name="tpyo")))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["probe"])


def test_closed_pipe_is_quiet(repository):
    """`nfd ... | head -0`: no traceback, not even at interpreter shutdown."""
    code = (
        "import sys; from nfd_env.cli import main as cli; from types import ModuleType\n"
        "probe = ModuleType('nfd_probe'); sys.modules['nfd_probe'] = probe\n"
        "probe.main = lambda argv: [print('x' * 100, flush=True) for _ in range(10000)]\n"
        "cli.COMMANDS['probe'] = cli.Command('nfd_probe', '', False)\n"
        "sys.exit(cli.main(['probe']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


class TestThreads:
    @pytest.fixture
    def run(self, command, monkeypatch):
        """Runs the probe and returns the OMP_NUM_THREADS and the arguments that it saw."""
        seen = {}

        def body(argv):
            seen.update(threads=os.environ.get("OMP_NUM_THREADS"), argv=argv)
            return 0

        def run(*argv):
            assert cli.main(list(argv)) == 0
            return seen["threads"], seen["argv"]

        command(body, computes=True)
        monkeypatch.delenv("OMP_NUM_THREADS")
        monkeypatch.delitem(sys.modules, "torch", raising=False)
        return run

    def test_one_by_default_and_says_so(self, run, capsys):
        assert run("probe", "a") == ("1", ["a"])
        assert "1 CPU thread " in capsys.readouterr().err

    @pytest.mark.parametrize(
        "argv",
        [
            ("probe", "a", "--threads", "4"),
            ("probe", "--threads=4", "a"),
            ("--threads", "4", "probe", "a"),
        ],
    )
    def test_option_anywhere(self, run, argv, capsys):
        assert run(*argv) == ("4", ["a"])
        assert "4 CPU threads" in capsys.readouterr().err

    def test_environment(self, run, monkeypatch):
        monkeypatch.setenv("NFD_THREADS", "3")
        assert run("probe")[0] == "3"
        assert run("probe", "--threads", "2")[0] == "2"

    def test_the_users_choice_stands(self, run, monkeypatch, capsys):
        monkeypatch.setenv("OMP_NUM_THREADS", "8")
        assert run("probe")[0] == "8"
        assert capsys.readouterr().err == ""
        assert run("probe", "--threads", "2")[0] == "2"

    def test_a_torch_already_loaded_is_told(self, run, monkeypatch):
        calls = []
        torch = ModuleType("torch")
        torch.set_num_threads = calls.append
        monkeypatch.setitem(sys.modules, "torch", torch)
        run("probe", "--threads", "2")
        assert calls == [2]

    def test_asking_for_help_prints_help_only(self, run, capsys):
        run("probe", "--help")
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize("value", ["0", "-1", "two", ""])
    def test_bad_number(self, command, capsys, value):
        command(lambda argv: 0)
        assert cli.main(["probe", f"--threads={value}"]) == 2
        assert "--threads" in capsys.readouterr().err

    def test_missing_number(self, command, capsys):
        command(lambda argv: 0)
        assert cli.main(["probe", "--threads"]) == 2
