"""What only a CUDA device shows: cuDNN's recurrent layers, and programs that move."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from test_fit_mappings import OBSERVING
from test_recipes import WORLDS
from tiny import black_box, image_source, image_task, series_task, speech_source

import reprogram
from reprogram.draws import forked_rng
from reprogram.mappings import Linear, ManyToOne
from reprogram.optim import CMAES, SPSA, Backprop
from reprogram.program import Program
from reprogram.recipes import RECIPES
from reprogram.train import Training, fit
from reprogram.transformations import Frame, PadSeries, SeriesToFeatures

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def a_training(optimizer: Any = None, **settings: Any) -> Training:
    return Training(**{
        "source": speech_source().door("features"),
        "transformation": SeriesToFeatures(dropout=0.2),
        "mapping": Linear(),
        "optimizer": optimizer or Backprop(partial(torch.optim.Adam, lr=0.02)),
        "epochs": 2,
        "batch_size": 8,
        "device": "cuda",
        **settings,
    })  # fmt: skip


@pytest.mark.parametrize("uri", ["zoo:speech-commands", "zoo:images"])
def test_a_gradient_passes_a_source_on_the_device(uri: str) -> None:
    source = reprogram.load_source(uri).to("cuda").train()
    here = reprogram.load_source(uri)
    x = torch.rand(2, *source.input.shape)
    outputs, gradients = [], []
    for one, device in ((source, "cuda"), (here, "cpu")):
        given = x.to(device).requires_grad_()
        output = one(given)
        output.logsumexp(1).sum().backward()  # refused by cuDNN's layers in evaluation mode
        assert given.grad is not None
        outputs.append(output.detach().cpu())
        gradients.append(given.grad.cpu())
    torch.testing.assert_close(*outputs, atol=1e-2, rtol=1e-2)
    assert torch.nn.functional.cosine_similarity(
        gradients[0].flatten(), gradients[1].flatten(), dim=0
    ) > 0.99  # fmt: skip
    assert source.fingerprint() == here.fingerprint()


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_run_on_the_device(name: str) -> None:
    source, task = WORLDS[name]
    training = RECIPES[name](source(), task(), epochs=1, device="cuda")
    program = fit(training, task())
    assert program.device.type == "cuda"
    assert all(t.is_cuda for t in program.tensors().values())
    assert program.metrics["source_unchanged"]
    assert program.predict(task().test.inputs).scores.device.type == "cpu"


@pytest.mark.parametrize("make", [
    lambda: SPSA(directions=2),
    lambda: CMAES(population=4),
])  # fmt: skip
@pytest.mark.parametrize("opaque", [False, True])
def test_populations_run_on_the_device(make, opaque: bool) -> None:
    source = speech_source().door("features").to("cuda")
    if opaque:
        inner = source
        source = black_box(speech_source().door("features"))
        source.function = lambda x: inner(x)
    fit(a_training(make(), source=source), series_task())


def test_a_program_moves_between_devices(tmp_path: Path) -> None:
    task = series_task()
    training = a_training(source=speech_source(), transformation=PadSeries(), mapping=ManyToOne())
    program = fit(training, task, tmp_path / "run")
    x = task.train.inputs[:5]
    assert isinstance(x, torch.Tensor)
    told = program.predict(x).scores
    for device in ("cpu", "cuda"):
        again = Program.load(tmp_path / "run", speech_source(), device=device)
        assert again.device.type == device
        torch.testing.assert_close(again.predict(x).scores, told, atol=1e-3, rtol=1e-3)
        again.save(tmp_path / device)
    on_device = speech_source().to("cuda")
    Program.load(tmp_path / "run", on_device, device="cuda").predict(x.cuda())


def test_a_run_resumes_on_the_device(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(p) -> None:
        if p.step == 4:
            raise Stop

    task = series_task()
    whole = fit(a_training(epochs=3), task)
    with pytest.raises(Stop):
        fit(a_training(epochs=3), task, tmp_path / "run", checkpoint_seconds=0, progress=stop)
    resumed = fit(a_training(epochs=3), task, tmp_path / "run", resume=True)
    for name, tensor in whole.tensors().items():
        torch.testing.assert_close(resumed.tensors()[name], tensor, atol=1e-5, rtol=1e-5)


def test_the_control_is_made_on_the_device() -> None:
    control = image_source().to("cuda").randomised(0)
    here = image_source().randomised(0)
    torch.testing.assert_close(control.state_dict()["chain.0.norm2.running_mean"].cpu(),
                               here.state_dict()["chain.0.norm2.running_mean"])  # fmt: skip


def test_the_devices_generator_is_left_alone() -> None:
    state = torch.cuda.get_rng_state()
    with forked_rng(1, 2):
        first = torch.rand(3, device="cuda")
    with forked_rng(1, 2):
        assert torch.equal(torch.rand(3, device="cuda"), first)
    assert torch.equal(torch.cuda.get_rng_state(), state)


@pytest.mark.parametrize("name", OBSERVING)
def test_statistics_are_gathered_on_the_device(name: str, tmp_path: Path) -> None:
    found = []
    for device in ("cuda", "cpu"):
        training = Training(
            image_source(), Frame(), OBSERVING[name](),
            Backprop(partial(torch.optim.Adam, lr=1e-4)), epochs=2, batch_size=7, device=device,
        )  # fmt: skip
        program = fit(training, image_task(), tmp_path / device)
        assert all(b.device.type == device for b in training.mapping.buffers())
        table = training.mapping.table()
        assert table is not None
        found.append(table.cpu())
        assert program.metrics["source_unchanged"]
    torch.testing.assert_close(*found, atol=1e-3, rtol=1e-3)
