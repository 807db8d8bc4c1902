"""DiffAugment in closed forms: what each change moves, and what it keeps."""

import pytest
import torch
from ganzoo_plugins.diffaugment import DiffAugment, cut, recoloured, translated
from torch import Tensor, nn

from ganzoo.data import DataSpec
from ganzoo.errors import UsageError
from ganzoo.training.tape import on_tape


def augmentation(shape: tuple[int, ...] = (3, 8, 8), **options) -> DiffAugment:
    return DiffAugment(DataSpec("pictures", shape, 100), DiffAugment.Options(**options))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


# Translation


@pytest.mark.parametrize(
    ("height", "width", "most"), [(32, 32, (4, 4)), (8, 20, (1, 3)), (28, 9, (4, 1)), (3, 3, (0, 0))]
)
def test_translation_moves_pixels_by_at_most_an_eighth_and_lets_zeros_in(height, width, most):
    x = torch.rand(300, 2, height, width) + 1
    seen = set()
    for before, after in zip(x, translated(x), strict=True):
        # The first pixel that is left says where the image went.
        down, right = (
            int(after[0].any(1 - axis).nonzero()[0]) or int(after[0].any(1 - axis).nonzero()[-1]) + 1 - size
            for axis, size in enumerate((height, width))
        )
        rows, columns = (slice(max(shift, 0), size + min(shift, 0)) for shift, size in ((down, height), (right, width)))
        expected = torch.zeros_like(before)
        expected[:, rows, columns] = before[
            :, max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)
        ]
        assert torch.equal(after, expected)
        seen.add((down, right))
    everywhere = {(down, right) for down in range(-most[0], most[0] + 1) for right in range(-most[1], most[1] + 1)}
    assert seen <= everywhere
    assert {down for down, _ in seen} == {down for down, _ in everywhere}
    assert {right for _, right in seen} == {right for _, right in everywhere}


# Cutout


@pytest.mark.parametrize(("side", "hole"), [(8, 4), (9, 5), (6, 3), (2, 1), (1, 1)])
def test_cutout_zeroes_a_square_of_half_the_side_around_any_place(side: int, hole: int):
    x = torch.ones(500, 2, side, side)
    after = cut(x)
    assert set(after.unique().tolist()) <= {0, 1}
    extents, whole = set(), 0
    for image in after:
        zero = image[0] == 0
        assert torch.equal(zero, image[1] == 0)
        rows, columns = zero.any(1), zero.any(0)
        assert torch.equal(zero, rows[:, None] & columns)
        for line in (rows, columns):
            places = line.nonzero().flatten().tolist()
            assert places == list(range(places[0], places[-1] + 1))  # In one piece,
            assert len(places) == hole or 0 in places or side - 1 in places  # and shorter at an edge alone.
            extents.add((places[0], len(places)))
        whole += int(zero.sum()) == hole**2
    firsts = range(-(hole // 2), side - hole % 2 - hole // 2 + 1)
    assert extents == {(max(first, 0), min(first + hole, side) - max(first, 0)) for first in firsts}
    assert whole


def test_cutout_leaves_the_rest_alone():
    x = torch.rand(50, 3, 8, 12) + 1
    after = cut(x)
    assert torch.equal(after[after != 0], x[after != 0])
    assert ((after == 0).sum((1, 2, 3)) <= 3 * 4 * 6).all()


# Colour


def test_colours_are_shifted_and_scaled_about_their_means():
    x = torch.rand(2000, 3, 4, 4, dtype=torch.float64)
    after = recoloured(x)
    added = (after - x).mean((1, 2, 3))
    grey, changed_grey = (i.mean(1, keepdim=True) for i in (x, after))
    contrast = _ratio(changed_grey - changed_grey.mean((2, 3), keepdim=True), grey - grey.mean((2, 3), keepdim=True))
    both = _ratio(after - changed_grey, x - grey)
    for values, low, high in ((added, -0.5, 0.5), (contrast, 0.5, 1.5), (both / contrast, 0.0, 2.0)):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.03)


def _ratio(changed: Tensor, before: Tensor) -> Tensor:
    """By what one number all of an image has been multiplied."""
    ratios = (changed / before).flatten(1)
    torch.testing.assert_close(ratios, ratios[:, :1].expand_as(ratios))
    return ratios[:, 0]


def test_a_grey_image_in_three_channels_stays_grey_and_is_changed_as_one_channel_is():
    x = torch.rand(5, 1, 4, 4, dtype=torch.float64).expand(5, 3, 4, 4)
    after = recoloured(x)
    torch.testing.assert_close(after, after[:, :1].expand_as(after))
    assert recoloured(x[:, :1]).shape == (5, 1, 4, 4)


# All of them


def test_an_option_leaves_a_change_out():
    x = torch.rand(20, 3, 16, 16) + 1
    torch.manual_seed(1)
    only = augmentation(color=False, cutout=False)(x)
    torch.manual_seed(1)
    assert torch.equal(only, translated(x))
    torch.manual_seed(1)
    every = augmentation()(x)
    torch.manual_seed(1)
    assert torch.equal(every, cut(translated(recoloured(x))))


def test_each_image_is_changed_by_itself_and_as_the_seed_has_it():
    x = torch.rand(1, 3, 16, 16).expand(30, 3, 16, 16)
    for change in (recoloured, translated, cut):
        torch.manual_seed(4)
        after = change(x)
        assert len(after.flatten(1).unique(dim=0)) > 15
        torch.manual_seed(4)
        assert torch.equal(change(x), after)


def test_gradients_are_those_of_finite_differences_also_of_gradients():
    made = augmentation((3, 9, 8))

    def change(x: Tensor) -> Tensor:
        torch.manual_seed(7)
        return made(x)

    x = torch.rand(2, 3, 9, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(change, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: change(x).tanh(), x, fast_mode=True)


def test_r1_through_it_moves_the_discriminator():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(1))
    x = torch.rand(2, 3, 8, 8, requires_grad=True)
    (slope,) = torch.autograd.grad(network(augmentation()(x)).sum(), x, create_graph=True)
    (gradient,) = torch.autograd.grad(slope.square().sum(), network[0].weight)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


def test_a_recorded_step_is_a_plain_one_and_draws_anew():
    x, shown, slope = torch.rand(3, 3, 8, 8, requires_grad=True), torch.zeros(3, 3, 8, 8), torch.zeros(3, 3, 8, 8)
    made = augmentation()

    def take():
        changed = made(x)
        shown.copy_(changed.detach())
        slope.copy_(torch.autograd.grad(changed.square().sum(), x)[0])

    play = on_tape(take)
    torch.manual_seed(3)
    play()
    first = shown.clone(), slope.clone()
    play()
    assert not torch.equal(shown, first[0])
    torch.manual_seed(3)
    take()
    assert torch.equal(shown, first[0])
    assert torch.equal(slope, first[1])


def test_vectors_are_refused_and_so_is_nothing_to_do():
    with pytest.raises(UsageError) as error:
        augmentation((5,))
    assert str(error.value) == (
        "augmentation 'diffaugment' changes images, and data set 'pictures' has vectors: "
        "leave out --augment diffaugment"
    )
    with pytest.raises(UsageError, match="has nothing left to do: allow color, translation or cutout"):
        augmentation(color=False, translation=False, cutout=False)
