"""A model in another process, reprogrammed over HTTP: faults, budgets, a kill in the middle."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import commands
import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("httpx", reason="pip install 'reprogram[blackbox]'")

SERVER = Path(__file__).parents[1] / "examples" / "model_server.py"
PATIENCE = 120  # seconds for a process to start on a busy machine
FIT = (
    "fit", "--recipe", "ar", "--task", "digits?limit=48&validation=30&test=40", "--epochs", 2,
    "--batch-size", 16, "--set", "optimizer=SPSA(c=0.05, directions=2)", "--set",
    "mapping=Frequency",
)  # fmt: skip
FAULTS = "429=0.1,500=0.1,timeout=0.03,garbage=0.08,drop=0.05,slow=0.1"


@dataclass
class Served:
    """A server that runs."""

    adapter: Path

    def told(self) -> dict[str, Any]:
        """What it says of itself."""
        url = json.loads(self.adapter.read_text())["url"]
        with urllib.request.urlopen(re.sub(r"/predict$", "/count", url), timeout=30) as reply:
            return json.load(reply)


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Served]:
    """``zoo:images`` in a process of its own."""
    folder.mkdir(exist_ok=True)
    adapter = folder / "api.json"
    process = subprocess.Popen(
        [sys.executable, str(SERVER), "--write-adapter", str(adapter), "--encode", "png",
         "--port", "0", *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while not adapter.exists():
            assert process.poll() is None and time.monotonic() < deadline, (
                "the server did not start"
            )
            time.sleep(0.02)
        changed = json.loads(adapter.read_text())
        changed |= {"batch": 16, "concurrency": 3, "timeout": 1.5, "retries": 12, "backoff": 0.01}
        adapter.write_text(json.dumps(changed))
        yield Served(adapter)
    finally:
        process.kill()
        process.wait()


def words(served: Served, out: Path, *more: object) -> tuple[object, ...]:
    return (*FIT, "--source", "http:", "--adapter", served.adapter, "--out", out, *more)


def run(served: Served, out: Path, *more: object) -> dict[str, Any]:
    process = commands.start(*words(served, out, "--json", *more), cwd=out.parent)
    told, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return json.loads(told)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A run without faults, and where it stands."""
    folder = tmp_path_factory.mktemp("unbroken")
    with serving(folder) as served:
        metrics = run(served, folder / "run")
        assert served.told()["computed"] == metrics["queries"]
    return metrics, folder / "run"


def same(one: Path, other: Path) -> bool:
    """Whether two runs hold the same program, bit for bit."""
    tensors = [load_file(run / "program.safetensors") for run in (one, other)]
    return all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


@pytest.mark.parametrize("seed", ["0", "1"])
def test_faults_change_neither_the_program_nor_its_accuracy(
    seed: str, unbroken: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    metrics, whole = unbroken
    budget = 2 * metrics["queries"]
    with serving(tmp_path, "--fail", FAULTS, "--seed", seed, "--hang", "2") as served:
        broken = run(served, tmp_path / "run", "--budget", budget, "--price", 2)
        told = served.told()
    assert {"429", "500", "garbage"} <= set(told["faults"])  # they did happen
    assert broken["test"] == metrics["test"]
    assert broken["validation"] == metrics["validation"]
    assert same(tmp_path / "run", whole)
    # what the server computed and lost is paid for, what it turned away is not
    assert metrics["queries"] <= told["computed"] <= broken["queries"] <= budget
    assert broken["cost"] == pytest.approx(broken["queries"] * 0.002)


@pytest.mark.parametrize("at", [0.3, 0.7])
def test_killed_and_resumed_no_answer_is_paid_for_twice(
    at: float, unbroken: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    metrics, whole = unbroken
    with serving(tmp_path) as served:
        out = tmp_path / "run"
        process = commands.start(*words(served, out), cwd=tmp_path)
        deadline = time.monotonic() + PATIENCE
        while served.told()["computed"] < at * metrics["queries"]:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert (out / "checkpoint" / "answers.sqlite").is_file()
        assert not (out / "program.json").exists()
        resumed = run(served, out, "--resume")
        computed = served.told()["computed"]
    assert same(out, whole)
    assert resumed["test"] == metrics["test"]
    in_flight = 4 * 16  # the two directions of a step, both ways, are one call
    assert metrics["queries"] <= computed <= metrics["queries"] + in_flight
    assert resumed["queries"] <= metrics["queries"]
    assert not (out / "checkpoint").exists()


def test_the_budget_holds_on_the_other_side_too(tmp_path: Path) -> None:
    with serving(tmp_path, "--fail", "garbage=0.2,500=0.2", "--seed", "3") as served:
        metrics = run(served, tmp_path / "run", "--budget", 420)
        assert served.told()["computed"] <= metrics["queries"] <= 420
        assert metrics["test"]


def test_a_server_that_is_gone_leaves_a_run_to_resume(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        run(served, tmp_path / "first")
    adapter = json.loads(served.adapter.read_text())
    served.adapter.write_text(json.dumps({**adapter, "retries": 1}))
    process = commands.start(*words(served, tmp_path / "run"), cwd=tmp_path)
    out, err = process.communicate(timeout=PATIENCE)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (process.returncode, len(lines), out) == (2, 1, ""), err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()  # nothing was paid for
