"""timm: sources, against a stand-in for the library and, where it imports, against itself."""

import os
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from reprogram.sources import load
from reprogram.types import UserError


class Net(nn.Module):
    """What timm promises of a classifier."""

    num_classes = 2

    def __init__(self):
        super().__init__()
        self.pretrained_cfg = {}
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward_features(self, x):
        return self.body(x)

    def forward_head(self, x, pre_logits=False):
        x = x.mean((2, 3))
        return x if pre_logits else self.head(x)

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


class Info:
    def __init__(self, subset):
        self.subset = subset

    def index_to_description(self, index):
        return f"{self.subset} {index}"


@pytest.fixture
def timm(monkeypatch):
    """A module of timm's names, its one model seeded."""
    module, data = ModuleType("timm"), ModuleType("timm.data")

    def create_model(name, pretrained):
        assert pretrained and os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"
        if name != "tiny":
            raise RuntimeError(f"Unknown model ({name})\nsecond line")
        torch.manual_seed(0)
        return Net()

    data.resolve_model_data_config = lambda model: {
        "input_size": (3, 8, 9), "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1),
    }  # fmt: skip
    data.infer_imagenet_subset = lambda model: "imagenet-1k"
    data.ImageNetInfo = Info
    module.create_model, module.list_models, module.data = create_model, lambda: ["tiny"], data
    monkeypatch.setitem(sys.modules, "timm", module)
    monkeypatch.setitem(sys.modules, "timm.data", data)
    return module


def test_doors_names_and_features(timm):
    state = torch.get_rng_state()
    source = load("timm:tiny")
    assert torch.equal(state, torch.get_rng_state())
    assert source.doors == ("image", "normalised")
    assert source.input.shape == (3, 8, 9)
    assert (source.input.lower, source.input.upper) == (0, 1)
    assert source.output.names == ("imagenet-1k 0", "imagenet-1k 1")
    assert source.uri == "timm:tiny"
    assert not any(p.requires_grad for p in source.parameters())
    x = torch.rand(2, 3, 8, 9)
    shifted = (x - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor(
        [0.2, 0.2, 0.1]
    ).reshape(3, 1, 1)
    torch.testing.assert_close(source(x), source.chain[1].model(shifted))
    torch.testing.assert_close(source.chain[1].model.head(source.features(x)), source(x))
    assert load("timm:tiny#normalised").uri == "timm:tiny#normalised"
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_classes_without_names(timm, monkeypatch):
    monkeypatch.setattr(timm.data, "infer_imagenet_subset", lambda model: None)
    assert load("timm:tiny").output.names == ()
    named = Net()
    named.pretrained_cfg = {"label_names": ["cat", "dog"]}
    timm.create_model = lambda name, pretrained: named
    assert load("timm:tiny").output.names == ("cat", "dog")


def test_what_cannot_be_loaded_is_one_line(timm, monkeypatch):
    with pytest.raises(UserError, match="no model of that name; did you mean tiny"):
        load("timm:tinny")
    timm.create_model = lambda name, pretrained: (_ for _ in ()).throw(
        OSError("no network\nat all")
    )
    with pytest.raises(UserError, match=r"cannot be loaded: no network$"):
        load("timm:tiny")
    timm.create_model = lambda name, pretrained: SimpleNamespace(num_classes=0)
    with pytest.raises(UserError, match="has 0 classes; take a classifier"):
        load("timm:tiny")


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"needs timm.*reprogram\[timm\]"):
        load("timm:resnet18")


def test_torchvision_of_another_build(monkeypatch, tmp_path):
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms is absent')")
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=r"cannot be imported \(operator.*install the torchvision"):
        load("timm:resnet18")


def test_the_library_itself():
    try:
        import timm
    except Exception as error:
        pytest.skip(f"timm cannot be imported here ({type(error).__name__})")
    for name in ("create_model", "list_models"):
        assert hasattr(timm, name)
    for name in ("resolve_model_data_config", "infer_imagenet_subset", "ImageNetInfo"):
        assert hasattr(timm.data, name)
    model = timm.create_model("resnet18", pretrained=False)
    assert timm.data.infer_imagenet_subset(model)
    assert tuple(timm.data.resolve_model_data_config(model)["input_size"]) == (3, 224, 224)
