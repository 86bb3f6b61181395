"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest
from commands import Commands, install


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of real raw files: $REPROGRAM_DATA, or shared/data beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("REPROGRAM_DATA", beside))
    if not root.is_dir():
        pytest.skip("real data absent: set REPROGRAM_DATA to a folder that holds it")
    return root


@pytest.fixture
def reprogram(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The command line in this process: ``reprogram("fit", ...)`` with the tiny sources."""
    install(monkeypatch)
    return Commands(capsys)
