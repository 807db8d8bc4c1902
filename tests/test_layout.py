"""Channels last: where a model asks for it, everywhere and always, and with the numbers that it had before."""

import json
from dataclasses import replace

import pytest
import torch

from conftest import TINY
from ganzoo.data import Loader
from ganzoo.plugins import registry
from ganzoo.runs.sampler import load
from ganzoo.training.engine import Engine, seed_everything
from ganzoo.training.layout import arranged_batch, match_layout
from ganzoo.training.modes import settle
from ganzoo.training.trainer import Trainer
from test_classics import CLASSICS
from test_zoo import CONVOLUTIONAL, build, images

CPU = Engine(torch.device("cpu"), "fp32")
LAST = torch.channels_last
SMALL = {"width": 4, "blocks": 1}
FASTER_ON_A_CPU = {*CONVOLUTIONAL, *(set(CLASSICS) - {"sgan"}), "pacgan", "stylegan2", "stylegan3"}


def make(name, last, monkeypatch, data=None):
    data = data or images((3, 16, 16))
    # torch fills what is random in the order of memory: dragan's noise is other noise.
    gan = build(name, data, **({"spread": 0.0} if name == "dragan" else {}))
    monkeypatch.setattr(type(gan), "channels_last", ("cpu",) if last else ())
    return Trainer(gan, Loader(data, 4, 0, CPU.device), CPU, steps=100)


def finish(trainer, until=4):
    while trainer.step < until:
        trainer.advance(until - trainer.step)
    return {name: value.clone() for name, value in trainer.state_dict()["gan"].items()}


def maps(trainer):
    """Weights whose layout can be told: of several channels and pixels."""
    modules = [trainer.gan, *trainer.ema.modules.values()]
    return [p for module in modules for p in module.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1]


def test_every_convolutional_model_asks_for_it_on_a_gpu_and_where_it_was_faster_on_a_cpu():
    plugins = registry()
    for name in plugins.names("models"):
        model = plugins.get("models", name)
        if not model.__module__.startswith("ganzoo_plugins"):
            continue
        assert ("cuda" in model.channels_last) == (name not in ("gan", "cgan", "unrolled-gan")), name
        assert ("cpu" in model.channels_last) == (name in FASTER_ON_A_CPU), name


UNPAIRED = ["cyclegan", "discogan", "dualgan", "munit", "pixelda", "unit"]
TRANSLATORS = [*UNPAIRED, "bicyclegan", "ccgan", "context-encoder", "esrgan", "pix2pix", "srgan", "stargan"]


@pytest.mark.parametrize("name", [*TRANSLATORS, "fastgan"])
def test_no_other_model_fails_where_channels_are_last(name, monkeypatch):
    data = images((3, 32, 32))
    model = registry().get("models", name)
    if name == "stargan":
        data = model.sourced(data)
    elif model.translates:
        low = name in ("srgan", "esrgan")
        sources = data.images[:, :, ::4, ::4].contiguous() if low else data.images.flip(0)
        data = replace(data, sources=sources, paired=name not in UNPAIRED)
        if name == "pixelda":
            data = replace(data, source_labels=data.labels.flip(0))
    monkeypatch.setattr(model, "channels_last", ("cpu",))
    small = {key: value for key, value in SMALL.items() if key in model.Options.model_fields}
    seed_everything(0)
    gan = model(data.spec("made-up"), model.Options(batch_size=2, **small))
    trainer = Trainer(gan, Loader(data, 2, 0, CPU.device, sources=gan.translates), CPU, steps=100)
    assert all(value.isfinite() for value in trainer.advance().values())
    assert any(p.is_contiguous(memory_format=LAST) for p in maps(trainer))


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_a_step_is_the_same_but_for_rounding(name, monkeypatch):
    taken = {}
    for last in (False, True):
        seed_everything(0)
        trainer = make(name, last, monkeypatch)
        seed_everything(1)
        taken[last] = trainer.advance()
        assert all(p.is_contiguous(memory_format=LAST if last else torch.contiguous_format) for p in maps(trainer))
        assert trainer.channels_last == last
    for key, value in taken[False].items():
        assert taken[True][key].item() == pytest.approx(value.item(), rel=1e-3, abs=1e-4), key


