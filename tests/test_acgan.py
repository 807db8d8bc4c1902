"""ACGAN: what its classifiers learn, in closed form; names are learnt from real images alone; the paper's preset."""

import math
from functools import cache

import pytest
import torch
from ganzoo_plugins.acgan import (
    ACGAN,
    CLASSIFIERS,
    EMBEDDED,
    Auxiliary,
    Contrastive,
    DataToData,
    Discriminative,
    conditional_contrast,
    crammer_singer,
    data_to_data,
)
from torch import Tensor, nn

from ganzoo.data import Attribute, Batch, DataSpec
from ganzoo.errors import UsageError
from ganzoo.fields import as_recorded
from ganzoo.settings import resolve
from ganzoo.testing import check_gan
from ganzoo.training.engine import seed_everything

DATA = DataSpec("made-up", (1, 28, 28), 12, tuple("abc"))
TILTED = DataSpec("made-up", (1, 28, 28), 12, tuple("abc"), attributes=(Attribute("tilt"),))
CHOICES = sorted(CLASSIFIERS)


def build(classifier: str = "ac", data: DataSpec = DATA, **options) -> ACGAN:
    seed_everything(0)
    return ACGAN(data, ACGAN.Options(width=2, batch_size=4, latent_dim=4, classifier=classifier, **options))


@cache
def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def batches(gan: ACGAN) -> tuple[Batch, Batch]:
    x = drawn(4, 1, 28, 28).float().tanh()
    real = Batch(x, torch.tensor([0, 1, 2, 0]))
    return real, gan.fake(real._replace(y=torch.tensor([2, 2, 1, 0])))


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def test_the_multi_hinge_asks_each_class_to_lead_by_one():
    said = torch.tensor([[3.0, 1.0, 0.5, 2.5], [0.0, 5.0, 1.0, 1.0]])
    # The first leads by 0.5 only, the second by 4: (1 - 0.5 + 0) / 2.
    assert crammer_singer(said, torch.tensor([0, 1])).item() == pytest.approx(0.25)


def test_the_conditional_contrast_is_that_of_the_paper():
    features, proxies, y, t = drawn(5, 6), drawn(5, 6, seed=1), torch.tensor([0, 1, 0, 2, 0]), 0.7
    expected = 0.0
    for i in range(5):
        near = math.exp(cosine(features[i], proxies[i]) / t)
        others = {j: math.exp(cosine(features[i], features[j]) / t) for j in range(5) if j != i}
        alike = sum(value for j, value in others.items() if y[j] == y[i])
        expected -= math.log((near + alike) / (near + sum(others.values()))) / 5
    assert conditional_contrast(features, proxies, y, t).item() == pytest.approx(expected)


def test_the_data_to_data_cross_entropy_is_that_of_the_paper():
    features, proxies, y, t, m = drawn(5, 6), drawn(5, 6, seed=1), torch.tensor([0, 1, 0, 2, 0]), 0.5, 0.6
    expected = 0.0
    for i in range(5):
        near = math.exp(min(0.0, cosine(features[i], proxies[i]) - m) / t)
        apart = [math.exp(max(0.0, cosine(features[i], features[j]) - (1 - m)) / t) for j in range(5) if y[j] != y[i]]
        expected -= math.log(near / (near + sum(apart))) / 5
    assert data_to_data(features, proxies, y, t, m).item() == pytest.approx(expected)


def test_a_batch_of_one_class_has_no_contrast_and_no_nan():
    features, proxies, y = drawn(3, 6), drawn(3, 6, seed=1), torch.zeros(3, dtype=torch.long)
    assert conditional_contrast(features, proxies, y, 1.0).item() == pytest.approx(0)
    assert data_to_data(features, proxies, y, 0.5, 0.98).item() == pytest.approx(0)


def test_each_classifier_says_as_much_as_its_paper_needs():
    widths = {name: build(name).discriminator.auxiliary.out_features for name in CHOICES}
    assert widths == {"ac": 3, "tac": 6, "adc": 6, "multi-hinge": 4, "contra": EMBEDDED, "d2d-ce": EMBEDDED}


def test_the_twin_alone_learns_from_fakes_and_the_generator_avoids_what_it_knows():
    gan = build("tac")
    said, y = drawn(4, 6), torch.tensor([0, 1, 2, 0])
    head, cross = gan.discriminator.auxiliary, nn.functional.cross_entropy
    assert head.of_real(said, y) == cross(said[:, :3], y)
    assert head.of_fake(said, y) == cross(said[:, 3:], y)
    assert head.of_generator(said, y) == cross(said[:, :3], y) - cross(said[:, 3:], y)


