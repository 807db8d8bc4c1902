"""Metrics against closed forms, brute force and scipy."""

import math
import pickle
import sys
import types
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from ganzoo_plugins.digits import Digits
from ganzoo_plugins.mnist import MNIST
from torch import Tensor

from ganzoo import DataRequest, ImageSet
from ganzoo.data.views import Views
from ganzoo.errors import GanzooError, UsageError
from ganzoo.metrics import distances as by_torchmetrics
from ganzoo.metrics import neighbours, parzen
from ganzoo.metrics.balls import prdc, radii
from ganzoo.metrics.base import Measured, Metric, Setting
from ganzoo.metrics.cas import CAS
from ganzoo.metrics.classifier import Classifier, Shape, Trained, accuracy, at_once, fit, keep, pack, set_scale, unpack
from ganzoo.metrics.distances import FID, KID, Inception, IntraFID, frechet, influence, kernel, resampled
from ganzoo.metrics.labels import Accuracy, plot_confusion
from ganzoo.metrics.neighbours import PRDC, Nearest, nearest
from ganzoo.metrics.parzen import GRID, Parzen, log_likelihood
from ganzoo.metrics.reference import Accumulator, Reference
from ganzoo.training.engine import own_randomness
from ganzoo_test_plugins import Look, SmallDigits, Unlabelled

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(SmallDigits(), Look())


@pytest.fixture(scope="module")
def setting(reference) -> Setting:
    return Setting(reference, len(reference.data), True, 0, CPU)


def normal(n: int, *size: int, seed: int = 0) -> Tensor:
    return torch.randn(n, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_moments(n: int, mean: Tensor, covariance: Tensor, seed: int = 0) -> Tensor:
    """Vectors (n, D) whose sample mean and covariance are exactly these."""
    x = normal(n, len(mean), seed=seed)
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T
    values, axes = torch.linalg.eigh(covariance)
    return x @ (axes * values.clamp(min=0).sqrt()).T + mean


def fid(real: Tensor, fake: Tensor, batch: int = 100) -> float:
    known = Accumulator(real.shape[1])
    for part in real.split(batch):
        known.update(part)
    metric = frechet(known.moments)
    for part in fake.split(batch):
        metric.update(part, real=False)
    return metric.compute().item()


def feed(metric: Metric, reference: Reference, images: Tensor, labels: Tensor | None) -> dict[str, float]:
    for start in range(0, len(images), 64):
        x = images[start : start + 64]
        y = None if labels is None else labels[start : start + 64]
        metric.update(Measured(x, y, *reference.extractor.extract(x)))
    return metric.compute()


# FID


def test_fid_of_known_gaussians_is_the_closed_form():
    a, b = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 1.0, 25.0]).double()
    mean = torch.tensor([3.0, 0.0, -1.0]).double()
    real = with_moments(300, torch.zeros(3).double(), a.diag())
    fake = with_moments(500, mean, b.diag(), seed=1)
    assert fid(real, fake) == pytest.approx(10 + float(((a.sqrt() - b.sqrt()) ** 2).sum()), rel=1e-9)


