"""The examples run, shortened, and do what they say."""

import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"


def example(name: str):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_run_here():
    assert {p.stem for p in FOLDER.glob("*.py")} == {"black_box", "model_server", "own_model"}


def test_the_server_has_tests_of_its_own():
    assert "model_server" in (Path(__file__).parent / "test_http_server.py").read_text()


def test_own_model_learns():
    assert example("own_model").main() > 0.9


@pytest.mark.slow
def test_black_box_learns():
    assert example("black_box").main() > 0.5


def test_black_box_runs():
    assert 0 <= example("black_box").main(steps=1) <= 1
