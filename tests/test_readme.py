"""The README's Python runs as it stands, and its tables name what there is."""

import re
from pathlib import Path

import pytest
import torch

import reprogram
from reprogram.recipes import RECIPES

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_quick_start_is_about_eight_lines_and_runs(tmp_path, monkeypatch):
    pytest.importorskip("aeon", reason="GunPoint comes with aeon")
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 8
    quick = code.replace("epochs=30", "epochs=1")
    assert quick != code
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(quick, "README.md", "exec"), names)
    again = reprogram.Program.load(tmp_path / "runs/gunpoint")
    x = names["task"].test.inputs[:5]
    assert torch.equal(again.predict(x).scores, names["program"].predict(x).scores)


def test_every_recipe_has_a_line_and_a_page():
    for name in RECIPES:
        assert f"[`{name}`](docs/recipes/{name}.md)" in README
        assert (ROOT / "docs" / "recipes" / f"{name}.md").is_file()


def test_local_links_lead_somewhere():
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), ROOT / "CONTRIBUTING.md"]
    for page in pages:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