@pytest.mark.parametrize(("size", "rank"), [(4, 4), (32, 32), (32, 10)])
def test_fid_agrees_with_scipys_matrix_square_root(size, rank):
    sides = []
    for seed in (1, 2):
        root = normal(size, rank, seed=seed)
        # scipy's square root is at home with matrices that can be inverted.
        sides.append(with_moments(4 * size, normal(size, seed=seed + 2), root @ root.T + 1e-3 * torch.eye(size), seed))
    real, fake = (side.numpy() for side in sides)
    covariances = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    cross = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = ((real.mean(0) - fake.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * cross)
    assert fid(*sides) == pytest.approx(expected, rel=1e-6)


def test_what_more_of_an_image_would_do_to_the_fid_is_its_influence():
    real, fake = normal(500, 4, seed=1) * torch.tensor([1.0, 2.0, 0.5, 1.5]).double() + 0.3, normal(2000, 4, seed=2)
    known = Accumulator(4)
    known.update(real)
    found = influence(fake, known.moments)
    assert found.mean().item() == pytest.approx(0, abs=1e-12)
    before = fid(real, fake)
    for i in (0, 7, int(found.argmin()), int(found.argmax())):
        more = fid(real, torch.cat([fake, fake[i : i + 1]])) - before
        assert 2000 * more == pytest.approx(found[i].item(), rel=0.02, abs=0.05)


def test_other_images_of_a_generator_spread_the_fid_as_its_bootstrap_says():
    real, fakes = normal(4000, 4, seed=1) + 0.4, [normal(500, 4, seed=10 + i) for i in range(200)]
    known = Accumulator(4)
    known.update(real)
    drift = resampled(influence(fakes[0], known.moments), 0)
    fresh = torch.tensor([fid(real, fake) for fake in fakes])
    assert drift.std().item() == pytest.approx(fresh.std().item(), rel=0.15)
    assert torch.equal(drift, resampled(influence(fakes[0], known.moments), 0))


def test_the_interval_of_the_fid_holds_it_and_is_narrower_with_more_images(reference):
    def ends(n: int) -> tuple[float, float, float]:
        metric = FID(Setting(reference, n, False, 0, CPU, intervals=True))
        images = reference.data.images[torch.arange(n) % 250]
        found = feed(metric, reference, images, None)["fid"]
        return (*metric.intervals()["fid"], found)

    low, high, found = ends(250)
    assert 0 <= low < found < high
    narrower = ends(1000)
    assert narrower[1] - narrower[0] == pytest.approx((high - low) / 2, rel=0.1)


def test_of_no_more_images_than_features_the_fid_has_no_interval(reference):
    for n, known in ((Look.num_features, False), (Look.num_features + 1, True)):
        metric = FID(Setting(reference, n, False, 0, CPU, intervals=True))
        feed(metric, reference, reference.data.images[:n], None)
        assert bool(metric.intervals()) == known


def test_fid_of_identical_sets_is_nothing():
    x = normal(400, 16)
    assert fid(x, x) == pytest.approx(0, abs=1e-6)


def test_fid_does_not_depend_on_the_batches():
    real, fake = normal(400, 8), normal(300, 8, seed=1) + 1
    assert fid(real, fake, 7) == pytest.approx(fid(real, fake, 400), rel=1e-9)


def test_fid_keeps_nothing_that_grows_with_the_number_of_images(setting):
    def kept(images: int) -> int:
        metric = FID(setting)
        for _ in range(images // 50):
            metric.update(Measured(torch.zeros(50, 1, 8, 8), None, torch.randn(50, 16), None))
        states = [getattr(metric.metric, name) for name in metric.metric._defaults]
        return sum(state.nbytes for state in states)

    assert kept(50) == kept(5000)


def test_a_data_set_measured_against_itself_is_perfect(setting, reference):
    images, labels = reference.data.images, reference.data.labels
    assert feed(FID(setting), reference, images, labels)["fid"] == pytest.approx(0, abs=1e-5)
    assert feed(IntraFID(setting), reference, images, labels)["intra-fid"] == pytest.approx(0, abs=1e-4)
    assert set(feed(PRDC(setting), reference, images, labels).values()) == {1.0}
    assert feed(KID(setting), reference, images, labels)["kid"] <= 0


def test_intra_class_fid_is_the_mean_over_the_classes(setting, reference):
    images, labels = reference.data.images.flip(3), reference.data.labels
    vectors = [reference.extractor.extract(x).vectors.double() for x in (reference.data.images, images)]
    expected = [fid(*(v[labels == c] for v in vectors)) for c in range(10)]
    found = feed(IntraFID(setting), reference, images, labels)["intra-fid"]
    assert found == pytest.approx(sum(expected) / 10, rel=1e-6)


def test_intra_class_fid_names_a_class_of_which_there_is_too_little(setting, reference):
    others = reference.data.labels != 3
    with pytest.raises(UsageError, match=r"2 images of each class, and class '3' has 0"):
        feed(IntraFID(setting), reference, reference.data.images[others], reference.data.labels[others])


# KID and the Inception Score


def test_kid_is_the_unbiased_estimate_with_the_cubic_kernel():
    real, fake = normal(40, 6), normal(40, 6, seed=1) + 0.5
    xx, yy, xy = ((a @ b.T / 6 + 1) ** 3 for a, b in ((real, real), (fake, fake), (real, fake)))
    off = 40 * 39
    expected = (xx.sum() - xx.trace()) / off + (yy.sum() - yy.trace()) / off - 2 * xy.mean()
    mean, deviation = kernel(real, fake, subsets=3)
    assert mean == pytest.approx(expected.item(), rel=1e-6)
    assert deviation is None  # Subsets of all 40 are all the same.
    assert kernel(real, fake[:30], subsets=3)[1] > 0


def test_kids_subsets_never_exceed_the_smaller_side(monkeypatch, reference):
    seen = []
    original = by_torchmetrics._quietly
    monkeypatch.setattr(by_torchmetrics, "_quietly", lambda *a, **k: seen.append(k["subset_size"]) or original(*a, **k))
    for real, fake in ((1200, 1100), (1200, 70), (60, 1200)):
        kernel(normal(real, 4), normal(fake, 4, seed=1), subsets=1)
    assert seen == [1000, 70, 60]
    assert KID(Setting(reference, 30, True, 0, CPU)).settings()["subset_size"] == 30


@pytest.mark.parametrize(("logits", "expected"), [(100 * torch.eye(10).repeat(100, 1), 10), (torch.zeros(1000, 10), 1)])
def test_the_inception_score_reaches_the_number_of_classes(reference, logits, expected):
    metric = Inception(Setting(reference, 1000, True, 0, CPU))
    with own_randomness(0, CPU):
        metric.update(Measured(torch.zeros(1000, 1, 8, 8), None, None, logits))
        assert metric.compute()["is"] == pytest.approx(expected, rel=0.05)


def test_the_inception_scores_splits_are_of_one_size(reference):
    metric = Inception(Setting(reference, 29, True, 0, CPU))
    with own_randomness(0, CPU):
        for part in (100 * torch.eye(10).repeat(3, 1))[:29].split(7):
            metric.update(Measured(torch.zeros(len(part), 1, 8, 8), None, None, part))
        assert metric.compute()["is"] <= 2  # Two images a split.
    assert metric.settings() == {"splits": 10, "images": 20}
    with pytest.raises(UsageError, match="at least 20 images"):
        Inception(Setting(reference, 19, True, 0, CPU))


# Precision, recall, density, coverage


def brute(real: Tensor, fake: Tensor, k: int) -> dict[str, float]:
    real, fake = real.tolist(), fake.tolist()

    def radius(points: list[list[float]], i: int) -> float:
        return sorted(math.dist(points[i], p) for j, p in enumerate(points) if j != i)[k - 1]

    real_radii, fake_radii = ([radius(side, i) for i in range(len(side))] for side in (real, fake))
    inside_real = [[math.dist(r, f) < radius for r, radius in zip(real, real_radii, strict=True)] for f in fake]
    inside_fake = [[math.dist(r, f) < radius for f, radius in zip(fake, fake_radii, strict=True)] for r in real]
    return {
        "precision": np.mean([any(row) for row in inside_real]),
        "recall": np.mean([any(row) for row in inside_fake]),
        "density": np.sum(inside_real) / (k * len(fake)),
        "coverage": np.mean(np.any(inside_real, axis=0)),
    }


@pytest.mark.parametrize("k", [1, 5])
def test_prdc_agrees_with_brute_force_in_any_chunks(monkeypatch, k):
    # Whole numbers are often exactly as far apart as a radius: what is on the edge must be outside.
    real = normal(40, 3).mul(2).round()
    fake = normal(30, 3, seed=1).mul(2).round() + 1
    expected = brute(real, fake, k)
    assert prdc(real, fake, k=k) == pytest.approx(expected)
    monkeypatch.setattr("ganzoo.metrics.balls.CELLS", 100)
    assert prdc(real, fake, radii(real, k), k) == pytest.approx(expected)


def test_prdc_tells_missing_modes_from_bad_samples():
    real = torch.cat([normal(200, 4), normal(200, 4, seed=1) + 20])
    one_mode = prdc(real, normal(200, 4, seed=2))
    assert one_mode["precision"] > 0.9
    assert one_mode["recall"] < 0.6
    assert one_mode["coverage"] < 0.6
    assert prdc(real, normal(200, 4, seed=3) + 100) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_prdc_does_not_depend_on_where_the_features_lie(kind):
    # Whole numbers, which stay as they are far from zero.
    real, fake = (normal(200, 4, seed=seed).mul(100).round().to(kind) for seed in (0, 1))
    expected = prdc(real, fake)
    assert 0.5 < expected["precision"] < 1
    assert prdc(real + 2**16, fake + 2**16) == pytest.approx(expected)
    assert prdc(real + 2**16, fake + 2**16, radii(real + 2**16)) == pytest.approx(expected)


def test_a_row_is_no_neighbour_of_itself_but_its_double_is():
    x = torch.tensor([[0.0], [0.0], [3.0], [7.0]])
    assert radii(x, 1).tolist() == [0, 0, 3, 4]
    assert radii(x, 4).isinf().all()


# Memorisation


def test_a_copied_training_image_is_at_no_distance(setting, reference):
    copies = reference.training.images[:20]
    found = feed(Nearest(setting), reference, copies, None)
    assert found["nearest"] == found["nearest_least"] == 0


def test_the_nearest_training_image_is_the_same_in_any_chunks(monkeypatch, reference):
    images, queries = reference.training.images, 255 - reference.data.images[:50]
    whole = nearest(queries, images, CPU)
    monkeypatch.setattr(neighbours, "PIXELS", 7 * 64)
    assert torch.equal(nearest(queries, images, CPU), whole)


def test_the_nearest_training_image_agrees_with_brute_force():
    draw = torch.Generator().manual_seed(0)
    queries, images = (torch.randint(0, 256, (n, 3, 8, 8), generator=draw, dtype=torch.uint8) for n in (5, 50))
    flat = [x.flatten(1).double() / 255 for x in (queries, images)]
    expected = [min(math.dist(q, x) for x in flat[1]) for q in flat[0]]
    assert nearest(queries, images, CPU).tolist() == pytest.approx(expected)


# Labels


class Sure(Look):
    """Reads the class off the first pixel."""

    def extract(self, images):
        found = super().extract(images)
        return found._replace(logits=torch.nn.functional.one_hot(images[:, 0, 0, 0].long(), 10).float())


def test_label_accuracy_and_confusion_count_what_was_taken_for_what(tmp_path):
    reference = Reference(SmallDigits(), Sure())
    metric = Accuracy(Setting(reference, 4, True, 0, CPU))
    images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.tensor([7, 7, 1, 2])
    assert feed(metric, reference, images, torch.tensor([7, 7, 7, 2]))["accuracy"] == 0.75
    confusion = metric.confusion().tolist()
    assert (confusion[7][7], confusion[7][1], confusion[2][2], sum(map(sum, confusion))) == (2, 1, 1, 4)
    plot_confusion(tmp_path / "confusion.png", confusion, tuple("0123456789"), "seen")
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_metrics_of_labels_say_what_they_lack(setting, reference):
    unlabelled = Setting(Reference(Unlabelled(), Look()), 10, True, 0, CPU)
    no_labels = Setting(reference, 10, False, 0, CPU)
    for metric in (IntraFID, CAS):
        assert "the images have no labels" in metric.missing(no_labels)
        assert "has no classes" in metric.missing(unlabelled)
        assert metric.missing(setting) is None
    assert "does not classify into the classes of 'unlabelled'" in Accuracy.missing(unlabelled)


def test_classification_accuracy_score_stands_beside_that_of_real_images(setting, reference, monkeypatch):
    data = reference.training
    found = feed(CAS(setting), reference, data.images, data.labels)
    assert found["cas"] > 0.3
    assert found["cas_real"] == pytest.approx(found["cas"], abs=0.15)
    monkeypatch.setattr("ganzoo.metrics.cas.fit", lambda *a, **k: pytest.fail("the baseline is cached"))
    assert CAS(setting)._real(len(data)) == found["cas_real"]


class Marked(torch.utils.data.Dataset):
    """Images that stream from files which were replaced since, though those that are looked at are as before."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> torch.Tensor:
        return self.images[place]

    def file_mark(self) -> tuple[str, bytes]:
        return "files", b"replaced"


def test_the_baseline_of_real_images_is_kept_for_one_training_split_only(setting, monkeypatch):
    data = setting.reference.training
    CAS(setting)._real(100)
    monkeypatch.setattr("ganzoo.metrics.cas.fit", lambda *a, **k: pytest.fail("trained again"))
    CAS(setting)._real(100)
    other = Reference(SmallDigits(), Look())
    other.training = ImageSet(255 - data.images, data.labels, data.classes)
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        CAS(Setting(other, 100, True, 0, CPU))._real(100)
    marked = Reference(SmallDigits(), Look())
    marked.training = ImageSet(Marked(data.images), data.labels, data.classes)
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        CAS(Setting(marked, 100, True, 0, CPU))._real(100)


def test_neither_side_of_the_score_learns_from_more_images_than_the_other(setting, monkeypatch):
    learnt = []
    monkeypatch.setattr("ganzoo.metrics.cas.fit", lambda data, *a, **k: learnt.append(len(data)))
    monkeypatch.setattr("ganzoo.metrics.cas.accuracy", lambda *a: 0.5)
    reference = Reference(SmallDigits(), Look())
    data = setting.reference.training
    reference.training = ImageSet(data.images[:300], data.labels[:300], data.classes)
    metric = CAS(Setting(reference, 400, True, 0, CPU))
    feed(metric, reference, reference.data.images[:400], reference.data.labels[:400])
    assert (learnt, metric.settings()["images"]) == ([300, 300], 300)


def test_what_is_held_against_other_images_says_which(setting):
    other = Reference(SmallDigits(), Look())
    other.training = ImageSet(255 - other.training.images, other.training.labels, other.training.classes)
    for metric in (Nearest, CAS, Parzen):
        ours, theirs = metric(setting).settings(), metric(Setting(other, setting.n, True, 0, CPU)).settings()
        assert {key for key in ours if ours[key] != theirs[key]} == {"train"}


class OneSet(SmallDigits):
    """The same images whichever split is asked for, as a folder without `train` and `test` in it."""

    def load(self, request):
        return super().load(DataRequest("train"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_what_holds_one_split_against_the_other_is_left_out_where_both_are_one(setting, split):
    alike = Setting(Reference(OneSet(), Look(), split), 10, True, 0, CPU)
    for metric in (Nearest, CAS, Parzen):
        assert metric.missing(alike) == "data set 'small-digits' has no test split of its own"
        assert metric.missing(setting) is None


# Parzen


def test_the_parzen_window_agrees_with_scipys_kde():
    points = normal(25, 3, seed=1)
    samples = with_moments(60, torch.zeros(3).double(), torch.eye(3).double())  # scipy scales by the covariance.
    for sigma in (0.1, 0.5, 2.0):
        expected = scipy.stats.gaussian_kde(samples.T.numpy(), bw_method=sigma).logpdf(points.T.numpy())
        assert log_likelihood(points, samples, (sigma,))[0].numpy() == pytest.approx(expected, rel=1e-8)


def test_parzen_does_not_depend_on_chunks(monkeypatch):
    samples, points = normal(30, 5), normal(20, 5, seed=1)
    whole = log_likelihood(points, samples, GRID)
    monkeypatch.setattr(parzen, "CELLS", 100)
    torch.testing.assert_close(log_likelihood(points, samples, GRID), whole)


def test_parzen_takes_the_bandwidth_that_suits_held_out_images(setting, reference):
    found = feed(Parzen(setting), reference, reference.training.images, None)
    train, test = (d.images.flatten(1).double() / 255 for d in (reference.training, reference.testing))
    held_out = train[-(500 // 6) :]
    by_hand = [log_likelihood(held_out, train, (sigma,)).mean().item() for sigma in GRID]
    assert found["parzen_sigma"] == GRID[int(np.argmax(by_hand))]
    likelihoods = log_likelihood(test, train, (found["parzen_sigma"],))[0]
    assert found["parzen"] == pytest.approx(likelihoods.mean().item())
    assert found["parzen_standard_error"] == pytest.approx(likelihoods.std().item() / 500**0.5)


def test_parzen_holds_out_images_of_every_class_where_they_come_class_by_class(setting):
    metric = Parzen(setting)
    data = setting.reference.training
    assert metric._held_out_places() == list(range(417, 500))
    setting = Setting(Reference(SmallDigits(), Look()), 100, True, 0, CPU)
    order = data.labels.argsort(stable=True)
    setting.reference.training = ImageSet(data.images[order], data.labels[order], data.classes)
    places = Parzen(setting)._held_out_places()
    assert len(places) == 83
    assert set(data.labels[order][places].tolist()) == set(range(10))


def test_parzen_says_when_the_grid_ends_too_early(setting, reference, monkeypatch):
    monkeypatch.setattr(parzen, "GRID", (1.0, 2.0))
    assert feed(Parzen(setting), reference, reference.training.images, None)["parzen_at_grid_edge"] == 1


# The reference and its cache


def test_reference_statistics_are_computed_once(reference, monkeypatch):
    first = reference.statistics
    monkeypatch.setattr(Reference, "_compute", lambda self: pytest.fail("they are cached"))
    again = Reference(SmallDigits(), Look()).statistics
    assert all(torch.equal(getattr(first, name), getattr(again, name)) for name in vars(first))


@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b"", lambda b: b[:50] + b"?" + b[51:]])
def test_damaged_statistics_are_made_again(reference, damage):
    first = reference.statistics
    good = reference.file().read_bytes()
    reference.file().write_bytes(damage(good))
    again = Reference(SmallDigits(), Look())
    assert torch.equal(again.statistics.products, first.products)
    assert again.file().read_bytes() == good


def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "file" / "cache"))
    assert Reference(SmallDigits(), Look()).statistics.count == 500


def test_statistics_are_kept_apart_by_split_size_and_extractor(reference):
    other = Look()
    other.sha256 = "20" * 32
    kinds = [
        reference,
        Reference(SmallDigits(), Look(), "train"),
        Reference(SmallDigits(), Look(), shape=(1, 12, 12)),
        Reference(SmallDigits(), Look(), shape=(3, 8, 8)),
        Reference(SmallDigits(), other),
    ]
    more_classes = Reference(SmallDigits(), Look())
    more_classes.data = ImageSet(reference.data.images, reference.data.labels, (*reference.data.classes, "zebra"))
    kinds.append(more_classes)
    assert len({kind.file() for kind in kinds}) == len(kinds)


def test_large_images_are_looked_at_few_at_a_time():
    assert [at_once(side, side) for side in (8, 64, 128, 1024, 4096)] == [500, 500, 125, 1, 1]


def test_colour_copies_of_grey_images_are_measured_as_the_grey_ones():
    grey, colour = Reference(SmallDigits(), Look()), Reference(SmallDigits(), Look(), shape=(3, 8, 8))
    assert colour.spec.shape == (3, 8, 8)
    torch.testing.assert_close(grey.statistics.vectors, colour.statistics.vectors)


def test_images_that_are_not_square_are_refused():
    with pytest.raises(UsageError, match=r"images of 10 x 8 pixels cannot be compared with 'small-digits'"):
        Reference(SmallDigits(), Look(), shape=(1, 8, 10))


# Classifiers


@pytest.fixture(scope="module")
def trained() -> tuple[Classifier, Shape, ImageSet]:
    data, shape = SmallDigits().load(DataRequest()), Shape(1, 8, 10, 8, 16)
    return fit(data, shape, 2, 3, CPU), shape, data


def test_the_same_seed_trains_the_same_file(trained):
    net, shape, data = trained
    state = torch.get_rng_state()
    again = fit(data, shape, 2, 3, CPU)
    assert torch.equal(torch.get_rng_state(), state)
    assert pack(again, shape, {"classes": list(data.classes)}) == pack(net, shape, {"classes": list(data.classes)})
    other = fit(data, shape, 2, 4, CPU)
    assert not torch.equal(other.head.weight, net.head.weight)


def test_views_are_drawn_of_training_images_and_a_seed_draws_the_same():
    """Flipped or not at random: of images that are dark on the left or on the right nothing can be learnt."""
    images = torch.zeros(256, 1, 8, 8, dtype=torch.uint8)
    images[:128, :, :, :4] = 255
    images[128:, :, :, 4:] = 255
    sides = ImageSet(images, torch.arange(256) // 128, ("left", "right"))
    shape = Shape(1, 8, 2, 8, 16)
    assert accuracy(fit(sides, shape, 20, 0, CPU), sides, CPU) == 1
    flipped, again = (fit(sides, shape, 20, 0, CPU, views=Views(mirror=True)) for _ in range(2))
    logits = flipped(sides.images / 127.5 - 1).logits
    assert (logits[:, 0] - logits[:, 1]).abs().max() < 0.5  # Nor was it: both are about as likely.
    assert torch.equal(flipped.head.weight, again.head.weight)


def test_features_are_brought_to_scale_one_and_logits_stay(trained):
    _, shape, data = trained
    net = fit(data, shape, 1, 0, CPU)
    x = data.images.float() / 127.5 - 1
    before = net(x).logits
    set_scale(net, data, CPU)
    after = net(x)
    torch.testing.assert_close(after.logits, before, rtol=1e-4, atol=1e-4)
    assert after.vectors.square().mean().sqrt().item() == pytest.approx(1, rel=1e-4)


def test_a_trained_file_is_an_extractor_named_after_it(trained, tmp_path):
    net, shape, data = trained
    packed = pack(net, shape, {"classes": list(data.classes)})
    keep(tmp_path / "mine.safetensors", packed)
    extractor = Trained(tmp_path / "mine.safetensors").train()
    assert not extractor.training
    assert (extractor.name, extractor.num_features, extractor.classes) == ("mine", 16, data.classes)
    torch.testing.assert_close(
        extractor.extract(data.images).logits.argmax(1), net(data.images / 127.5 - 1).logits.argmax(1)
    )
    assert extractor.resizing(8, 8) == "none"
    assert extractor.resizing(9, 9) == "9x9 to 8x8, bilinear, antialiased"


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-9], lambda b: b"", lambda b: b"?" * 100, lambda b: b"\xff" * 8 + b[8:]]
)
def test_a_damaged_classifier_is_one_line(trained, damage):
    net, shape, data = trained
    with pytest.raises(UsageError, match=r"^x is damaged, or not a classifier of ganzoo's: [^\n]+$"):
        unpack(damage(pack(net, shape, {"classes": list(data.classes)})), "x")


def test_classifiers_fit_any_size_and_number_of_channels():
    for side, channels in ((8, 1), (28, 1), (32, 3), (65, 3)):
        net = Classifier(Shape(channels, side, 5, 4, 6)).eval()
        vectors, logits = net(torch.zeros(2, channels, side, side))
        assert (vectors.shape, logits.shape) == ((2, 6), (2, 5))


def test_without_classes_no_classifier_is_trained():
    with pytest.raises(UsageError, match="the data has no classes"):
        fit(Unlabelled().load(DataRequest()), Shape(1, 8, 1), 1, 0, CPU)


# The extractor for digits


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits().eval()


@pytest.fixture(scope="module")
def mnist() -> ImageSet:
    data = MNIST().load(DataRequest("test"))
    return ImageSet(data.images[:1000], data.labels[:1000], data.classes)


def test_the_digits_extractor_reads_all_the_test_digits(digits):
    data = MNIST().load(DataRequest("test"))
    assert len(data) == 10_000
    assert digits.classes == data.classes
    assert accuracy(digits.net, data, CPU) >= 0.994


def test_its_weights_are_small_and_named_by_their_hash(digits):
    import hashlib
    from importlib import resources

    packed = resources.files("ganzoo_plugins.digits").joinpath("digits.safetensors").read_bytes()
    assert len(packed) < 2_000_000
    assert hashlib.sha256(packed).hexdigest() == digits.sha256


def test_it_takes_other_sizes_and_colour_and_says_so(digits, mnist):
    data = ImageSet(mnist.images[:200], mnist.labels[:200], mnist.classes)
    at_28 = digits.extract(data.images)
    assert digits.resizing(28, 28) == "none"
    colour = digits.extract(data.images.expand(-1, 3, -1, -1))
    torch.testing.assert_close(colour.vectors, at_28.vectors)
    large = torch.nn.functional.interpolate(data.images.float(), (56, 56), mode="bilinear").byte()
    found = digits.extract(large).logits.argmax(1)
    assert (found == data.labels).double().mean() > 0.95
    assert digits.resizing(56, 56) == "56x56 to 28x28, bilinear, antialiased"


def test_it_takes_no_other_weights(tmp_path):
    with pytest.raises(GanzooError, match="--features FILE"):
        Digits(tmp_path)


# Inception, with a stand-in for the network


class Net(torch.nn.Module):
    """What torchmetrics makes: takes uint8, keeps to evaluation, gives features."""

    def __init__(self, name, features, weights=None, antialias=True):
        super().__init__()
        assert (features, antialias) == (["2048"], False)
        if weights and Path(weights).read_bytes() != b"good":
            raise pickle.UnpicklingError("invalid load key")
        self.fc = torch.nn.Linear(2048, 5)
        self.seen = []

    def forward(self, x):
        assert x.dtype == torch.uint8
        self.seen.append(tuple(x.shape))
        return x.double().mean((1, 2, 3)).float()[:, None].expand(-1, 2048)


@pytest.fixture
def inception(monkeypatch):
    """The module of the plugin, where torch-fidelity seems to be installed."""
    from ganzoo_plugins import inception

    source = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    source.URL_INCEPTION_V3 = "https://example.org/weights"
    package = types.ModuleType("torch_fidelity")
    package.feature_extractor_inceptionv3 = source
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", source)
    monkeypatch.setattr("torchmetrics.image.fid.NoTrainInceptionV3", Net)
    return inception


def test_inception_sees_colour_and_gives_features_and_logits_without_bias(inception, mnist):
    extractor = inception.Inception()
    vectors, logits = extractor.extract(mnist.images[:70])
    assert extractor.net.seen == [(50, 3, 28, 28), (20, 3, 28, 28)]
    torch.testing.assert_close(vectors[:, 0], mnist.images[:70].float().mean((1, 2, 3)))
    torch.testing.assert_close(logits, vectors @ extractor.net.fc.weight.T)
    assert not logits.requires_grad
    assert extractor.resizing(28, 28) == "28x28 to 299x299, bilinear as TensorFlow 1 has it"
    assert len(extractor.sha256) == 64


def test_inception_weights_that_are_none_are_told_in_one_line(inception, tmp_path, monkeypatch):
    (tmp_path / "good.pth").write_bytes(b"good")
    (tmp_path / "bad.pth").write_bytes(b"bad")
    assert inception.Inception(tmp_path / "good.pth").num_features == 2048
    with pytest.raises(UsageError, match=r"bad\.pth holds no Inception weights: .*invalid load key"):
        inception.Inception(tmp_path / "bad.pth")
    with pytest.raises(UsageError, match="there is no such file"):
        inception.Inception(tmp_path / "gone.pth")

    def offline(*arguments, **options):
        raise URLError("no network")

    monkeypatch.setattr("torchmetrics.image.fid.NoTrainInceptionV3", offline)
    with pytest.raises(GanzooError, match=r"cannot be had \(.*no network.*https://example\.org/weights"):
        inception.Inception()


def test_a_mistake_of_ours_is_not_taken_for_bad_weights(inception, monkeypatch):
    monkeypatch.setattr("torchmetrics.image.fid.NoTrainInceptionV3", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        inception.Inception()
