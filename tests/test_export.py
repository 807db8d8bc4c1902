"""`ganzoo export`: a file in which the generator is the same."""

import json
import struct
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import ganzoo as zoo
from conftest import TINY
from ganzoo.errors import GanzooError
from ganzoo.plugins import registry
from ganzoo.preparing import load_data
from ganzoo.runs.export import FORMATS, compare, draw, export
from ganzoo.settings import resolve
from ganzoo.training.building import build
from ganzoo.training.layout import arranged


def gan_of(name: str, dataset: str = "small-digits", **options: object):
    """A model with random weights and moved statistics, ready to be exported."""
    plugins = registry()
    plan = resolve(plugins.get("models", name), {"dataset": dataset, **options})
    spec = load_data(plan.settings, plugins).spec(dataset)
    torch.manual_seed(0)
    gan = build(plan.model, spec, plan.options)
    if gan.data.source_shape is None:
        with torch.no_grad():
            gan.generate(gan.sample_latent(16), gan.sample_labels(16))
    return gan.eval().requires_grad_(False)


@pytest.fixture
def run(ganzoo, tmp_path):
    assert ganzoo("run", *TINY, "--steps", 2, "--out", tmp_path / "run", "--quiet").code == 0
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["tiny", "plain"])
@pytest.mark.parametrize("kind", ["safetensors", "pt2"])
def test_an_exported_generator_equals_the_original(tmp_path, name, kind):
    result = export(gan_of(name), kind, tmp_path / "x", registry(), step=5)
    assert result["largest_difference"] <= FORMATS[kind].tolerance
    assert [i["name"] for i in result["inputs"]] == (["z", "y"] if name == "tiny" else ["z"])
    assert (tmp_path / "x").stat().st_size == result["bytes"]


@pytest.mark.parametrize("name", ["tiny", "plain"])
def test_onnx_gives_the_same_images(tmp_path, name):
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason="needs ganzoo[onnx]")
    import onnx

    result = export(gan_of(name), "onnx", tmp_path / "x.onnx", registry(), step=5)
    assert result["largest_difference"] <= FORMATS["onnx"].tolerance
    facts = {p.key: p.value for p in onnx.load(tmp_path / "x.onnx").metadata_props}
    assert (facts["model"], facts["step"]) == (name, "5")
    assert json.loads(facts["output"])["shape"] == ["N", 1, 8, 8]


def test_a_safetensors_file_says_how_to_rebuild_the_model(ganzoo, run):
    result = ganzoo("export", run, "--format", "safetensors", "--json")
    told = json.loads(result.out)
    assert told["largest_difference"] == 0
    content = (run / "tiny.safetensors").read_bytes()
    facts = json.loads(json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])["__metadata__"]["ganzoo"])
    assert json.loads(facts["config"])["model"] == "tiny"
    assert facts["step"] == "2"
    assert [one["meaning"] for one in told["inputs"]] == ["latents, as the model draws them", "class indices, 0 to 9"]


def test_the_ending_of_the_file_chooses_the_format(ganzoo, run, tmp_path):
    result = ganzoo("export", run, "-o", tmp_path / "new" / "digits.pt2")
    assert result.code == 0, result.err
    assert "z float32 (N, 8), y int64 (N)" in result.out
    assert "checked: 74 random images" in result.out
    images = torch.export.load(tmp_path / "new" / "digits.pt2").module()(torch.zeros(5, 8), torch.arange(5))
    assert images.shape == (5, 1, 8, 8)


def test_an_ending_that_says_nothing_is_refused(ganzoo, run):
    result = ganzoo("export", run, "-o", "digits.png")
    assert result.code == 2
    assert "end the name in .safetensors, .pt2, .onnx, or say --format" in result.err


@pytest.mark.parametrize(("kind", "name"), [("pt2", "e.safetensors"), ("onnx", "e.PT2")])
def test_an_ending_of_another_format_is_refused_and_what_stood_there_stays(ganzoo, run, tmp_path, kind, name):
    (tmp_path / name).write_text("mine")
    result = ganzoo("export", run, "--format", kind, "-o", name)
    said = f"error: {name}: --format {kind} is not what its ending says: end the name in .{kind}\n"
    assert (result.code, result.err, (tmp_path / name).read_text()) == (2, said, "mine")