def test_the_discriminative_classifier_has_classes_of_fakes_too():
    gan = build("adc")
    said, y = drawn(4, 6), torch.tensor([0, 1, 2, 0])
    head, right = gan.discriminator.auxiliary, said.log_softmax(1)
    assert head.of_real(said, y).item() == pytest.approx(-right[torch.arange(4), y].mean().item())
    assert head.of_fake(said, y).item() == pytest.approx(-right[torch.arange(4), y + 3].mean().item())
    ratio = right[torch.arange(4), y + 3] - right[torch.arange(4), y]
    assert head.of_generator(said, y).item() == pytest.approx(ratio.mean().item())


def test_the_multi_hinge_has_one_class_for_all_fakes():
    head, said, y = build("multi-hinge").discriminator.auxiliary, drawn(4, 4), torch.tensor([0, 1, 2, 0])
    assert head.of_fake(said, y) == crammer_singer(said, torch.full((4,), 3))
    assert head.of_generator(said, y) == crammer_singer(said, y)


@pytest.mark.parametrize(("name", "loss"), [("contra", conditional_contrast), ("d2d-ce", data_to_data)])
def test_features_are_compared_with_the_proxy_of_their_class(name, loss):
    head, said, y = build(name).discriminator.auxiliary, drawn(4, EMBEDDED).float(), torch.tensor([0, 1, 2, 0])
    assert isinstance(head, Contrastive)
    numbers = (head.temperature, head.margin) if isinstance(head, DataToData) else (head.temperature,)
    assert head.of_real(said, y) == loss(said, head.proxies.weight[y], y, *numbers)


@pytest.mark.parametrize("name", CHOICES)
def test_every_classifier_teaches_both_players(name):
    gan = build(name)
    real, fake = batches(gan)
    head = gan.discriminator.auxiliary
    gan.discriminator_loss(real, fake._replace(x=fake.x.detach()))["class of real"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())
    gan.generator_loss(real, fake)["class"].backward()
    assert all(p.grad is not None for p in gan.generator.parameters())


@pytest.mark.parametrize("name", ["adc", "contra", "d2d-ce", "multi-hinge", "tac"])
def test_a_model_with_another_classifier_keeps_all_rules_of_the_contract(name):
    check_gan(ACGAN, DATA, {"width": 2, "batch_size": 4, "latent_dim": 4, "classifier": name})


def test_unless_said_classes_are_told_apart_from_fakes_of_them_and_attributes_named():
    heads = [ACGAN(data, ACGAN.Options(width=2)).discriminator.auxiliary for data in (DATA, TILTED)]
    heads.append(ACGAN(DATA, ACGAN.Options(width=2, classify_fakes=0.5)).discriminator.auxiliary)
    assert [isinstance(head, Discriminative) for head in heads] == [True, False, False]
    assert [isinstance(head, Auxiliary) for head in heads] == [False, True, True]


def test_a_run_of_before_the_choice_learns_names_as_it_did():
    assert as_recorded(ACGAN.Options, {})["classifier"] == "ac"


def test_the_papers_classifier_learns_names_from_real_images_alone_unless_asked():
    for classify_fakes, terms in ((0.0, ["adversarial", "class of real"]), (0.5, [..., ..., "class of fake"])):
        gan = build(classify_fakes=classify_fakes)
        found = gan.discriminator_loss(*batches(gan))
        assert len(found) == len(terms)
        assert list(found)[-1] == terms[-1]


def test_the_papers_preset_classifies_fakes_in_both_turns():
    options = resolve(ACGAN, {}, "paper").options
    assert (options.norm, options.loss) == ("batch", "non-saturating")
    assert (options.classifier, options.classify_fakes) == ("ac", 1.0)
    assert (options.lr, options.b1, options.b2, options.lr_hold) == (2e-4, 0.5, 0.999, 1.0)


def test_a_classifier_of_classes_refuses_attributes_in_a_line():
    assert isinstance(build("ac", TILTED).discriminator.auxiliary, Auxiliary)
    with pytest.raises(UsageError, match="--classifier tac names classes, and data set 'made-up' has attributes"):
        build("tac", TILTED)
