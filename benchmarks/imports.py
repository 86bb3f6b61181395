"""How long the library keeps a user waiting before it does anything.

    python benchmarks/imports.py

Prints seconds, the least of several processes each: ``import torch``; every public name of the
library besides (target: under 2 s beyond torch); ``reprogram --help`` (target: under 1 s).
"""

from __future__ import annotations

import subprocess
import sys
import time

ROUNDS = 5
EVERYTHING = "import torch, reprogram; [getattr(reprogram, name) for name in reprogram.__all__]"
COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import torch": [sys.executable, "-c", "import torch"],
    "import reprogram": [sys.executable, "-c", "import reprogram"],
    "every public name": [sys.executable, "-c", EVERYTHING],
    "reprogram --help": [sys.executable, "-m", "reprogram", "--help"],
}


def seconds(command: list[str]) -> float:
    """Wall-clock time of one process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure in turns and print."""
    rounds = [{name: seconds(command) for name, command in COMMANDS.items()} for _ in range(ROUNDS)]
    least = {name: min(one[name] for one in rounds) for name in COMMANDS}
    for name, value in least.items():
        print(f"{name:32} {value:6.2f} s")
    beyond = least["every public name"] - least["import torch"]
    print(f"{'every public name beyond torch':32} {beyond:6.2f} s")


if __name__ == "__main__":
    main()
