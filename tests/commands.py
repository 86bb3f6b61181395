"""The command line as tests call it: in this process, or in a real one."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny

from reprogram.cli import main
from reprogram.sources import Source, zoo


@dataclass
class Result:
    """What a user sees of a command."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of a user's mistake, which it must be."""
        assert self.status == 2, self
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        assert self.out == ""
        return lines[0].removeprefix("error: ")


class Commands:
    """Runs command lines in this process, with the tiny sources in the zoo."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: object) -> Result:
        self.capsys.readouterr()
        status = main([str(word) for word in words])
        return Result(status, *self.capsys.readouterr())


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put ``zoo:tiny`` (speech) and ``zoo:tiny-images`` into the zoo."""

    def named(name: str, make) -> tuple:
        def load() -> Source:
            source = make()
            source.uri = f"zoo:{name}"
            return source

        return load, "tiny, for tests"

    monkeypatch.setitem(zoo.SOURCES, "tiny", named("tiny", tiny.speech_source))
    monkeypatch.setitem(zoo.SOURCES, "tiny-images", named("tiny-images", tiny.image_source))


def start(*words: object, cwd: Path) -> subprocess.Popen:
    """A real process, on one thread so that it repeats."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "reprogram", *map(str, words)],
        cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # A shell starts what runs in the background deaf to Ctrl-C, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def write_series(path: Path, *, rows: int = 24, length: int = 12, classes: int = 2) -> Path:
    """A table of noisy waves, one frequency a class."""
    import math
    import random

    draw = random.Random(0)
    lines = [",".join(["id", "label", *(f"t{i}" for i in range(length))])]
    for i in range(rows):
        k = i % classes
        values = [math.sin((k + 1) * t / 2) + 0.1 * draw.gauss(0, 1) for t in range(length)]
        lines.append(",".join([f"row-{i}", f"class-{k}", *(f"{v:.5f}" for v in values)]))
    path.write_text("\n".join(lines) + "\n")
    return path
