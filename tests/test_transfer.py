"""A run that begins with another's weights: what is taken, what is told, and what stays frozen."""

import json
import shutil

import pytest
import torch
from torch import nn

import ganzoo as zoo
from conftest import PATIENCE, TINY, start
from ganzoo.data import DataSpec
from ganzoo.errors import GanzooError, UsageError
from ganzoo.nets import weighted_layers
from ganzoo.plugins import registry
from ganzoo.runs import weights
from ganzoo.runs.checkpoint import Checkpoints
from ganzoo.runs.imports import NETWORKS
from ganzoo.runs.transfer import Beginning, begin_with, freeze, frozen_layers, networks_of, weights_of
from ganzoo.training.ema import EMA
from ganzoo.training.trainer import Trainer
from test_import import SNAPSHOT
from test_run import assert_equal, state
from test_zoo import ZOO, train

BASE = (*TINY, "--quiet", "--checkpoint-interval", 10)


def first(folder):
    """The checkpoint from which the run went on: before its first step."""
    return Checkpoints(folder / "checkpoints").load(0, torch.device("cpu"))


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A run of 40 steps, by which the average differs from the weights in training."""
    folder = tmp_path_factory.mktemp("old") / "run"
    zoo.train("tiny", dataset="small-digits", batch_size=32, loggers=(), steps=40, out=folder, progress=False)
    return folder


@pytest.fixture
def copied(old, tmp_path):
    """The same, to be damaged."""
    return shutil.copytree(old, tmp_path / "old")


# What is taken


def test_a_run_begins_with_the_weights_and_the_averages_of_another(ganzoo, old, tmp_path):
    result = ganzoo("run", *BASE, "--init-from", old, "--steps", 1, "--seed", 7, "--out", "new")
    assert (result.code, result.err) == (0, "")
    then, now = state(old), first(tmp_path / "new")
    assert not torch.equal(then["gan"]["generator.layers.0.weight"], then["ema"]["layers.0.weight"])
    assert_equal({k: v for k, v in now["gan"].items() if k != "losses_taken"}, {
        k: v for k, v in then["gan"].items() if k != "losses_taken"
    })  # fmt: skip
    assert_equal(now["ema"], then["ema"])
    assert now["gan"]["losses_taken"] == 0  # What the model counts is of one training.
    told = json.loads((tmp_path / "new" / "run.json").read_text())["initial"]
    assert (told["run"], told["model"], told["step"], told["anew"]) == (str(old), "tiny", 40, [])
    assert told["sha256"] == weights_of(old, ("generator",)).about["sha256"]


def test_averages_go_on_without_a_ramp(old, tmp_path):
    run = zoo.train(
        "tiny", dataset="small-digits", loggers=(), steps=1, init_from=old, out=tmp_path / "new", progress=False
    )
    before, after = first(run.folder)["ema"], state(run.folder)
    live = after["gan"]["generator.layers.0.weight"]
    expected = before["layers.0.weight"].lerp(live, 1 - 0.999)
    torch.testing.assert_close(after["ema"]["layers.0.weight"], expected, rtol=0, atol=1e-7)


def test_options_of_the_same_model_are_those_of_the_run_unless_others_are_given(ganzoo, tmp_path):
    assert ganzoo("run", *BASE, "--steps", 1, "--latent-dim", 5, "--b1", 0.25, "--out", "a").code == 0
    result = ganzoo("run", *BASE, "--steps", 1, "--init-from", "a", "--b1", 0.75, "--out", "b")
    assert f"note: as {tmp_path / 'a'} has it, unless told otherwise: --latent-dim 5" in result.err
    options = json.loads((tmp_path / "b" / "run.json").read_text())["options"]
    assert (options["latent_dim"], options["b1"]) == (5, 0.75)


def test_what_does_not_fit_begins_anew_and_is_named_in_one_note(ganzoo, old, tmp_path):
    result = ganzoo("run", *BASE, "--init-from", old, "--latent-dim", 9, "--steps", 1, "--out", "new")
    anew = "generator.layers.0.weight"
    assert result.err == f"note: 14 of 15 tensors are those of {old}; it has none for {anew}, which begin anew\n"
    then, now = state(old)["gan"], first(tmp_path / "new")
    assert now["gan"][anew].shape == (32, 13)
    assert torch.equal(now["gan"][anew], now["ema"]["layers.0.weight"])
    assert torch.equal(now["gan"]["generator.layers.3.weight"], then["generator.layers.3.weight"])


def test_a_bias_that_fits_by_chance_is_not_what_a_network_has_learnt():
    gan = registry().get("models", "gan")
    data = DataSpec("digits", (1, 8, 8), 10)
    one = gan(data, gan.Options())
    biases = {name: t.detach().clone() for name, t in one.state_dict().items() if t.dim() == 1}
    assert biases
    with pytest.raises(UsageError, match="none of its weights fits model 'gan' by name and shape"):
        begin_with(one, EMA({"generator": one.generator}, 0.9), Beginning(biases, {}, {"run": "old", "model": "other"}))


def test_weights_that_fit_nothing_are_one_line_and_make_no_run(ganzoo, old, tmp_path):
    result = ganzoo("run", "sngan", *BASE[1:], "--image-size", 32, "--init-from", old, "--out", "new")
    assert result.code == 2
    assert "none of its weights fits model 'sngan' by name and shape: it is a run of model 'tiny'" in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda run: shutil.rmtree(run), "is not a run directory: there is no such folder"),
        (lambda run: (run / "config.json").unlink(), "is not a run directory: it has no config.json"),
        (
            lambda run: (shutil.rmtree(run / "checkpoints"), (run / "generator.safetensors").unlink()),
            "holds no weights",
        ),
    ],
)
def test_a_run_without_weights_is_one_line(ganzoo, copied, make, message):
    make(copied)
    result = ganzoo("run", *BASE, "--init-from", copied, "--out", "new")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert message in result.err


def test_of_a_damaged_checkpoint_the_one_before_is_taken_and_of_none_the_average(ganzoo, old, copied):
    (copied / "checkpoints" / "step-00000040.pt").write_bytes(b"damaged")
    with pytest.raises(GanzooError, match="size differs"):
        weights_of(copied, ("generator",))
    shutil.rmtree(copied / "checkpoints")
    found = weights_of(copied, ("generator",))
    assert not found.trained
    assert torch.equal(found.averaged["generator.layers.0.weight"], state(old)["ema"]["layers.0.weight"])


@pytest.mark.parametrize("name", ZOO)
def test_every_model_begins_where_it_ended(name: str):
    one, two = train(name, steps=2), train(name)
    ended = held(one.gan)
    average = {f"generator.{key}": t for key, t in one.ema.module.state_dict().items()}
    report = begin_with(two.gan, two.ema, Beginning(ended, average, {"run": "old", "model": "any"}))
    assert (report["anew"], report["taken"]) == ([], len(ended))
    assert_equal(held(two.gan), ended)
    assert_equal(dict(two.ema.module.state_dict()), dict(one.ema.module.state_dict()))


def held(gan):
    return {name: t.detach().clone() for name, t in networks_of(gan).items()}


# Resume, recordings, processes, Python


def test_resuming_needs_the_old_run_no_longer_and_ends_as_if_it_had_not_stopped(ganzoo, copied, tmp_path):
    common = ("run", *BASE, "--init-from", copied)
    assert ganzoo(*common, "--steps", 30, "--out", "straight").code == 0
    assert ganzoo(*common, "--steps", 15, "--out", "stopped").code == 0
    shutil.rmtree(copied)
    assert ganzoo("resume", "stopped", "--steps", 30, "--quiet").code == 0
    one, two = state(tmp_path / "straight"), state(tmp_path / "stopped")
    for part in ("gan", "ema", "optimizers"):
        assert_equal(one[part], two[part])


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_with_the_same_weights_or_not_at_all(
    ganzoo, copied, tmp_path
):
    assert ganzoo("run", *BASE, "--init-from", copied, "--steps", 20, "--out", "new").code == 0
    whole = state(tmp_path / "new")["gan"]
    shutil.rmtree(tmp_path / "new" / "checkpoints")
    assert ganzoo("resume", "new", "--quiet").code == 0
    assert_equal(state(tmp_path / "new")["gan"], whole)
    shutil.rmtree(tmp_path / "new" / "checkpoints")
    assert ganzoo("resume", copied, "--steps", 41, "--quiet").code == 0
    result = ganzoo("resume", "new", "--quiet")
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "began with other weights than" in result.err


def test_recorded_steps_go_on_from_the_same_weights_as_plain_ones(ganzoo, old, tmp_path):
    for engine in ("eager", "graph"):
        common = ("--init-from", old, "--steps", 20, "--engine", engine, "--freeze-discriminator", 1)
        assert ganzoo("run", *BASE, *common, "--out", engine).code == 0
    one, two = (state(tmp_path / engine) for engine in ("eager", "graph"))
    assert_equal(one["gan"], two["gan"])
    assert_equal(one["ema"], two["ema"])


def test_two_processes_begin_with_them_and_leave_frozen_layers_alone(old, tmp_path):
    options = ("--init-from", old, "--steps", 3, "--nproc", 2, "--freeze-discriminator", 1, "--out", "new")
    process = start("run", *BASE, *options, cwd=tmp_path)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    then = state(old)
    assert_equal(first(tmp_path / "new")["ema"], then["ema"])
    kept = [name for name in then["gan"] if name.startswith("discriminator.condition")]
    now = state(tmp_path / "new")["gan"]
    assert kept
    assert all(torch.equal(now[name], then["gan"][name]) for name in kept)
    assert not torch.equal(now["discriminator.layers.3.weight"], then["gan"]["discriminator.layers.3.weight"])


def test_from_python_a_run_may_be_what_train_gave(tmp_path):
    options = {"dataset": "small-digits", "loggers": (), "steps": 2, "progress": False}
    one = zoo.train("tiny", **options, out=tmp_path / "one")
    two = zoo.train("tiny", **options, out=tmp_path / "two", init_from=one)
    assert_equal(first(two.folder)["ema"], state(one.folder)["ema"])


# Frozen layers


def test_a_layer_is_what_holds_weights_with_the_normalisation_behind_it():
    conv, norm, last = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 1)
    unit = nn.utils.parametrizations.spectral_norm(nn.Conv2d(8, 8, 3))
    network = nn.Sequential(nn.Sequential(conv, norm, nn.LeakyReLU()), unit, nn.PReLU(), nn.Flatten(), last)
    assert [[type(m) for m in layer] for layer in weighted_layers(network)] == [
        [nn.Conv2d, nn.BatchNorm2d], [type(unit), nn.PReLU], [nn.Linear]
    ]  # fmt: skip
    assert [layer[0] for layer in weighted_layers(network)] == [conv, unit, last]
    assert weighted_layers(last) == [[last]]


def test_stylegan2_counts_blocks_from_the_highest_resolution_with_the_layer_from_rgb():
    model = registry().get("models", "stylegan2")
    spec = DataSpec("made-up", (3, 32, 32), 10, ("a", "b"))
    gan = model(spec, model.Options(channel_base=64, latent_dim=4, depth=1))
    held = [name for name, p in gan.discriminator.named_parameters() if id(p) in params(frozen_layers(gan, 2))]
    assert {name.partition(".")[0] for name in held} == {"b32", "b16"}
    assert "b32.fromrgb.weight" in held
    with pytest.raises(UsageError, match="has 4 layers, and the last learns in any case: at most 3"):
        frozen_layers(gan, 4)


def params(modules):
    return {id(p) for module in modules for p in module.parameters()}


@pytest.mark.parametrize("name", ZOO)
def test_frozen_layers_of_every_model_end_bit_for_bit_as_they_were(name: str):
    made = train(name, batch_size=4)
    gan = made.gan
    frozen = frozen_layers(gan, 1)
    freeze(frozen)
    trainer = Trainer(gan, made.loader, made.engine, steps=10)
    freeze(frozen)
    before = [{k: t.clone() for k, t in module.state_dict().items()} for module in frozen]
    others = {k: t.clone() for k, t in gan.discriminator.state_dict().items()}
    for _ in range(3):
        trainer.advance()
    for module, then in zip(frozen, before, strict=True):
        assert_equal(dict(module.state_dict()), then)
    assert any(not torch.equal(t, others[k]) for k, t in gan.discriminator.state_dict().items())


def test_frozen_layers_stay_as_the_other_run_left_them_over_a_resume(ganzoo, old, tmp_path):
    common = ("--init-from", old, "--freeze-discriminator", 1)
    assert ganzoo("run", *BASE, *common, "--steps", 10, "--out", "new").code == 0
    assert ganzoo("resume", "new", "--steps", 20, "--quiet").code == 0
    then, now = state(old)["gan"], state(tmp_path / "new")["gan"]
    moved = {name for name in then if name.startswith("discriminator") and not torch.equal(then[name], now[name])}
    assert moved
    assert not [name for name in moved if name.startswith("discriminator.condition")]
    told = json.loads((tmp_path / "new" / "run.json").read_text())["parameters"]
    assert told == json.loads((old / "run.json").read_text())["parameters"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--freeze-discriminator", 1), "say which run by --init-from"),
        (
            ("--freeze-discriminator", 9, "--init-from", "OLD"),
            "has 3 layers, and the last learns in any case: at most 2",
        ),
        (("--freeze-discriminator", 2, "--init-from", "OLD", "--image-size", 8, "--channels", 3), "does not come from"),
        (("--freeze-discriminator", 0, "--init-from", "OLD"), "0 is not in the range"),
    ],
)
def test_what_cannot_be_frozen_is_one_line(ganzoo, old, tmp_path, options, message):
    result = ganzoo("run", *BASE, *(old if option == "OLD" else option for option in options), "--out", "new")
    assert result.code == 2
    assert message in result.err
    assert "error" in result.err.splitlines()[-1]
    assert not (tmp_path / "new").exists()


# After an import


def test_what_was_imported_is_trained_on_from_all_its_networks(ganzoo, tmp_path):
    assert ganzoo("import", SNAPSHOT, "-o", "ffhq").code == 0
    quick = ("--dataset", "emoji", "--steps", 1, "--batch-size", 4, "--loggers", "none", "--quiet")
    result = ganzoo("run", "stylegan2", "--init-from", "ffhq", *quick, "--freeze-discriminator", 1, "-o", "mine")
    assert result.code == 0, result.err
    # Its four classes are not those nine.
    anew = "generator.mapping.embed.weight, discriminator.mapping.embed.weight"
    assert f"84 of 86 tensors are those of {tmp_path / 'ffhq'}; it has none for {anew}" in result.err
    begun, kept = first(tmp_path / "mine"), weights.read(tmp_path / "ffhq" / NETWORKS)
    average = weights.read(tmp_path / "ffhq" / "generator.safetensors")
    for name, value in kept.items():
        assert "embed" in name or torch.equal(begun["gan"][name], value), name
    for name, value in average.items():
        assert "embed" in name or torch.equal(begun["ema"][name], value), name
    ended = state(tmp_path / "mine")["gan"]
    frozen = [name for name in kept if name.startswith("discriminator.b16")]
    assert frozen
    assert all(torch.equal(ended[name], kept[name]) for name in frozen)


def test_what_was_imported_is_compared_measured_and_explained_as_what_it_is(ganzoo, tmp_path):
    assert ganzoo("import", SNAPSHOT, "-o", "ffhq").code == 0
    result = ganzoo("eval", "ffhq")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "name those to measure it against by --dataset" in result.err
    result = ganzoo("compare", "ffhq", "-o", "report.json")
    assert "imported from stylegan2_16px.pkl: how it was trained is not known" in result.out
    assert "still running" not in result.out
    report = (tmp_path / "report.json").read_text()
    assert "ganzoo import stylegan2_16px.pkl --out ffhq-again" in report
    facts = json.loads(ganzoo("info", "ffhq", "--json").out)
    assert (facts["status"]["status"], facts["imported"]["averaged"]) == ("imported", ["generator"])
    assert "stylegan2" in repr(zoo.api.TrainedRun("ffhq"))


def test_another_resolution_takes_what_fits_and_says_so(ganzoo, tmp_path):
    assert ganzoo("import", SNAPSHOT, "-o", "ffhq").code == 0
    quick = ("--dataset", "emoji", "--image-size", 32, "--steps", 1, "--batch-size", 4, "--loggers", "none", "--quiet")
    result = ganzoo("run", "stylegan2", "--init-from", "ffhq", *quick, "-o", "mine")
    assert (result.code, result.err.count("begin anew")) == (0, 1)
    begun, kept = first(tmp_path / "mine")["gan"], weights.read(tmp_path / "ffhq" / NETWORKS)
    assert torch.equal(begun["generator.synthesis.b16.conv0.weight"], kept["generator.synthesis.b16.conv0.weight"])


def test_the_weight_of_an_average_that_has_begun_does_not_ramp():
    fresh, begun = (EMA({"generator": nn.Linear(2, 2)}, 0.999, kimg) for kimg in (None, 10.0))
    assert fresh.weight(1) == pytest.approx(9 / 11)
    fresh.begun = begun.begun = True
    assert fresh.weight(1) == pytest.approx(0.001)
    assert begun.weight(1, images=0, batch=100) == pytest.approx(1 - 0.5**0.01)


def test_cyclegan_freezes_the_layers_of_both_discriminators():
    model = registry().get("models", "cyclegan")
    spec = DataSpec("made-up", (3, 32, 32), 10, source_shape=(3, 32, 32), paired=False)
    gan = model(spec, model.Options(width=4, blocks=1))
    held = params(frozen_layers(gan, 1))
    owners = {name.partition(".")[0] for name, p in gan.named_parameters() if id(p) in held}
    assert owners == {"discriminator", "source_discriminator"}
