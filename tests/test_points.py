"""Points in the plane: the data sets against their papers, how models take them, and how modes are counted."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from ganzoo_plugins.points import Grid, Moons, Ring, SwissRoll

import ganzoo as zoo
from ganzoo.data import Batch, DataRequest, ImageSet, Modes, open_dataset
from ganzoo.errors import GanzooError, UsageError
from ganzoo.metrics.base import Measured, Setting
from ganzoo.metrics.extractor import Coordinates
from ganzoo.metrics.modes import ModeCoverage, reverse_kl
from ganzoo.metrics.reference import Reference
from ganzoo.plugins import registry
from ganzoo.report.lines import MORE

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("dataset", "extent", "deviation", "modes"), [(Ring, 2.5, 0.02, 8), (Grid, 5.0, 0.05, 25)], ids=["ring", "grid"]
)
def test_mixtures_are_those_of_the_papers(dataset, extent, deviation, modes):
    data = open_dataset(dataset(), DataRequest())
    spec = data.spec(dataset.name)
    assert (spec.shape, spec.count, len(spec.classes), set(spec.counts)) == ((2,), 50_000, modes, {50_000 // modes})
    assert data.images.abs().max() < 1
    points = data.images.double() * extent
    means = torch.stack([points[data.labels == k].mean(0) for k in range(modes)])
    assert torch.allclose(means, dataset.means, atol=5 * deviation / math.sqrt(50_000 / modes))
    assert (points - dataset.means[data.labels]).std().item() == pytest.approx(deviation, rel=0.02)
    assert torch.allclose(data.modes.centres.double() * extent, dataset.means)
    assert (data.modes.deviation * extent, data.modes.shares.tolist()) == (
        pytest.approx(deviation),
        pytest.approx([1 / modes] * modes),
    )


def test_the_ring_has_radius_2_and_the_grid_even_numbers():
    assert torch.allclose(Ring.means.norm(dim=1), torch.full((8,), 2.0, dtype=torch.float64))
    assert torch.allclose(Ring.means[2], torch.tensor([0.0, 2.0], dtype=torch.float64))
    assert {tuple(mean) for mean in Grid.means.tolist()} == {(x, y) for x in range(-4, 5, 2) for y in range(-4, 5, 2)}
    assert Grid.means[:2].tolist() == [[-4, -4], [-2, -4]]


def test_the_roll_and_the_moons_lie_on_their_curves():
    roll = open_dataset(SwissRoll(), DataRequest())
    points = roll.images.double() * 16
    radius, angle = points.norm(dim=1), torch.atan2(points[:, 1], points[:, 0])
    off = torch.remainder(radius - angle + math.pi, 2 * math.pi) - math.pi  # On the spiral the angle is the radius.
    assert off.abs().median() < 0.25
    assert 1.5 * math.pi - 1.5 < radius.min() < radius.max() < 4.5 * math.pi + 1.5
    assert (roll.spec("swiss-roll").conditional, roll.modes) == (False, None)
    moons = open_dataset(Moons(), DataRequest())
    points = moons.images.double() * 2 + torch.tensor([0.5, 0.25])
    centres = torch.tensor([[0.0, 0.0], [1.0, 0.5]])[moons.labels]
    assert ((points - centres).norm(dim=1) - 1).std().item() == pytest.approx(0.05, rel=0.05)
    assert moons.classes == ("upper", "lower")
    assert max(roll.images.abs().max(), moons.images.abs().max()) < 1


@pytest.mark.parametrize("dataset", [Ring, Grid, SwissRoll, Moons])
def test_points_are_the_same_each_time_and_others_for_testing(dataset):
    once, again, test = (open_dataset(dataset(), DataRequest(split)) for split in ("train", "train", "test"))
    assert torch.equal(once.images, again.images)
    assert len(test) == 10_000
    assert not torch.equal(once.images[:10_000], test.images)


def test_modes_that_cannot_be_are_refused():
    class Faulty(zoo.Dataset):
        name, summary = "faulty", "modes that cannot be"

        def load(self, request):
            return ImageSet(torch.zeros(4, 2), modes=self.modes)

    half = torch.tensor([0.5, 0.5])
    for modes, told in (
        (Modes(half + 0.1, torch.zeros(2, 2), 1.0), "do not sum|sum to 1"),
        (Modes(half), "centres of modes are for vectors, which need them"),
        (Modes(half, torch.zeros(2, 3), 1.0), "2 modes of vectors need as many centres"),
        (Modes(half, torch.zeros(2, 2), 0.0), "a deviation above 0"),
    ):
        Faulty.modes = modes
        with pytest.raises(GanzooError, match=told):
            open_dataset(Faulty(), DataRequest())


# Counting modes


def counted(dataset, points, extractor=None):
    """What `modes` says of points."""
    reference = Reference(dataset(), extractor or Coordinates(2), "test", tuple(points.shape[1:]))
    metric = ModeCoverage(Setting(reference, len(points), False, 0, CPU))
    for part in points.split(300):
        metric.update(Measured(part, None, part, None))
    return metric.compute()


def test_reverse_kl_is_the_divergence_of_samples_from_data():
    shares = torch.tensor([0.5, 0.25, 0.25])
    assert reverse_kl(torch.tensor([50, 25, 25]), shares) == pytest.approx(0)
    assert reverse_kl(torch.tensor([7, 0, 0]), shares) == pytest.approx(math.log(2))
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.25)
    assert reverse_kl(torch.tensor([0, 3, 3]), shares) == pytest.approx(expected)
    assert reverse_kl(torch.tensor([1, 1]), torch.tensor([1.0, 0.0])) == math.inf


def test_real_points_capture_all_modes_with_what_lies_within_three_deviations():
    found = counted(Ring, open_dataset(Ring(), DataRequest("test")).images)
    assert found["modes"] == 8
    assert found["good_samples"] == pytest.approx(1 - math.exp(-4.5), abs=0.003)  # Of a Gaussian in the plane.
    assert found["reverse_kl"] == pytest.approx(0, abs=1e-9)


def test_a_mode_is_captured_by_one_good_sample_and_by_no_bad_one():
    centres, deviation = Ring.means.float() / 2.5, 0.02 / 2.5
    just = centres[3] + torch.tensor([2.9 * deviation, 0.0])
    beyond = centres[5] + torch.tensor([0.0, 3.1 * deviation])
    found = counted(Ring, torch.stack([just, beyond, centres[0], centres[0]]))
    assert (found["modes"], found["good_samples"]) == (2, 0.75)
    assert found["reverse_kl"] == pytest.approx(2 * 0.25 * math.log(0.25 * 8) + 0.5 * math.log(0.5 * 8))


def test_a_run_on_points_is_measured_by_its_modes_while_it_trains_and_after(ganzoo, tmp_path):
    run = ("run", "gan", "--dataset", "ring", "--steps", 20, "--loggers", "none", "--quiet", "--out", "r")
    assert ganzoo(*run, "--eval-every", 1).code == 0
    log = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert {"modes", "good_samples", "reverse_kl"} <= log[-1].keys()
    assert "10,000 vectors of 2" in log[-1]["evaluation"]
    assert ganzoo("compare", "r", "-o", "logged.md").code == 0
    head, row = re.search(r"(\|.*modes captured.*)\n.*\n(.*)\n", Path("logged.md").read_text()).groups()
    told = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    assert told["modes captured ↑"] == f"{log[-1]['modes']:.1f}"
    done = ganzoo("eval", "r", "--metrics", "modes")
    assert done.code == 0, done.err
    result = json.loads((tmp_path / "r" / "eval.json").read_text())
    assert {k: log[-1][k] for k in ("modes", "good_samples", "reverse_kl")}.items() <= result["metrics"].items()
    assert result["metrics"].keys() == {"modes", "good_samples", "reverse_kl"}
    done = ganzoo("compare", "r", "-o", "r.md")
    assert done.code == 0, done.err
    again = next(line for line in Path("r.md").read_text().splitlines() if line.startswith("$ ganzoo eval"))
    assert "--features" not in again  # Which is refused of vectors.
    titles = {measure.key: measure.title for measure in MORE}
    assert (titles["modes"], titles["reverse_kl"]) == ("modes captured", "reverse KL")
    done = ganzoo("sample", "r", "--out", "points.npz", "-n", 5)
    assert done.code == 0, done.err


def test_images_cannot_be_held_against_points(ganzoo, tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((10, 1, 8, 8), dtype=np.uint8))
    done = ganzoo("eval", "x.npz", "--dataset", "ring", "--metrics", "modes", "--features", "digits")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "images cannot be compared with 'ring', which holds vectors" in done.err


def test_every_model_trains_on_points_or_says_in_one_line_what_it_needs():
    data = open_dataset(Ring(), DataRequest("test"))
    spec, refusals, able = data.spec("ring"), {}, []
    ours = [name for name in registry().names("models") if registry().provider("models", name).package == "ganzoo"]
    for name in ours:
        model = registry().get("models", name)
        try:
            gan = model(spec, model.Options())
        except UsageError as error:
            refusals[name] = str(error)
            continue
        able.append(name)
        real = Batch(data.images[:16], data.labels[:16] if gan.conditional else None)
        fake = gan.fake(real)
        assert fake.x.shape == (16, 2)
        for turn in gan.turns():
            assert all(term.isfinite() for term in turn.loss(real, fake).values()), name
    assert {"gan", "cgan", "pacgan", "unrolled-gan"} <= set(able)
    told = (Path(__file__).parent.parent / "docs" / "data.md").read_text(encoding="utf-8")
    told = told.split("Models whose networks are fully connected train on them")[1].split("as they are")[0]
    assert set(re.findall(r"`([\w-]+)`", told)) == set(able)
    assert {"dcgan", "sngan", "stylegan2", "stylegan3", "pix2pix"} <= refusals.keys()
    assert all("\n" not in said and ("vectors" in said or "none to start" in said) for said in refusals.values())
