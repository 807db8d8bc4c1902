"""ADA against the published program's pictures, the paper's matrices, and what a step of training asks of it."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ganzoo_plugins.ada import ADA, STRETCH, SYM6, Draws, of_those_that_move, read, spread
from torch import Tensor, nn

from conftest import arrays
from ganzoo.data import DataSpec
from ganzoo.errors import UsageError
from ganzoo.training.tape import on_tape

PUBLISHED = arrays(Path(__file__).parent / "data" / "ada_32px.npz")
NO_CHANGES = ("target", "speed", "interval", "p", "ramp", "cutout")
CHANGES = [name for name in ADA.Options.model_fields if name not in NO_CHANGES]
COLOURS = ["brightness", "contrast", "lumaflip", "hue", "saturation"]


def ada(*changes: str, shape: tuple[int, ...] = (3, 8, 8), draws: object = None, **options) -> ADA:
    """An augmentation that makes these changes and no others; all of them, if none is named."""
    chosen = {name: float(name in changes or not changes) for name in CHANGES}
    made = ADA(DataSpec("pictures", shape, 100), ADA.Options(**chosen, **options))
    made.draws = draws or made.draws
    return made


class Script:
    """Draws what it is told, in order: a number for each change, and then that it happens."""

    def __init__(self, *values: float):
        self.values = list(values)
        self.happens = False

    def uniform(self, x: Tensor, columns: int = 1) -> Tensor:
        self.happens = not self.happens
        return x.new_full((len(x), columns), self.values.pop(0) if self.happens else 0.0)

    normal = uniform


class Quantile(Script):
    """The published program's: the first number is at q; what is drawn afterwards, in the middle."""

    def __init__(self, q: float):
        super().__init__(q, 0.5)

    def normal(self, x: Tensor, columns: int = 1) -> Tensor:
        return torch.erfinv(2 * self.uniform(x, columns) - 1)


@pytest.mark.parametrize("case", [name for name in PUBLISHED if name != "x"])
def test_a_change_is_that_of_the_published_program(case: str):
    name, q = case.split("@")
    changed = ada(name, shape=(3, 32, 32), p=1, draws=Quantile(float(q)))(torch.from_numpy(PUBLISHED["x"]))
    torch.testing.assert_close(changed, torch.from_numpy(PUBLISHED[case]), rtol=0, atol=1e-5)


def test_every_change_is_held_against_the_published_program():
    assert {case.split("@")[0] for case in PUBLISHED} - {"x"} == set(CHANGES)


def test_the_filter_is_that_of_an_orthogonal_wavelet_with_six_vanishing_moments():
    h = np.array(SYM6)
    for shift in range(0, len(h), 2):
        assert h[shift:] @ h[: len(h) - shift] == pytest.approx(float(shift == 0), abs=1e-10)
    details = h * (-1.0) ** np.arange(len(h))
    for power in range(6):
        assert details @ np.arange(len(h)) ** power == pytest.approx(0, abs=2e-5)


# The geometry


def rotation(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])


def translation(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def test_an_image_is_moved_by_the_inverse_of_all_changes_in_the_papers_order():
    seen = []
    made = ada(shape=(3, 8, 16), p=1, draws=Script(0.6, 0.3, 0.9, 0.7, 0.4, -0.8, 0.85, 0.5))
    made.resampled = lambda x, linear, offset: seen.append((linear, offset)) or x
    made.moved(torch.zeros(2, 3, 8, 16, dtype=torch.float64))
    (linear, offset), size, aspect = seen[0], 2 ** (0.7 * 0.2), 2 ** (-0.8 * STRETCH)
    forwards = [  # As appendix B has them, first to last.
        np.diag([-1.0, 1, 1]),  # 0.6: one of two.
        rotation(-math.pi / 2),  # 0.3: the second of four.
        translation(round(0.8 * 0.125 * 16), round(0.8 * 0.125 * 8)),
        np.diag([size, size, 1]),
        rotation(0.2 * math.pi),
        np.diag([aspect, 1 / aspect, 1]),
        rotation(-0.7 * math.pi),
        translation(0.5 * 0.125 * 16, 0.5 * 0.125 * 8),
    ]
    backwards = np.eye(3)
    for change in forwards:
        backwards = backwards @ np.linalg.inv(change)
    for i in range(2):
        np.testing.assert_allclose(linear[i], backwards[:2, :2], atol=1e-12)
        np.testing.assert_allclose(offset[i], backwards[:2, 2], atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 9, 14), (3, 2, 3), (1, 1, 1)])
