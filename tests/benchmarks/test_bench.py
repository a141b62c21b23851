from importlib import import_module

import pytest

from benchmarks import bench
from world_model.errors import NFDError


def test_every_bench_is_there(capsys):
    assert bench.main(["--help"]) == 0
    output = capsys.readouterr().out
    for name, (module, summary) in bench.BENCHES.items():
        assert callable(import_module(module).main)
        assert f"  {name} " in output
        assert summary in output


def test_without_a_name_it_is_speed(monkeypatch):
    called = []
    for module, _ in bench.BENCHES.values():
        name = module.rpartition(".")[2]
        monkeypatch.setattr(
            import_module(module), "main", lambda argv, name=name: called.append((name, argv))
        )
    bench.main(["doom-take-cover", "--seconds", "1"])
    bench.main(["speculation", "--steps", "3"])
    bench.main([])
    assert called == [
        ("speed", ["doom-take-cover", "--seconds", "1"]),
        ("speculation", ["--steps", "3"]),
        ("speed", []),
    ]
    with pytest.raises(NFDError, match="one thing at a time"):
        bench.main(["speed", "exact"])
