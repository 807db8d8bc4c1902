"""Thickness and slant on drawn lines, and the condition vectors of the embedded digits."""

import importlib.util
from pathlib import Path

import pytest
import torch
from ganzoo_plugins.mnist_strokes import SLANTS, THICKEST, THINNEST, MNISTStrokes, measure

from ganzoo.data import DataRequest


def line(width: float, shear: float = 0.0, size: int = 57, shift: float = 0.0) -> torch.Tensor:
    """An upright stroke, sheared to the right by `shear` pixels for each one up: uint8 (1, 1, size, size)."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    middle = (size - 1) / 2
    distance = (columns - middle - shift - shear * (middle - rows)).abs() / (1 + shear**2) ** 0.5
    ink = (width / 2 + 0.5 - distance).clamp(0, 1) * ((rows - middle).abs() < size * 0.4)
    return (255 * ink).round().byte()[None, None]


def slant(image: torch.Tensor) -> float:
    return measure(image).slant.item()


def thickness(image: torch.Tensor) -> float:
    return measure(image).thickness.item()


@pytest.mark.parametrize("width", [1, 2, 3, 4, 6])
def test_thickness_is_the_width_of_a_drawn_line(width: int):
    assert thickness(line(width)) == pytest.approx(width, rel=0.15)


@pytest.mark.parametrize("shear", [-0.5, 0.0, 0.5])
def test_thickness_grows_with_the_width_however_the_line_leans(shear: float):
    found = [thickness(line(width, shear)) for width in (1, 1.5, 2, 3, 4, 5)]
    assert found == sorted(found)
    assert found[-1] > 3 * found[0]


@pytest.mark.parametrize("shear", [-0.6, -0.3, 0.0, 0.3, 0.6])
def test_slant_is_the_shear_of_a_leaning_line(shear: float):
    assert slant(line(3, shear)) == pytest.approx(shear, abs=0.02)


def test_slant_does_not_depend_on_where_the_line_stands():
    assert slant(line(3, 0.3, shift=5)) == pytest.approx(slant(line(3, 0.3)), abs=1e-4)


def test_a_line_that_leans_to_the_right_has_its_top_on_the_right():
    image = line(3, 0.5)[0, 0].float()
    top, bottom = image[:20].sum(0).argmax(), image[-20:].sum(0).argmax()
    assert top > bottom


def test_images_are_measured_one_by_one():
    images = torch.cat([line(2), line(4, 0.4), line(3, -0.2)])
    together = measure(images)
    for i in range(3):
        alone = measure(images[i : i + 1])
        torch.testing.assert_close(together.thickness[i : i + 1], alone.thickness)
        torch.testing.assert_close(together.slant[i : i + 1], alone.slant)


def test_an_empty_image_is_measured_as_nothing():
    assert measure(torch.zeros(1, 1, 28, 28, dtype=torch.uint8)) == (torch.zeros(1), torch.zeros(1))


def test_the_digits_come_with_their_class_thickness_and_slant():
    data = MNISTStrokes().load(DataRequest("test"))
    spec = data.spec("mnist-strokes")
    assert data.labels.shape == (10_000, 12)
    assert (spec.condition_size, [a.name for a in spec.attributes]) == (12, ["thickness", "slant"])
    assert data.labels[:3, :10].argmax(1).tolist() == [7, 2, 1]
    assert (data.labels[:, :10].sum(1) == 1).all()
    for column, attribute in zip(data.labels[:, 10:].T, spec.attributes, strict=True):
        assert attribute.help
        assert column.min() >= attribute.low
        assert column.max() <= attribute.high
        inside = (column > attribute.low) & (column < attribute.high)
        assert inside.float().mean() > 0.9
        assert abs(column.median() - (attribute.low + attribute.high) / 2) < 0.15


def test_what_is_asked_for_can_be_measured():
    data = MNISTStrokes().load(DataRequest("test"))
    strokes = measure(data.images[:100])
    expected = ((strokes.thickness - THINNEST) / (THICKEST - THINNEST)).clamp(0, 1)
    torch.testing.assert_close(data.labels[:100, 10], expected)
    torch.testing.assert_close(data.labels[:100, 11], strokes.slant.clamp(*SLANTS))


# Whether samples follow what was asked


@pytest.fixture(scope="module")
def script():
    """The script that measures a run."""
    path = Path(__file__).parent.parent / "benchmarks" / "strokes.py"
    spec = importlib.util.spec_from_file_location("strokes", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_real_digits_follow_their_own_conditions_and_no_others(script):
    data = MNISTStrokes().load(DataRequest("test"))
    images, conditions = data.images[:500], data.labels[:500]
    found = script.follows(images, conditions, 10)
    assert min(found.values()) > 0.98
    assert found["thickness"] < 1  # A few lie beyond the range, and were clamped.
    others = script.follows(images, conditions.roll(1, 0), 10)
    assert max(abs(others["thickness"]), abs(others["slant"]), others["accuracy"]) < 0.2


def test_a_run_on_strokes_is_drawn_from_over_the_whole_range_and_can_be_evaluated(script, ganzoo, tmp_path):
    run = ("run", "cgan", "--dataset", "mnist-strokes", "--steps", 1, "--loggers", "none", "--quiet", "--out", "r")
    assert ganzoo(*run).code == 0
    images, conditions, classes = script.drawn(tmp_path / "r", 700, 0)
    assert (images.shape, images.dtype, classes) == ((700, 1, 28, 28), torch.uint8, 10)
    assert conditions[:, :10].sum(0).min() > 40
    for column, (low, high) in zip(conditions[:, 10:].T, [(0, 1), SLANTS], strict=True):
        assert column.min() < low + 0.02
        assert column.max() > high - 0.02
    result = ganzoo("eval", "r", "--metrics", "fid,accuracy", "--n", 20)
    assert result.code == 0, result.err
    assert "extractor digits" in result.out