def test_where_nothing_happens_an_image_stays_as_it_is(shape: tuple[int, ...]):
    x = torch.rand(2, *shape) * 2 - 1
    torch.testing.assert_close(ada(shape=shape, p=0)(x), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shift", [-30, -3, 0, 5, 40])
def test_beyond_its_edges_an_image_is_reflected_without_end(shift: int):
    x = torch.rand(1, 1, 4, 6, dtype=torch.float64)
    made = ada(shape=(1, 4, 6)).double()
    still = torch.eye(2, dtype=torch.float64)[None]
    moved = made.resampled(x, still, torch.tensor([[shift, 0.0]], dtype=torch.float64))
    mirrored = torch.cat([x, x[..., 1:-1].flip(3)], 3)
    torch.testing.assert_close(moved, mirrored.roll(-shift, 3)[..., :6], rtol=0, atol=1e-6)


def test_a_batch_that_is_moved_in_pieces_is_moved_as_a_whole(monkeypatch):
    made, x = steady(ada(p=1)), torch.rand(7, 3, 8, 8)
    whole = made(x)
    monkeypatch.setattr("ganzoo_plugins.ada.PIECE", 2 * 3 * 29**2)
    torch.testing.assert_close(made(x), whole, rtol=0, atol=1e-5)


def test_a_quarter_of_a_rotation_turns_a_smooth_image_anticlockwise():
    x = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    smooth = F.avg_pool2d(F.pad(x, [4] * 4, mode="reflect"), 9, stride=1)  # The filter is not quite symmetric.
    turned = ada("rotate90", shape=(1, 16, 16), p=1, draws=Script(0.3)).double()(smooth)
    torch.testing.assert_close(turned, smooth.rot90(1, (2, 3)), rtol=0, atol=0.01)


def test_a_rotation_happens_before_or_after_the_stretch_with_probability_p():
    torch.manual_seed(0)
    seen = []
    made = ada("rotate", p=0.36)
    made.resampled = lambda x, linear, offset: seen.append(linear) or x
    made.moved(torch.zeros(4000, 3, 8, 8))
    turned = (torch.cat(seen) - torch.eye(2)).abs().amax((1, 2)) > 0
    assert turned.float().mean() == pytest.approx(0.36, abs=0.03)


# Colours


def test_colours_are_changed_by_the_product_of_the_papers_matrices():
    numbers = {"brightness": 0.7, "contrast": -1.2, "lumaflip": 0.6, "hue": 0.8, "saturation": 0.9}
    x = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    made = ada(*COLOURS, shape=(3, 4, 4), p=1, draws=Script(*numbers.values()))
    axis, angle = np.ones(3) / math.sqrt(3), 0.6 * math.pi
    luma, cross = np.outer(axis, axis), np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    change = np.eye(4)
    for matrix in (
        np.eye(3) * 2 ** (-1.2 * 0.5),
        np.eye(3) - 2 * luma,
        luma + math.cos(angle) * (np.eye(3) - luma) + math.sin(angle) * cross,  # Rodrigues' formula.
        luma + 2**0.9 * (np.eye(3) - luma),
    ):
        change[:3, :3] = matrix @ change[:3, :3]
    change[:3, 3] = change[:3, :3] @ np.full(3, 0.7 * 0.2)
    expected = np.einsum("ij,njhw->nihw", change[:3, :3], x.numpy()) + change[:3, 3][:, None, None]
    np.testing.assert_allclose(made(x), expected, atol=1e-12)


def test_grey_images_have_no_hue_and_no_saturation():
    x = torch.rand(2, 1, 4, 4)
    assert torch.equal(ada("hue", "saturation", shape=(1, 4, 4), p=1)(x), x)
    changed = ada(*COLOURS, shape=(1, 4, 4), p=1, draws=Script(0.7, -1.2, 0.6))(x)
    torch.testing.assert_close(changed, (x + 0.14) * -(2**-0.6))


def test_each_image_is_changed_by_itself_as_often_as_p_says_and_as_the_seed_has_it():
    x = torch.full((2000, 1, 1, 1), 0.5)
    made = ada("lumaflip", shape=(1, 1, 1), p=0.5)
    torch.manual_seed(1)
    changed = made(x)
    assert (changed < 0).float().mean() == pytest.approx(0.25, abs=0.03)  # Half of those are as they were.
    torch.manual_seed(1)
    assert torch.equal(made(x), changed)
    made.p.fill_(0)
    assert torch.equal(made(x), x)


@pytest.mark.parametrize(("q", "rows"), [(0.5, range(2, 6)), (0.0, range(2)), (0.9, range(5, 8))])
def test_a_rectangle_of_half_the_sides_is_cut_out(q: float, rows: range):
    x = torch.rand(2, 3, 8, 8) + 1
    changed = ADA(DataSpec("pictures", (3, 8, 8), 100), ADA.Options(**dict.fromkeys(CHANGES, 0.0), p=1, cutout=1))
    changed.draws = Script(q)
    expected = x.clone()
    expected[:, :, rows.start : rows.stop, rows.start : rows.stop] = 0
    assert torch.equal(changed(x), expected)
    changed.p.fill_(0)
    changed.draws = Script(q)
    assert torch.equal(changed(x), x)


# Derivatives


def steady(made: ADA):
    """The same draws each time."""

    def change(x: Tensor) -> Tensor:
        torch.manual_seed(7)
        return made(x)

    return change


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_are_those_of_finite_differences_also_of_gradients(channels: int):
    change = steady(ada(shape=(channels, 5, 4), p=1).double())
    x = torch.rand(2, channels, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(change, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: change(x).tanh(), x, fast_mode=True)


def test_r1_through_it_moves_the_discriminator_as_finite_differences_say():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 4 * 4, 1)).double()
    change = steady(ada(shape=(3, 6, 6), p=1).double())
    x = torch.rand(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)

    def penalty() -> Tensor:
        (slope,) = torch.autograd.grad(network(change(x)).sum(), x, create_graph=True)
        return slope.square().sum()

    weight = network[0].weight
    (gradient,) = torch.autograd.grad(penalty(), weight)
    assert gradient.abs().max() > 0.01
    for place in ((0, 0, 0, 0), (3, 2, 1, 2)):
        with torch.no_grad():
            values = []
            for step in (1e-5, -2e-5):
                weight[place] += step
                with torch.enable_grad():
                    values.append(penalty().item())
            weight[place] += 1e-5
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(gradient[place].item(), rel=1e-5)


