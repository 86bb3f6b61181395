"""Parts as JSON and back: public names and arguments, nothing else."""

import json
import sys
from importlib.metadata import EntryPoint

import pytest

from reprogram import parts
from reprogram.mappings import Fixed
from reprogram.transformations import Compose, Frame, Resize
from reprogram.types import UserError


def test_nested_parts_are_described_by_name() -> None:
    part = Compose([Compose([Resize(8)]), Frame(squash="clamp")])
    described = parts.describe(part)
    inner = {"name": "Compose", "arguments": {"parts": [{"name": "Resize",
                                                         "arguments": {"size": 8}}]}}  # fmt: skip
    frame = {"name": "Frame", "arguments": {"squash": "clamp"}}
    assert described == {"name": "Compose", "arguments": {"parts": [inner, frame]}}
    again = parts.build("transformations", json.loads(json.dumps(described)))
    assert repr(again) == repr(part)


@pytest.mark.parametrize("room", parts.ROOMS)
def test_known_are_the_parts_and_not_their_base(room: str) -> None:
    module = parts.ROOMS[room]
    assert set(parts.known(room)) == set(module.__all__) - {"Mapping", "Transformation"}


@pytest.mark.parametrize(
    "name", ["os.system", "torch.nn.Linear", "Fixd", "Linear.__class__", "nn", "", "Mapping"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"unknown mapping '{name}'"):
        parts.build("mappings", {"name": name, "arguments": {}})
    with pytest.raises(UserError, match=f"unknown mapping '{name}'"):
        parts.make("mappings", name, seed=0)


def test_a_part_is_made_of_what_is_written() -> None:
    made = parts.make("mappings", "ManyToOne(size=2, groups='ordered')", seed=3, size=9)
    assert (made.size, made.groups, made.seed) == (2, "ordered", 3)
    assert parts.make("mappings", " Fixed (labels=[4, 1])").labels == [4, 1]
    again = parts.make("mappings", repr(made))
    assert parts.describe(again)["arguments"] | {"seed": 3} == parts.describe(made)["arguments"]


@pytest.mark.parametrize(
    "written",
    ["Fixed(", "Fixed(1)", "Fixed(labels=open('x'))", "Fixed(**{})", "Fixed()()", "Fixed() or 1",
     "Fixed(labels=__import__('os'))"],
)  # fmt: skip
def test_nothing_else_is_read(written: str) -> None:
    with pytest.raises(UserError, match="cannot be read; write a name"):
        parts.make("mappings", written)


def test_an_unknown_argument_is_named() -> None:
    with pytest.raises(UserError, match="unknown argument of Fixed 'label'; did you mean 'labels'"):
        parts.make("mappings", "Fixed(label='random')")


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(UserError, match="did you mean 'Fixed'"):
        parts.make("mappings", "Fixd")


def test_nothing_is_imported_for_a_name() -> None:
    for name in ("antigravity.fly", "this.s", "antigravity"):
        with pytest.raises(UserError):
            parts.build("transformations", {"name": name, "arguments": {}})
    assert not {"antigravity", "this"} & set(sys.modules)


@pytest.mark.parametrize(
    "described",
    [
        {},
        {"name": "Fixed"},
        {"name": 3, "arguments": {}},
        {"name": "Fixed", "arguments": []},
        {"name": "Fixed", "arguments": {"colour": 1}},
        {"name": "Fixed", "arguments": {"seed": {"name": "os.system", "arguments": {}}}},
    ],
)
def test_what_is_no_description_is_refused(described) -> None:
    with pytest.raises(UserError) as caught:
        parts.build("mappings", described)
    assert "\n" not in str(caught.value)


def test_make_offers_only_what_is_taken() -> None:
    assert parts.make("transformations", "Resize", size=3, seed=9).size == 3
    assert parts.make("mappings", "Fixed", seed=9, size=3).seed == 9


def test_entry_points_join_and_do_not_replace(monkeypatch) -> None:
    theirs = [
        EntryPoint("Borrowed", "reprogram.mappings:Linear", "reprogram.mappings"),
        EntryPoint("Fixed", "reprogram.mappings:Linear", "reprogram.mappings"),
    ]
    monkeypatch.setattr(
        parts, "entry_points", lambda group: theirs if group == "reprogram.mappings" else []
    )
    known = parts.known("mappings")
    assert known["Borrowed"].__name__ == "Linear"
    assert known["Fixed"] is Fixed