def test_the_maps_inside_lie_so_too(monkeypatch):
    trainer = make("dcgan", True, monkeypatch)
    seen = []
    for module in trainer.gan.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.register_forward_hook(lambda m, i, out: seen.append(out.is_contiguous(memory_format=LAST)))
    trainer.advance()
    assert seen
    assert all(seen)


def test_recorded_and_resumed_steps_end_with_the_same_tensors_and_lie_as_before(monkeypatch):
    straight = make("sngan", True, monkeypatch)
    expected = finish(straight)
    recorded = make("sngan", True, monkeypatch)
    assert settle(recorded, "graph").used == "graph"
    recorded = finish(recorded)
    kept = make("sngan", True, monkeypatch)
    finish(kept, 2)
    kept = kept.state_dict()
    again = make("sngan", True, monkeypatch)
    again.load_state_dict(kept)
    resumed = finish(again)
    for name, value in expected.items():
        assert torch.equal(value, recorded[name]), name
        assert torch.equal(value, resumed[name]), name
    assert all(p.is_contiguous(memory_format=LAST) for p in maps(again))


@pytest.mark.parametrize("last", [True, False])
def test_a_checkpoint_of_the_other_layout_goes_on_with_every_moment_at_its_weight(last, monkeypatch):
    before = make("dcgan", not last, monkeypatch)
    finish(before, 2)
    kept = before.state_dict()
    after = make("dcgan", last, monkeypatch)
    after.load_state_dict(kept)
    for player, optimizer in after.optimizers.items():
        others = before.optimizers[player].state
        for (parameter, state), (_, other) in zip(optimizer.state.items(), others.items(), strict=True):
            assert state["exp_avg"].stride() == parameter.stride()
            assert torch.equal(state["exp_avg"], other["exp_avg"])
    after.advance()
    assert all(p.isfinite().all() for p in after.gan.parameters())


def test_fused_kernels_would_take_the_wrong_moments_otherwise():
    weight = torch.nn.Parameter(torch.randn(3, 4, 2, 2).contiguous(memory_format=LAST))
    optimizer = torch.optim.Adam([weight], fused=True)
    weight.grad = torch.randn_like(weight)
    optimizer.step()
    state = optimizer.state[weight]
    moments = state["exp_avg"].clone()
    state["exp_avg"] = state["exp_avg"].contiguous()
    match_layout(optimizer)
    assert state["exp_avg"].stride() == weight.stride()
    assert torch.equal(state["exp_avg"], moments)


def test_vectors_and_sources_are_arranged_as_what_they_are():
    from ganzoo.data import Batch

    x, source = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    laid = arranged_batch(Batch(x, None, None, source))
    assert laid.x.is_contiguous(memory_format=LAST)
    assert laid.source.is_contiguous(memory_format=LAST)
    assert torch.equal(laid.x, x)
    vectors = Batch(torch.randn(2, 7))
    assert arranged_batch(vectors).x is vectors.x


def test_a_run_says_so_and_samples_as_it_trained(ganzoo, tmp_path):
    given = ("--dataset", "small-digits", "--image-size", 32, "--loggers", "none", "--batch-size", 8, "--width", 4)
    assert ganzoo("run", "dcgan", *given, "--steps", 2, "--out", "a").code == 0
    assert ganzoo("run", *TINY, "--steps", 2, "--out", "b").code == 0
    machines = [json.loads((tmp_path / name / "run.json").read_text())["machine"] for name in "ab"]
    assert [machine.get("channels_last", False) for machine in machines] == [True, False]
    weights = [p for p in load(tmp_path / "a").gan.generator.parameters() if p.dim() == 4 and p.shape[1] > 1]
    assert weights
    assert all(p.is_contiguous(memory_format=LAST) for p in weights)
    assert load(tmp_path / "a").sample(4).isfinite().all()


def test_what_asks_for_nothing_is_left_as_it_is(monkeypatch):
    trainer = make("dcgan", False, monkeypatch)
    assert not trainer.channels_last
    assert "channels_last" not in trainer.describe()