def moves(made: ADA, still: int) -> tuple[Tensor, list[Tensor]]:
    """Maps of five images, the first `still` of which stay, and the filters that go with them."""
    maps = torch.eye(2, 3).repeat(5, 1, 1)
    maps[still:] += torch.randn(5 - still, 2, 3) * 0.3
    return maps, [made.up_y, made.up_x, made.down_y, made.down_x]


def test_on_a_cpu_only_the_images_that_move_are_computed_and_all_are_as_if_they_were():
    made, x, seen = ada(shape=(3, 6, 9)), torch.rand(5, 3, 6, 9), []
    for work in (read, spread):
        for still in (0, 2, 5):
            maps, filters = moves(made, still)

            def watched(x, maps, filters, work=work):
                seen.append(len(x))
                return work(x, maps, filters)

            some = of_those_that_move(watched, x, maps, filters)
            torch.testing.assert_close(some, work(x, maps, filters), rtol=0, atol=1e-5)
            assert torch.equal(some[:still], x[:still])
    assert seen == [5, 3] * 2


def test_spreading_is_the_transpose_of_reading():
    made = ada(shape=(1, 2, 3))
    maps, filters = moves(made, 1)
    pixels = torch.eye(6).view(6, 1, 1, 2, 3)
    there, back = (
        torch.stack([work(p.expand(5, -1, -1, -1), maps, filters).flatten(1) for p in pixels], 1)
        for work in (read, spread)
    )
    torch.testing.assert_close(there, back.transpose(1, 2), rtol=0, atol=1e-5)