def test_exported_safetensors_are_drawn_from_as_the_run_is(ganzoo, run, tmp_path):
    assert ganzoo("export", run, "--format", "safetensors", "-o", "e.safetensors").code == 0
    for what, name in ((run, "a.png"), ("e.safetensors", "b.png")):
        assert ganzoo("sample", what, "-n", 4, "-o", name).code == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    mine, theirs = zoo.load("e.safetensors"), zoo.load(run)
    assert (mine.step, mine.data) == (theirs.step, theirs.data)
    Path("other.safetensors").write_bytes(b"x" * 100)
    told = [
        (("sample", "e.safetensors", "--checkpoint", "best"), "is an exported file, and has no checkpoints"),
        (("sample", "other.safetensors"), "is neither a run directory nor a file that `ganzoo export --format"),
        (("demo", "e.safetensors"), "e.safetensors is a file: a demo is of a run directory"),
        (("push", "e.safetensors", "me/digits"), "e.safetensors is not a run directory: it is a file"),
    ]
    for arguments, line in told:
        result = ganzoo(*arguments)
        assert (result.code, line in result.err, result.err.count("\n")) == (2, True, 1), result.err


def test_all_parts_of_an_exported_translator_are_read(tmp_path):
    gan, _ = translating("cyclegan")
    export(gan, "safetensors", tmp_path / "x.safetensors", registry(), step=7)
    read = zoo.load(tmp_path / "x.safetensors")
    assert read.step == 7
    assert len(gan.saved) > 1
    for name in gan.saved:
        for key, value in getattr(gan, name).state_dict().items():
            assert torch.equal(getattr(read.gan, name).state_dict()[key], value)


def test_a_place_that_cannot_be_written_is_told_before_the_export(ganzoo, run, tmp_path, monkeypatch):
    monkeypatch.setattr("ganzoo.runs.export.export", None)  # Would be called.
    (tmp_path / "file").write_text("")
    result = ganzoo("export", run, "-o", "file/e.pt2")
    assert (result.code, result.err) == (1, "error: cannot write file/e.pt2: File exists\n")


def test_missing_onnx_packages_are_named_in_one_line(ganzoo, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else object())
    result = ganzoo("export", run, "--format", "onnx")
    assert result.code == 2
    assert result.err == "error: --format onnx needs onnxscript: pip install 'ganzoo[onnx]'\n"


def test_a_file_that_draws_other_images_is_not_written(tmp_path, monkeypatch):
    other = FORMATS["safetensors"]
    wrong = type(other)(
        other.make, lambda content, plugins: lambda inputs: torch.zeros(len(inputs[0]), 1, 8, 8), 0.0, ""
    )
    monkeypatch.setitem(FORMATS, "safetensors", wrong)
    with pytest.raises(GanzooError, match=r"differs from the original by .* nothing was written"):
        export(gan_of("tiny"), "safetensors", tmp_path / "x", registry())
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_shape_or_value_is_no_equality():
    gan = gan_of("plain")
    assert compare(gan, lambda inputs: torch.zeros(1, 1, 8, 8)) == float("inf")
    assert compare(gan, lambda inputs: torch.full((len(inputs[0]), 1, 8, 8), torch.nan)) == float("inf")


def test_the_inputs_of_the_check_are_the_models_own():
    inputs = draw(gan_of("tiny"), 7, seed=1)
    assert {name: tuple(value.shape) for name, value in inputs.items()} == {"z": (7, 8), "y": (7,)}


# Models that make images from images

FREE = {
    "pix2pix": ("small-pairs", {"width": 4}, ["source"]),
    "cyclegan": ("small-unpaired", {"width": 4, "blocks": 1, "identity": 0}, ["source"]),
    "unit": ("small-unpaired", {"width": 4}, ["source"]),
    "srgan": ("small-halves", {"width": 4, "blocks": 1}, ["source"]),
    "munit": ("small-unpaired", {"width": 4, "blocks": 1, "hidden": 8, "image_size": 16}, ["source", "z"]),
    "stargan": ("small-digits", {"width": 4, "blocks": 1}, ["source", "y"]),
}
"""Data, options, and what the program takes."""


def translating(name: str):
    dataset, options, inputs = FREE[name]
    own = {*registry().get("models", name).Options.model_fields, "image_size"}
    return gan_of(name, dataset, **{key: value for key, value in options.items() if key in own}), inputs


