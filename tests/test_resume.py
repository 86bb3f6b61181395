"""Runs stopped in the middle of an epoch and resumed: the same weights as unbroken ones."""

import signal
import subprocess
import time
from pathlib import Path

import commands
import pytest
import torch
from safetensors.torch import load_file

EPOCHS, BATCH, ROWS = 2, 2, 24
PER_EPOCH = 10  # steps: a fifth of the rows is cut for test
NUMBERS = ("--epochs", EPOCHS, "--batch-size", BATCH, "--seed", 3, "--checkpoint-seconds", 0)
FIT = ("fit", "--recipe", "series-to-features", "--task", "series.csv", *NUMBERS)
PATIENCE = 120  # seconds for a process to start on a busy machine


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the table stands and the runs shall stand."""
    commands.write_series(tmp_path / "series.csv", rows=ROWS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def same(one: Path, other: Path) -> bool:
    """Whether two runs hold the same program, bit for bit."""
    tensors = [load_file(run / "program.safetensors") for run in (one, other)]
    assert tensors[0].keys() == tensors[1].keys()
    return all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def steps_of(run: Path) -> int:
    """How far the checkpoint is."""
    return torch.load(run / "checkpoint" / "state.pt", weights_only=True)["step"]


def stop(process: subprocess.Popen, run: Path, number: signal.Signals) -> tuple[int, str]:
    """Send a signal once the process has written a checkpoint; its exit status and stderr."""
    file = run / "checkpoint" / "state.pt"
    before = file.stat().st_ino if file.exists() else None
    deadline = time.monotonic() + PATIENCE
    while not file.exists() or file.stat().st_ino == before:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "no checkpoint"
        time.sleep(0.005)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    return process.returncode, err


def test_stopped_by_every_signal_a_run_ends_at_the_same_weights(folder):
    run = folder / "run"
    unbroken = commands.start(*FIT, "--source", "zoo:speech-commands", "--out", "whole", cwd=folder)
    words = (*FIT, "--source", "zoo:speech-commands", "--out", "run")
    reached = []
    for number, status in (
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGKILL, -signal.SIGKILL),
    ):
        returned, err = stop(commands.start(*words, cwd=folder), run, number)
        assert returned == status, err
        assert "Traceback" not in err and "error" not in err
        if number != signal.SIGKILL:  # which leaves no time for a word
            assert "fit --resume --out run" in err.splitlines()[-1]
        assert not (run / "program.json").exists()
        reached.append(steps_of(run))
        words = ("fit", "--resume", "--out", "run", "--checkpoint-seconds", 0)
    assert 0 < reached[0] < reached[1] < reached[2]
    assert any(step % PER_EPOCH for step in reached)  # not only where an epoch ends
    out, err = commands.start(*words, "--json", cwd=folder).communicate(timeout=PATIENCE)
    assert out.count("\n") == 1, err
    unbroken.communicate(timeout=PATIENCE)
    assert unbroken.returncode == 0
    assert same(run, folder / "whole")
    assert sorted(p.name for p in run.iterdir()) == sorted(
        p.name for p in (folder / "whole").iterdir()
    )


class Stop:
    """Ctrl-C after so many steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self, *args: object, **named: object) -> None:
        self.steps -= 1
        if self.steps == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("recipe", ["v2s", "series-to-features"])
@pytest.mark.parametrize("seconds", [0, 1000])
def test_stopped_at_any_step(reprogram, folder, monkeypatch, recipe, seconds):
    words = ("fit", "--recipe", recipe, "--source", "zoo:tiny", "--task", "series.csv", *NUMBERS)
    words = (*words, "--set", "dropout=0.3", "--checkpoint-seconds", seconds)
    assert reprogram(*words, "--out", "whole").status == 0
    with monkeypatch.context() as patch:
        patch.setattr("reprogram.cli.progress.Display.__call__", Stop(5))
        stopped = reprogram(*words, "--out", "run")
    assert stopped.status == 130 and "--resume --out run" in stopped.err
    assert reprogram(*words, "--out", "run").error.count("--resume") == 1  # not begun anew
    assert reprogram("fit", "--resume", "--out", "run").status == 0
    assert same(Path("run"), Path("whole"))


def test_stopped_in_the_controls(reprogram, folder, monkeypatch):
    words = ("fit", "--recipe", "v2s", "--source", "zoo:tiny", "--task", "series.csv", *NUMBERS)
    with monkeypatch.context() as patch:
        patch.setattr("reprogram.diagnose.controls", Stop(1))
        assert reprogram(*words, "--out", "run", "--controls").status == 130
    done = reprogram("fit", "--resume", "--out", "run", "--json")
    assert done.status == 0 and "random_source" in done.out


def test_resume_refuses_another_run(reprogram, folder, monkeypatch):
    words = ("fit", "--recipe", "v2s", "--source", "zoo:tiny", "--task", "series.csv", *NUMBERS)
    with monkeypatch.context() as patch:
        patch.setattr("reprogram.cli.progress.Display.__call__", Stop(3))
        assert reprogram(*words, "--out", "run").status == 130
    resume = ("fit", "--resume", "--out", "run")
    assert "another run" in reprogram(*resume, "--epochs", 7).error
    assert (
        "'source' is 'zoo:tiny-images'" in reprogram(*resume, "--source", "zoo:tiny-images").error
    )
    state = Path("run/checkpoint/state.pt")
    state.write_bytes(state.read_bytes()[:100])
    assert "damaged" in reprogram(*resume).error
