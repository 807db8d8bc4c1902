"""Pictures of points: what the discriminator says of the plane and where the generator's loss pulls, in closed form."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import ganzoo as zoo
from ganzoo.data import Attribute, Batch, DataSpec
from ganzoo.runs.fields import ARROWS, field_of
from ganzoo.runs.pictures import MESH, Field, Frame, _arrows, frame_of, scatter

FRAME = Frame([-1.0, 0.0], [1.0, 2.0])


class Spread(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z, y):
        return self.scale * z


class Slope(nn.Module):
    """x, y to x + 2 y, and ten for each number of the class."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0]))

    def forward(self, x, y):
        logits = (x * self.weight).sum(1, keepdim=True)
        return logits if y is None else logits + 10 * (y.float() if y.dim() == 1 else y[:, 0]).unsqueeze(1)


class Plane(zoo.GAN):
    name, paper = "plane", "nobody"

    @classmethod
    def uses_labels(cls, data, options):
        return data.conditional

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator, self.discriminator = Spread(), Slope()

    def generator_loss(self, real, fake):
        return {"a": -self.discriminate(fake).mean(), "b": 0.5 * fake.x.square().sum(1).mean()}

    def score(self, logits):
        return logits


def plane(classes=(), attributes=(), model=Plane):
    return model(DataSpec("points", (2,), 100, classes, attributes), zoo.Options(latent_dim=2))


def test_places_fill_the_frame_row_by_row_from_below():
    mesh = FRAME.mesh()
    assert mesh.shape == (MESH**2, 2)
    assert mesh[0].tolist() == [-1, 0]
    assert mesh[MESH - 1].tolist() == [1, 0]
    assert mesh[-1].tolist() == [1, 2]
    assert torch.allclose(mesh[1] - mesh[0], torch.tensor([2 / (MESH - 1), 0.0]))


def test_the_field_is_the_score_of_each_place_and_the_gradient_of_the_generators_loss():
    gan = plane()
    field = field_of(gan, Batch(torch.rand(200, 2)), FRAME)
    assert torch.allclose(field.surface, FRAME.mesh() @ torch.tensor([1.0, 2.0]), atol=1e-6)
    assert field.at.shape == (ARROWS, 2)
    assert torch.allclose(field.pull * ARROWS, torch.tensor([1.0, 2.0]) - field.at, atol=1e-5)


def test_of_classes_the_highest_score_is_shown_and_vectors_are_drawn():
    mesh = FRAME.mesh() @ torch.tensor([1.0, 2.0])
    labels = torch.zeros(80, dtype=torch.int64)
    field = field_of(plane(("a", "b", "c")), Batch(torch.rand(80, 2), labels), FRAME)
    assert torch.allclose(field.surface, mesh + 20, atol=1e-4)
    attributes = (Attribute("tilt", 0.5, 0.5),)
    field = field_of(plane((), attributes), Batch(torch.rand(80, 2), torch.full((80, 1), 0.5)), FRAME)
    assert torch.allclose(field.surface, mesh + 5, atol=1e-4)


def test_a_model_that_states_no_generator_loss_has_no_arrows():
    class Silent(Plane):
        generator_loss = zoo.GAN.generator_loss

    assert field_of(plane(model=Silent), Batch(torch.rand(9, 2)), FRAME).pull is None


def test_a_field_leaves_the_model_as_it_was():
    gan = plane().train()
    gan.watch("D(x)", torch.tensor([3.0]))
    before, state = torch.get_rng_state(), {k: v.clone() for k, v in gan.state_dict().items()}
    field_of(gan, Batch(torch.rand(9, 2, generator=torch.Generator())), FRAME)
    assert torch.equal(torch.get_rng_state(), before)
    assert gan.training
    assert all(p.grad is None for p in gan.parameters())
    assert all(torch.equal(state[k], v) for k, v in gan.state_dict().items())
    assert gan.watched() == {"D(x)": 3.0}
    assert gan.real_logits() is None


def test_arrows_keep_their_direction_and_none_is_too_long():
    pull = torch.tensor([[1e-3, 0], [0, 2e-3], [-3e-3, 0], [0.0, -1.0], [0, 0]])
    shown = _arrows(pull, 2.0)
    expected = torch.tensor([[0.05, 0], [0, 0.1], [-0.15, 0], [0.0, -0.3], [0, 0]])
    assert torch.allclose(shown, expected, atol=1e-6)
    assert _arrows(torch.zeros(3, 2), 2.0).abs().max() == 0


def test_shading_and_arrows_are_in_the_picture():
    points = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    frame = frame_of(points)
    assert frame == Frame([-1.5, -1.5], [1.5, 1.5])
    bare = scatter({"data": points})
    assert (scatter({"data": points}, frame) == bare).all()
    surface = (frame.mesh()[:, 0] > 0).float()
    shaded = scatter({"data": points}, frame, Field(surface, points[:0], None)).astype(int)
    left, right = shaded[380, 100], shaded[380, 400]
    assert (left == 255).all()
    assert (right < 200).all()
    arrows = scatter({"data": points}, frame, Field(surface, torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))).astype(int)
    red = (arrows[..., 0] - arrows[..., 1] > 80) & (arrows[..., 0] - arrows[..., 2] > 80)
    assert red.sum() > 20


def test_training_does_not_notice_pictures_of_points(ganzoo):
    run = ("run", "gan", "--dataset", "ring", "--steps", 6, "--batch-size", 16, "--loggers", "none", "--quiet")
    for name, every in (("often", 2), ("once", 6)):
        assert ganzoo(*run, "--sample-interval", every, "--out", name).code == 0
    assert Path("often/generator.safetensors").read_bytes() == Path("once/generator.safetensors").read_bytes()
    logs = [json.loads(Path(name, "metrics.jsonl").read_text().splitlines()[-1]) for name in ("often", "once")]
    kept = [{k: v for k, v in log.items() if k.startswith("D(") or k.endswith("loss")} for log in logs]
    assert kept[0] == kept[1]
    assert kept[0]
    pictures = [np.asarray(Image.open(f"{name}/samples/00000006.png")) for name in ("often", "once")]
    assert (pictures[0] == pictures[1]).all()
    assert pictures[0].shape == (450, 450, 3)


@pytest.mark.parametrize("model", ["wgan", "wgan-gp", "lsgan"])
def test_models_of_convolutions_have_fully_connected_networks_for_points(ganzoo, model):
    run = ("run", model, "--dataset", "ring", "--steps", 2, "--batch-size", 16, "--loggers", "none", "--quiet")
    done = ganzoo(*run, "--out", "conv")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "networks are convolutional, and data set 'ring' holds vectors: choose --network mlp" in done.err
    assert ganzoo(*run, "--network", "mlp", "--out", "r").code == 0
    done = ganzoo("sample", "r", "--out", "points.png")
    assert done.code == 0, done.err
    assert np.asarray(Image.open("points.png")).shape == (450, 450, 3)
