"""A model in another process, which fails in every way: no answer changes, nothing is lost."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from reprogram import sources
from reprogram.sources import BudgetSpent, Ledger, Metered, restricted
from reprogram.sources.http import HttpSource, load
from reprogram.types import Scores, UserError

ROOT = Path(__file__).resolve().parents[1]


class Server:
    """``examples/model_server.py`` in a process of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.file = folder / "api.json"
        command = [sys.executable, str(ROOT / "examples" / "model_server.py"), "--port", "0",
                   "--write-adapter", str(self.file), *words]  # fmt: skip
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MODEL_TOKEN": "its token"},
        )  # fmt: skip

    def source(self, **changes: object) -> HttpSource:
        """With these numbers in the adapter, once the server is there."""
        assert self.process.stdout is not None
        if not self.file.exists():
            assert self.process.stdout.readline().startswith("port ")
        told = json.loads(self.file.read_text())
        self.file.write_text(json.dumps({**told, "backoff": 0, "retries": 20, **changes}))
        return load(None, str(self.file))

    def count(self) -> dict:
        """What it says of itself."""
        url = json.loads(self.file.read_text())["url"].replace("/predict", "/count")
        return json.loads(urllib.request.urlopen(url).read())


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> Iterator[Server]:
    fail = "429=0.1,500=0.1,slow=0.1,garbage=0.1,drop=0.1,timeout=0.05"
    yield from _serving(tmp_path_factory, "--fail", fail, "--slow", "0.01", "--hang", "3",
                        "--token-variable", "MODEL_TOKEN")  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, faulty) -> Iterator[Server]:
    del faulty  # both start at once
    yield from _serving(tmp_path_factory, "--encode", "png", "--scores", "topk")


def _serving(tmp_path_factory, *words: str) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"), *words)
    yield server
    server.process.kill()
    server.process.communicate()


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("MODEL_TOKEN", "its token")
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def pixels(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, 32, 32), generator=generator) / 255


@pytest.fixture(scope="module")
def local():
    return sources.load("zoo:images")


def test_faults_change_no_answer_and_all_are_on_the_account(pictures, faulty, local):
    del pictures
    box, ledger = faulty.source(batch=4, timeout=0.4), Ledger()
    output = torch.empty(160, 10)
    for index, answers in box.ask(pixels(160), ledger):
        output[index] = answers
    told = faulty.count()
    assert torch.allclose(output, local(pixels(160)).log_softmax(1), atol=1e-5)
    assert set(told["faults"]) == {"429", "500", "slow", "garbage", "drop", "timeout"}
    assert ledger.queries == 160 and ledger.spent >= told["computed"] > 160


def test_a_budget_holds_on_both_sides_and_what_was_paid_is_kept(faulty, tmp_path):
    before = faulty.count()["computed"]
    first = Metered(faulty.source(batch=4, timeout=0.4), Ledger(budget=50))
    first.remember(tmp_path / "answers.sqlite", "run")
    with pytest.raises(BudgetSpent):
        for part in pixels(80, seed=1).split(16):
            first(part)
    assert faulty.count()["computed"] - before <= first.ledger.spent <= 50
    answered = first.ledger.queries
    assert 16 <= answered <= 50
    with pytest.raises(BudgetSpent, match="80 more queries would pass the budget of 50"):
        first(pixels(80, seed=2))  # not begun: what cannot be paid whole sends nothing
    assert first.ledger.queries == answered
    first.forget()
    again = Metered(faulty.source(batch=4, timeout=0.4), Ledger())
    again.remember(tmp_path / "answers.sqlite", "run")
    again(pixels(80, seed=1))
    assert again.ledger.queries == 80 and again.ledger.recalled == answered
    assert faulty.count()["computed"] - before <= again.ledger.spent
    again.forget()


def test_a_wrong_token_costs_nothing(faulty, monkeypatch):
    monkeypatch.setenv("MODEL_TOKEN", "another")
    before, ledger = faulty.count()["computed"], Ledger(budget=100)
    with pytest.raises(UserError, match=r"status 401; .*give a token"):
        list(faulty.source().ask(pixels(4), ledger))
    assert (ledger.queries, ledger.unanswered, ledger.left) == (0, 0, 100) and faulty.count()[
        "computed"
    ] == before


def test_pictures_on_the_grid_are_the_same_pictures(pictures, local):
    box = pictures.source(batch=4, concurrency=3)
    expected = restricted(local, "topk:3")(pixels(40))
    assert torch.allclose(box(pixels(40)), expected, atol=1e-5)
    assert box.scores == Scores.TOP_K and box.input == local.input
    told = pictures.count()
    assert told["computed"] == 40 and 1 <= told["most"] <= box.adapter.concurrency