# In training


def test_a_recorded_step_is_a_plain_one_and_draws_anew():
    x, shown, slope = torch.rand(3, 3, 8, 8, requires_grad=True), torch.zeros(3, 3, 8, 8), torch.zeros(3, 3, 8, 8)
    made = ada(p=0.7)

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


def test_reduced_precision_of_the_networks_is_not_that_of_the_images():
    x, made = torch.rand(2, 3, 8, 8), steady(ada(p=1))
    with torch.autocast("cpu", torch.bfloat16):
        changed = made(x)
    assert torch.equal(changed, made(x))
    assert made(x.bfloat16()).dtype == torch.float32


def test_a_penalty_inside_reduced_precision_has_the_gradients_of_whole_numbers():
    made, slopes = steady(ada("xflip", "rotate", "scale", "xfrac", p=1)), []
    for lowered in (False, True):
        x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=lowered):
            (slope,) = torch.autograd.grad(made(x).square().sum(), x, create_graph=True)
            (twice,) = torch.autograd.grad(slope.square().sum(), x)
        slopes.append((slope.detach(), twice))
    for plain, lowered in zip(*slopes, strict=True):
        torch.testing.assert_close(lowered, plain, rtol=1e-5, atol=1e-5)


def follow(made: ADA, signs: list[float]) -> list[float]:
    """p after each step, where D says this of its real images."""
    after = []
    for sign in signs:
        made.after_discriminator_step(torch.tensor([[sign], [sign], [sign], [-1.0]]))
        after.append(made.p.item())
    return after


def test_p_moves_by_the_images_of_an_interval_towards_the_target():
    made = ada(target=0.4, speed=1.0, interval=2)
    made.batch_size = 50
    # Three of four say 1: 0.5 > 0.4. It moves once the interval's sums are known, and 100 images are a tenth of 1,000.
    assert follow(made, [5.0] * 5) == pytest.approx([0, 0, 0.1, 0.1, 0.2])
    assert made.watched()["r_t"].item() == 0.5
    assert made.watched()["p"].item() == pytest.approx(0.2)
    # Of the next interval one step is gathered.
    assert follow(made, [-1.0] * 8)[-1] == 0
    assert made.watched()["r_t"].item() == -1


def test_what_moves_p_is_told_to_be_idle_where_p_is_fixed(capsys):
    ada(p=0.25, target=0.3, speed=100)
    assert "augmentation 'ada': target and speed not used, for p is fixed at 0.25" in capsys.readouterr().err
    ada(target=0.3)
    assert capsys.readouterr().err == ""


def test_a_fixed_p_stays_and_the_signs_are_watched():
    made = ada(p=0.3, interval=1)
    made.batch_size = 10_000
    assert follow(made, [1.0, 1.0]) == pytest.approx([0.3, 0.3])
    assert made.watched()["r_t"].item() == 0.5


