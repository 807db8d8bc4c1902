"""`ganzoo export`: a file in which the generator is the same."""

import json
import struct
import sys

import pytest
import torch

from conftest import TINY
from ganzoo.errors import GanzooError
from ganzoo.plugins import registry
from ganzoo.preparing import load_data
from ganzoo.runs.export import FORMATS, compare, draw, export
from ganzoo.settings import Settings, resolve
from ganzoo.training.building import build


def gan_of(name: str, **options: object):
    """A model with random weights and moved statistics, ready to be exported."""
    plugins = registry()
    plan = resolve(plugins.get("models", name), {"dataset": "small-digits", **options})
    spec = load_data(Settings(dataset="small-digits"), plugins).spec("small-digits")
    gan = build(plan.model, spec, plan.options)
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
    z, y = draw(gan_of("tiny"), 7, seed=1)
    assert (z.shape, y.shape) == ((7, 8), (7,))
