"""Imports go one way, stay lazy where they promise it, and no file is two rooms."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import reprogram

ROOT = Path(reprogram.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

ROOMS = {"sources", "transformations", "mappings", "optim", "criteria"}
MODEL = {"types", *ROOMS}
PROGRAM = {*MODEL, "model", "parts", "files", "record", "texts", "draws", "predictions"}
TRAIN = {*PROGRAM, "program", "tasks", "evaluation", "checkpoint", "likeness"}
RECIPES = {*TRAIN, "train", "plan", "loop"}
ALLOWED = {
    "types": set[str](),
    "lexicon": set[str](),
    "draws": set[str](),
    "texts": set[str](),
    "files": {"types"},
    "tasks": {"types", "files", "texts"},
    "sources": {"types", "files", "lexicon", "draws"},
    "transformations": {"types", "texts", "canvas", "lexicon", "draws"},
    "names": {"types"},
    "canvas": {"types"},
    "mappings": {"types", "names", "canvas"},
    "optim": {"types"},
    "criteria": {"types", "draws"},
    "parts": {"types", "transformations", "mappings", "optim", "sources"},
    "model": {*MODEL, "draws"},
    "record": {"types", "sources", "draws"},
    "program": PROGRAM,
    "checkpoint": {"types", "files", "record", "parts"},
    "likeness": {"types"},
    "predictions": {"types", "texts"},
    "evaluation": {*PROGRAM, "program", "tasks", "likeness"},
    "plan": set[str](),
    "loop": {*TRAIN, "plan"},
    "train": {*TRAIN, "plan", "loop"},
    "recipes": RECIPES,
    "diagnose": {*RECIPES, "recipes"},
    "search": {*RECIPES, "recipes", "diagnose"},
}
"""Module or package -> what it may import of this library; those that are not here stand outside:
they may import anything, and nothing here may import them."""


def room_of(file: Path) -> str:
    """``sources/hf/audio.py`` stands in ``sources``."""
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    """Rooms of this library that a module imports when it runs, inside functions too."""
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for branch in node.body
        for inner in ast.walk(branch)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("reprogram.")}


def rooms() -> set[str]:
    return {room_of(file) for file in FILES} - {"__init__", "__main__"}


def test_the_reader_of_imports_sees_them() -> None:
    tree = ast.parse(
        "import torch\nfrom reprogram import optim, parts\nfrom reprogram.files import find_file\n"
        "if TYPE_CHECKING:\n    from reprogram.train import fit\n"
        "def f():\n    import reprogram.tasks.base\n"
    )
    assert imported(tree) == {"optim", "parts", "files", "tasks"}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_go_one_way(file: Path) -> None:
    room = room_of(file)
    if room not in ALLOWED:
        return
    found = imported(ast.parse(file.read_text())) - {room} - (imported_names() - rooms())
    assert found <= ALLOWED[room], f"{room} imports {sorted(found - ALLOWED[room])}"


def imported_names() -> set[str]:
    """Public names of the package that are no modules, such as ``__version__``."""
    return {*reprogram.__all__, "__version__"}


def test_every_inner_room_is_under_the_law() -> None:
    assert ALLOWED.keys() & rooms() >= ROOMS
    for room in ROOMS:
        assert not ALLOWED[room] & ROOMS


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_a_file_is_one_room(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 350


def loaded(code: str, *names: str) -> set[str]:
    """Which of these modules are there after the code ran in a process of its own."""
    code = f"import sys\n{code}\nprint(*({set(names)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert not loaded("import reprogram; reprogram.__version__", "torch", "numpy", "sklearn")


@pytest.mark.skipif(not importlib.util.find_spec("reprogram.cli"), reason="there is no cli")
def test_importing_the_command_line_imports_nothing_heavy() -> None:
    assert not loaded(
        "import reprogram.cli", "torch", "sklearn", "numpy", "transformers", "aeon", "scipy"
    )


def test_the_public_names_are_there() -> None:
    for name in reprogram.__all__:
        assert getattr(reprogram, name) is not None
    assert set(reprogram.__all__) <= set(dir(reprogram))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = reprogram.nothing