def test_p_is_reached_along_half_a_cosine_where_it_has_a_ramp():
    made = ada(p=0.6, ramp=1.0)
    made.batch_size = 250
    assert made.p == 0
    quarters = [0.6 * (1 - math.cos(math.pi * share)) / 2 for share in (0.25, 0.5, 0.75, 1.0, 1.0)]
    assert follow(made, [9.0] * 5) == pytest.approx(quarters)
    assert "steps" in made.state_dict()
    with pytest.raises(UsageError, match=r"give ada:p=0.5,ramp"):
        ada(ramp=1.0)


def test_what_was_watched_stays_what_it_was():
    made = ada(speed=1.0, interval=1)
    made.batch_size = 100
    before = made.watched()["p"]
    follow(made, [1.0] * 3)
    assert before.item() == 0


def test_p_and_what_it_follows_are_saved():
    made, other = ada(speed=1.0, interval=2), ada(speed=1.0, interval=2)
    made.batch_size = other.batch_size = 100
    follow(made, [9.0] * 4)
    assert set(made.state_dict()) == {"p", "r_t", "signs", "gathered"}
    other.load_state_dict(copy.deepcopy(made.state_dict()))
    assert follow(made, [9.0, -1.0, -1.0]) == follow(other, [9.0, -1.0, -1.0])


def test_processes_that_average_their_float_buffers_move_p_as_one_does():
    torch.manual_seed(0)
    logits = torch.randn(20, 8, 1) + 0.5
    alone, parts = ada(target=0.3, speed=1.0, interval=3), [ada(target=0.3, speed=1.0, interval=3) for _ in range(2)]
    for made in (alone, *parts):
        made.batch_size = 8
    moves = set()
    for batch in logits:
        alone.after_discriminator_step(batch)
        for part, half in zip(parts, batch.chunk(2), strict=True):
            part.after_discriminator_step(half)
        assert parts[0].p.item() == parts[1].p.item() == alone.p.item()
        for mine, yours in zip(parts[0].buffers(), parts[1].buffers(), strict=True):
            if mine.is_floating_point():
                mine.add_(yours).div_(2)
                yours.copy_(mine)
        moves.add(alone.p.item())
    assert len(moves) > 3


def test_a_recorded_move_of_p_is_a_plain_one():
    logits = torch.zeros(4, 1)
    recorded, plain = (ada(speed=1.0, interval=2) for _ in range(2))
    recorded.batch_size = plain.batch_size = 100
    with torch.no_grad():
        play = on_tape(lambda: recorded.after_discriminator_step(logits))
    for _ in range(3):  # Those that a tape needs.
        plain.after_discriminator_step(logits)
    moves = []
    for value in (1.0, 1.0, 1.0, -1.0, 1.0, 1.0):
        logits.fill_(value)
        play()
        plain.after_discriminator_step(logits)
        assert recorded.p.item() == plain.p.item()
        moves.append(plain.p.item())
    assert moves == pytest.approx([0, 0, 0, 0.2, 0.2, 0])


# What it refuses


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5,), "augmentation 'ada' changes images, and data set 'pictures' has vectors: leave out --augment ada"),
        (
            (4, 8, 8),
            "augmentation 'ada' takes images of 1 or 3 channels, and data set 'pictures' has 4: "
            "choose --augment diffaugment",
        ),
    ],
)
def test_what_is_no_grey_or_rgb_image_is_refused(shape: tuple[int, ...], message: str):
    with pytest.raises(UsageError) as error:
        ada(shape=shape)
    assert str(error.value) == message


def test_numbers_are_drawn_for_each_image_from_torchs_generator():
    x = torch.zeros(5, 3, 2, 2)
    torch.manual_seed(2)
    drawn = Draws().uniform(x, 2), Draws().normal(x)
    torch.manual_seed(2)
    assert torch.equal(drawn[0], torch.rand(5, 2))
    assert torch.equal(drawn[1], torch.randn(5, 1))