def at_another_size(gan, called):
    """What the model and an exported program make of sources that are larger than those of the training, and odd."""
    inputs = draw(gan, 2, 5, 13, 30)
    with torch.no_grad():
        z = inputs.get("z", torch.zeros(2, 0))
        return gan.generate(z, inputs.get("y"), inputs["source"]), called(*inputs.values())


@pytest.mark.parametrize("name", FREE)
def test_a_program_of_a_translator_takes_sources_of_any_size(tmp_path, name):
    gan, inputs = translating(name)
    result = export(gan, "pt2", tmp_path / "x.pt2", registry(), step=5)
    c, h, w = gan.data.source_shape
    assert [i["name"] for i in result["inputs"]] == inputs
    assert result["inputs"][0]["shape"] == ["N", c, "H", "W"]
    assert result["images_checked"] == 6
    expected, found = at_another_size(gan, torch.export.load(tmp_path / "x.pt2").module())
    assert expected.shape[2:] == ((h + 13) * (gan.data.shape[1] // h), (w + 30) * (gan.data.shape[2] // w))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["pix2pix", "munit", "stargan"])
def test_onnx_of_a_translator_has_free_height_and_width(tmp_path, name):
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason="needs ganzoo[onnx]")
    import onnxruntime

    gan, inputs = translating(name)
    export(gan, "onnx", tmp_path / "x.onnx", registry(), step=5)
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == inputs
    assert all(isinstance(session.get_inputs()[0].shape[axis], str) for axis in (0, 2, 3))

    def called(*values):
        feed = {name: value.numpy() for name, value in zip(inputs, values, strict=True)}
        return torch.from_numpy(session.run(None, feed)[0])

    expected, found = at_another_size(gan, called)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["cyclegan", "pix2pix"])
def test_weights_of_a_translator_rebuild_it_both_ways(tmp_path, name):
    gan, _ = translating(name)
    result = export(gan, "safetensors", tmp_path / "x", registry())
    assert result["largest_difference"] == 0
    names = set(load_file(tmp_path / "x"))
    both = {f"{part}.{key}" for part in gan.saved for key in getattr(gan, part).state_dict()}
    assert names == (both if name == "cyclegan" else set(gan.generator.state_dict()))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("stylegan2", {"depth": 2, "channel_base": 256, "channel_max": 32}),
        ("biggan", {"width": 8}), ("sagan", {"width": 8}), ("r3gan", {}),
    ],
)  # fmt: skip
def test_weights_of_networks_that_lie_channels_last_give_the_very_same_images(tmp_path, name, options):
    gan = arranged(gan_of(name, "mnist", image_size=16, limit=64, **options), torch.device("cpu"))
    assert export(gan, "safetensors", tmp_path / "x", registry())["largest_difference"] == 0


def test_neither_discriminators_nor_past_fakes_are_in_a_program(tmp_path):
    gan, _ = translating("cyclegan")
    export(gan, "pt2", tmp_path / "x.pt2", registry())
    held = {name.split(".")[1] for name in torch.export.load(tmp_path / "x.pt2").state_dict}
    assert held == {"generator", "back"}


def test_a_translator_of_one_size_is_exported_at_that_size(ganzoo):
    run = ("run", "tiny-translator", "--dataset", "small-pairs", "--steps", 2, "--batch-size", 16, "--loggers", "none")
    assert ganzoo(*run, "--quiet", "--out", "r").code == 0
    result = ganzoo("export", "r", "--format", "pt2")
    assert result.code == 0, result.err
    assert "source float32 (N, 1, 8, 8)" in result.out


def test_a_network_that_takes_some_sizes_alone_is_exported_at_its_own_with_a_word(tmp_path, capsys):
    class Halving(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(()), requires_grad=False)

        def forward(self, source, y):
            small = torch.nn.functional.avg_pool2d(source, 2)
            return source / 2 + torch.nn.functional.interpolate(small, scale_factor=2) / 2

    gan = gan_of("tiny-translator", "small-pairs")
    gan.generator = Halving()
    result = export(gan, "pt2", tmp_path / "x.pt2", registry())
    assert result["inputs"][0]["shape"] == ["N", 1, 8, 8]
    told = capsys.readouterr().err
    assert "as pt2, model 'tiny-translator' takes sources of 8 x 8 pixels alone" in told
    assert len(told.splitlines()) == 1
