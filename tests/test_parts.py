"""Parts as JSON and back: public names and arguments, nothing else."""

import json
import sys
from functools import partial
from importlib.metadata import EntryPoint

import pytest
import tiny
from commands import install
from typechecker import unchecked

from reprogram import parts, sources, transformations
from reprogram.mappings import Fixed
from reprogram.sources import Source, zoo
from reprogram.transformations import Compose, Frame, Resize, Transformation
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
    module, known = parts.ROOMS[room], parts.known(room)
    promises = {"Mapping", "Transformation", "Optimizer", "GradientStep", "Objective"}
    classes = {name for name in module.__all__ if isinstance(getattr(module, name), type)}
    assert set(known) == classes - promises


def test_optimisers_are_what_takes_a_step() -> None:
    known = parts.known("optimizers")
    assert {"Backprop", "CMAES", "SPSA"} <= known.keys()
    assert not {"Optimizer", "GradientStep", "Objective", "cosine", "MakeScheduler"} & known.keys()
    made = parts.make("optimizers", "SPSA(directions=3)", seed=4, mapping_optimizer=None)
    assert (made.directions, made.seed, made.evaluations) == (3, 4, 6)


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


@pytest.mark.parametrize("argument", ["optimizer", "scheduler"])
def test_a_function_cannot_be_written(argument: str) -> None:
    with pytest.raises(UserError, match=f"'{argument}' of SPSA is a function"):
        parts.make("optimizers", f"SPSA({argument}='cosine')")


def test_a_value_of_another_kind_is_refused() -> None:
    with unchecked(), pytest.raises(UserError, match="SPSA does not take the arguments") as caught:
        parts.make("optimizers", "SPSA(directions='three')")
    assert "\n" not in str(caught.value)


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


class Encoded(Transformation):
    """A transformation in front of which a frozen source stands."""

    def __init__(self, *, encoder: Source | None = None) -> None:
        super().__init__()
        self.encoder = encoder


@pytest.fixture
def encoded(monkeypatch):
    """A part with a source of the zoo among its arguments."""
    install(monkeypatch)
    monkeypatch.setattr(transformations, "Encoded", Encoded, raising=False)
    monkeypatch.setattr(transformations, "__all__", [*transformations.__all__, "Encoded"])
    return Compose([Encoded(encoder=sources.load("zoo:tiny-images"))])


def test_a_source_is_described_by_uri_and_fingerprint(encoded) -> None:
    described = json.loads(json.dumps(parts.describe(encoded)))
    (inner,) = described["arguments"]["parts"]
    encoder = encoded.parts[0].encoder
    told = {"source": "zoo:tiny-images", "fingerprint": encoder.fingerprint()}
    assert inner == {"name": "Encoded", "arguments": {"encoder": told}}
    again = parts.build("transformations", described)
    assert again.parts[0].encoder.fingerprint() == encoder.fingerprint()
    without = parts.describe(Encoded())
    assert parts.build("transformations", without).encoder is None


def test_a_source_of_other_weights_is_refused(encoded, monkeypatch) -> None:
    described = parts.describe(encoded)
    other = partial(tiny.image_source, seed=1)
    monkeypatch.setitem(zoo.SOURCES, "tiny-images", (other, "of other weights"))
    with pytest.raises(UserError, match="Encoded's encoder, zoo:tiny-images, has the fingerprint"):
        parts.build("transformations", described)


def test_a_source_without_a_uri_is_refused() -> None:
    with pytest.raises(UserError, match="Encoded's encoder is a source without a URI"):
        parts.describe(Encoded(encoder=tiny.image_source()))


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        ({"source": "zoo:tiny-images"}, "not described by a source's URI"),
        ({"source": 3, "fingerprint": "0"}, "not described by a source's URI"),
        ({"source": "os.system", "fingerprint": "0"}, "is no URI"),
        ({"source": "pickle:x", "fingerprint": "0"}, "unknown source scheme 'pickle'"),
    ],
)
@pytest.mark.usefixtures("encoded")
def test_what_describes_no_source_is_refused(encoder, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parts.build("transformations", {"name": "Encoded", "arguments": {"encoder": encoder}})
