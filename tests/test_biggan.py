"""BigGAN: equal to the published program in numbers, its options of drawing, and its state dicts imported."""

import json
import os
import zipfile
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from ganzoo_plugins.biggan import BigGAN, Norm, from_published, orthogonality, standing_generator, truncated
from torch import Tensor, nn

from ganzoo.data import Attribute, Batch, DataSpec
from ganzoo.errors import UsageError
from ganzoo.gan import Network
from ganzoo.optim import Adam
from ganzoo.report.read import read_run
from ganzoo.residual import Embedding
from ganzoo.runs import weights
from ganzoo.runs.imports import NETWORKS
from ganzoo.runs.sampler import load
from ganzoo.sampling import drawing
from ganzoo.settings import resolve
from ganzoo.testing import check_gan
from ganzoo.training.engine import seed_everything

CLASSES = tuple("abc")
TINY = {"batch_size": 8, "latent_dim": 6, "width": 2, "shared": 3}
PLAIN = {"shared": 0, "hierarchical": False}
"""Without the shared embedding and without parts of z, as the program's CIFAR-10 recipe is."""


def build(shape=(3, 8, 8), classes=CLASSES, **options) -> BigGAN:
    seed_everything(0)
    return BigGAN(DataSpec("made-up", shape, 24, classes), BigGAN.Options(**TINY | options)).train()


def batch(gan: BigGAN, n: int = 8) -> Batch:
    return Batch(torch.rand(n, *gan.data.shape) * 2 - 1, gan.sample_labels(n))


# Equal to the published program


@cache
def published(side: int) -> dict[str, Tensor]:
    with np.load(Path(__file__).parent / "data" / f"biggan_{side}px.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file}


def state(side: int, prefix: str) -> dict[str, Tensor]:
    """G's or D's state dict, as the program saves it."""
    return {name.removeprefix(prefix): v for name, v in published(side).items() if name.startswith(prefix)}


def theirs(side: int) -> BigGAN:
    """Our networks with the weights of theirs."""
    if side == 32:
        gan = build((3, 32, 32), tuple("abcd"), width=8, latent_dim=32, shared=16)
    else:
        gan = build((3, 64, 64), width=1, attention=(16,), attention_discriminator=(4,), **PLAIN)
    for mine, prefix in ((gan.generator, "G/"), (gan.discriminator, "D/")):
        mine.load_state_dict(from_published(state(side, prefix)))
    return gan


def same(found: Tensor, expected: Tensor):
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("side", [32, 64])
def test_images_and_logits_are_those_of_the_published_program(side: int):
    gan, arrays = theirs(side).eval(), published(side)
    with torch.no_grad():
        same(gan.generator(arrays["z"], arrays["y"]), arrays["img"])
        same(gan.discriminator(arrays["x"] if side == 32 else arrays["img"], arrays["y"]), arrays["logits"])


def test_slopes_at_images_are_those_of_the_published_program():
    gan, arrays = theirs(64).eval(), published(64)
    x = arrays["img"].clone().requires_grad_()
    (slope,) = torch.autograd.grad(gan.discriminator(x, arrays["y"]).sum(), x)
    same(slope.square().sum((1, 2, 3)), arrays["r1_per_sample"])


def test_images_and_gradients_of_a_step_of_training_are_those_of_the_published_program():
    gan, arrays = theirs(64), published(64)
    x = gan.generator(arrays["z"], arrays["y"])
    same(x.detach(), arrays["img_train"])
    (-gan.discriminator(x, arrays["y"])).mean().backward()
    for network, prefix in ((gan.generator, "G/"), (gan.discriminator, "D/")):
        expected = from_published(state(64, f"gradient_norm/{prefix}"))
        norms = {name: p.grad.norm() for name, p in network.named_parameters()}
        assert norms.keys() == expected.keys()
        for name, norm in norms.items():
            torch.testing.assert_close(norm, expected[name], atol=1e-4, rtol=1e-4, msg=name)


def test_orthogonal_regularisation_pulls_as_in_the_published_program():
    gan = theirs(64)
    orthogonality(gan.generator).backward()
    expected = from_published(state(64, "ortho_norm/"))
    found = {n: p.grad.norm() for n, p in gan.generator.named_parameters() if p.ndim > 1}
    assert found.keys() == expected.keys()
    for name, norm in found.items():
        torch.testing.assert_close(norm, expected[name], atol=1e-4, rtol=1e-4, msg=name)


def test_the_papers_networks_have_as_many_parameters_as_the_program_counts():
    plan = resolve(BigGAN, {}, "paper")
    classes = tuple(map(str, range(1000)))
    with torch.device("meta"):
        gan = BigGAN(
            DataSpec("pictures", (3, 128, 128), 24, classes), plan.options.model_copy(update={"init": "normal"})
        )
    counts = {name: sum(p.numel() for p in player.parameters()) for name, player in gan.players().items()}
    assert counts == {"generator": 70_433_988, "discriminator": 87_982_370}


def test_the_cifar_preset_is_the_programs_recipe():
    plan = resolve(BigGAN, {}, "cifar")
    o = plan.options
    assert (o.batch_size, o.n_critic, o.lr, o.lr_generator, o.ema, plan.settings.epochs) == (
        50,
        4,
        2e-4,
        2e-4,
        0.9999,
        500,
    )
    with torch.device("meta"):
        gan = BigGAN(DataSpec("made-up", (3, 32, 32), 24, CLASSES), o)
    assert gan.generator.blocks[0][0].bn1.gain.weight.shape == (3, 256)
    assert not any("gamma" in name for name, _ in gan.named_parameters())


# The contract


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (DataSpec("colour", (3, 8, 8), 24, CLASSES, counts=(12, 8, 4)), {"attention": (8,)}),
        (DataSpec("tags", (1, 9, 12), 24, ("a", "b"), (Attribute("tilt"),)), {"ortho": 0.0, "wide": False}),
        (DataSpec("unlabelled", (3, 8, 8), 24), PLAIN | {"init": "normal", "attention": ()}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_it_keeps_the_rules_of_the_contract(data: DataSpec, options: dict):
    verdicts = check_gan(BigGAN, data, TINY | options)
    skipped = {v.rule: v.reason for v in verdicts if v.status == "skipped"}
    assert skipped.keys() == {"pictures", "source"} | ({"condition"} if not data.conditional else set()), skipped


def test_z_is_cut_into_equal_parts_for_the_first_map_and_each_block():
    gan = build((3, 32, 32), latent_dim=10).eval()
    assert gan.sample_latent(5).shape == (5, 8)
    z, y = gan.sample_latent(2), torch.tensor([2, 0])
    features = gan.generator.features(z, y)
    assert len(features) == 3
    for i, c in enumerate(features):
        assert torch.equal(c, torch.cat([gan.generator.shared.weight[y], z[:, 2 + 2 * i : 4 + 2 * i]], dim=1))
    assert build((3, 32, 32), latent_dim=3).sample_latent(1).shape == (1, 4)
    assert build((3, 32, 32), latent_dim=10, hierarchical=False).sample_latent(1).shape == (1, 10)


def test_parts_of_z_need_the_shared_embedding():
    with pytest.raises(UsageError, match=r"--hierarchical.*--shared"):
        build(shared=0)


def test_conditional_normalisation_scales_and_shifts_by_the_condition():
    norm, x, y = Norm(4, Embedding(3, 4), Embedding(3, 4)), torch.randn(5, 4, 2, 3), torch.tensor([0, 1, 2, 1, 0])
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
    gain, bias = (table.weight[y][:, :, None, None] for table in (norm.gain, norm.bias))
    torch.testing.assert_close(norm(x, y), (x - mean) / (variance + 1e-5).sqrt() * (1 + gain) + bias)


def test_orthogonal_regularisation_has_the_gradient_of_the_paper():
    gan = build((3, 8, 8), ortho=0.3, attention=(8,))
    real = batch(gan)
    gan.generator_loss(real, gan.fake(real))["orthogonality"].backward()
    for name, p in gan.generator.named_parameters():
        if p.ndim < 2 or name.startswith("shared."):
            assert p.grad is None
            continue
        w = p.detach().flatten(1)
        expected = 0.3 * 2 * (w @ w.t() * (1 - torch.eye(len(w)))) @ w
        torch.testing.assert_close(p.grad.flatten(1), expected, msg=name)
    assert "orthogonality" not in build(ortho=0.0).generator_loss(real, gan.fake(real))


def test_the_discriminator_moves_twice_for_each_step_of_the_generator():
    gan = build(n_critic=2, lr=4e-4, lr_generator=1e-4, lr_hold=1.0)
    assert [(turn.player, turn.repeat) for turn in gan.turns()] == [("discriminator", 2), ("generator", 1)]
    assert gan.optimizer("discriminator") == Adam(4e-4, 0.0, 0.99)
    assert gan.optimizer("generator") == Adam(1e-4, 0.0, 0.99)
    assert BigGAN.Options().n_critic == 2


def test_losses_are_the_hinge():
    gan = build()
    real, fake = batch(gan), gan.fake(batch(gan)).detach()
    with torch.no_grad():
        gan.eval()
        on_real, on_fake = gan.discriminator(real.x, real.y), gan.discriminator(fake.x, fake.y)
        found = gan.discriminator_loss(real, fake)["adversarial"]
    torch.testing.assert_close(found, (1 - on_real).relu().mean() + (1 + on_fake).relu().mean())
    torch.testing.assert_close(gan.generator_loss(real, fake)["adversarial"].detach(), -on_fake.mean())


# Drawing


def test_truncated_latents_are_normal_within_their_bounds_and_keep_their_order():
    seed_everything(0)
    z = torch.randn(20_000).sort().values
    for most in (0.04, 0.5, 2.0):
        found = truncated(z, most)
        assert found.abs().max() <= most
        assert (found.diff() >= 0).all()
        free = torch.randn(400_000)
        inside = free[free.abs() <= most]
        assert found.std().item() == pytest.approx(inside.std().item(), rel=0.02)
    assert truncated(torch.tensor([-9.0, 0.0, 9.0]), 0.5).tolist() == pytest.approx([-0.5, 0.0, 0.5])
    torch.testing.assert_close(truncated(torch.linspace(-2, 2, 9), 4.9), torch.linspace(-2, 2, 9), atol=1e-4, rtol=0)


def test_truncation_is_an_option_of_drawing():
    gan = build().eval()
    z, y = gan.sample_latent(3), gan.sample_labels(3)
    with torch.no_grad():
        assert torch.equal(drawing(gan, {"truncation": 0.5}).generate(z, y), gan.generator(truncated(z, 0.5), y))
        assert torch.equal(drawing(gan, {"truncation": 5}).generate(z, y), gan.generator(z, y))
    with pytest.raises(UsageError, match="truncation"):
        drawing(gan, {"truncation": 0})


def norms(generator: nn.Module) -> dict[str, nn.BatchNorm2d]:
    return {name: module for name, module in generator.named_modules() if isinstance(module, nn.BatchNorm2d)}


def test_standing_statistics_are_means_over_batches():
    gan = build(batch_size=6).eval()
    drawn: list[Tensor] = []
    plain = gan.sample_latent
    gan.sample_latent = lambda n: drawn.append(plain(n)) or drawn[-1]
    before = {name: value.clone() for name, value in gan.generator.state_dict().items()}
    found = norms(standing_generator(gan, 3))
    drawn = drawn[-3:]  # Before them the kit has looked whether the model draws from other generators.
    assert [len(z) for z in drawn] == [6, 6, 6]
    assert all(torch.equal(before[name], value) for name, value in gan.generator.state_dict().items())
    # What the first normalisation of all sees does not depend on others, nor on the class.
    h = [gan.generator.linear(z[:, : gan.generator.part]).unflatten(1, (-1, *gan.generator.first)) for z in drawn]
    first = found["blocks.0.0.bn1.norm"]
    torch.testing.assert_close(first.running_mean, torch.stack([x.mean((0, 2, 3)) for x in h]).mean(0))
    torch.testing.assert_close(first.running_var, torch.stack([x.var((0, 2, 3), correction=0) for x in h]).mean(0))
    assert len(found) == 3
    assert not any(torch.equal(n.running_var, torch.ones_like(n.running_var)) for n in found.values())


def test_standing_statistics_are_an_option_of_drawing_and_worked_out_once():
    gan = build(batch_size=6).eval()
    z, y = gan.sample_latent(3), gan.sample_labels(3)
    with torch.no_grad():
        view = drawing(gan, {"standing": 2})
        assert torch.equal(view.generate(z, y), standing_generator(gan, 2)(z, y))
        assert not torch.equal(view.generate(z, y), gan.generate(z, y))
        assert drawing(gan, {"standing": 2}).generator is view.generator
        again = drawing(view, {"truncation": 0.5})
        assert again.sampling.standing == 2
        assert again.generator is not view.generator
        assert drawing(view, {"standing": 0}).generator is gan.generator
        nn.init.ones_(gan.generator.linear.bias)
        assert drawing(gan, {"standing": 2, "truncation": 0.5}).generator is not again.generator


# Weights of others


@cache
def files() -> dict[str, dict[str, Tensor]]:
    return {name: state(32, prefix) for name, prefix in (("G_ema", "G/"), ("D", "D/"))}


def save(folder: Path, legacy: bool = False, **states: object) -> list[str]:
    """The states as files of the program, in their order."""
    paths = []
    for name, tensors in states.items():
        path = folder / f"{name}.pth"
        torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)
        paths.append(str(path))
    return paths


@pytest.mark.parametrize("legacy", [False, True], ids=["archive", "older"])
def test_imported_state_dicts_give_their_images(ganzoo, tmp_path, legacy: bool):
    raw = {name: v + 0.25 * (v.ndim > 1) for name, v in files()["G_ema"].items()}
    paths = save(tmp_path, legacy, G_ema_best0=files()["G_ema"], G_best0=raw, D_best0=files()["D"])
    out = tmp_path / "run"
    result = ganzoo("import", *paths, "-o", str(out))
    assert result.code == 0, result.err
    assert "biggan, 32 x 32, 4 classes" in result.out
    arrays, gan = published(32), load(out).gan
    with torch.no_grad():
        same(gan.generator(arrays["z"], arrays["y"]), arrays["img"])
        kept = weights.read(out / NETWORKS)
        critic = {n.removeprefix("discriminator."): v for n, v in kept.items() if n.startswith("discriminator.")}
        gan.discriminator.load_state_dict(critic)
        same(gan.discriminator(arrays["x"], arrays["y"]), arrays["logits"])
    assert torch.equal(kept["generator.linear.weight"], raw["linear.weight"])
    told = json.loads((out / "run.json").read_text())["imported"]
    assert [f["file"] for f in told["files"]] == [Path(p).name for p in paths]
    assert told["trained"] == ["discriminator", "generator"]
    assert "imported from G_ema_best0.pth, G_best0.pth, D_best0.pth" in " ".join(read_run(out).notes)
    shown = ganzoo(
        "sample", str(out), "-n", "4", "--truncation", "0.5", "--standing", "1", "-o", str(tmp_path / "x.png")
    )
    assert shown.code == 0, shown.err


def test_networks_may_stand_in_one_file_and_g_alone_draws_itself(ganzoo, tmp_path):
    (path,) = save(tmp_path, all=files())
    assert ganzoo("import", path, "-o", str(tmp_path / "one")).code == 0
    assert {n.partition(".")[0] for n in weights.shapes(tmp_path / "one" / NETWORKS)} == {"discriminator"}
    (path,) = save(tmp_path, mine={f"module.{name}": v for name, v in files()["G_ema"].items()})
    assert ganzoo("import", path, "-o", str(tmp_path / "two")).code == 0
    assert not (tmp_path / "two" / NETWORKS).exists()
    one, two = (load(tmp_path / name).gan.generator.state_dict() for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("shape", "classes", "options"),
    [
        ((3, 32, 32), 5, {"width": 3, "attention": (8, 32), "attention_discriminator": (), "width_discriminator": 2}),
        ((3, 64, 64), 3, {"width": 1, "hierarchical": False, "attention": (), "attention_discriminator": (4, 16)}),
        ((1, 128, 128), 1, {"width": 1, "wide": False, "attention": (64,), "attention_discriminator": (64,)}),
        ((3, 256, 256), 2, {"width": 1, "attention": (), "attention_discriminator": (), **PLAIN}),
    ],
    ids=str,
)  # fmt: skip
def test_the_architecture_follows_from_the_shapes(shape: tuple[int, int, int], classes: int, options: dict):
    names = tuple(map(str, range(classes))) if classes > 1 else ()
    gan = build(shape, names, latent_dim=12, **{"width_discriminator": options["width"], **options})
    networks = {"G": _network(gan.generator), "D": _network(gan.discriminator)}
    found = BigGAN.from_snapshot(networks)
    assert found.data == DataSpec("imported", shape, 0, names)
    again = BigGAN(found.data, found.options)
    for player in ("generator", "discriminator"):
        mine, others = (getattr(g, player).state_dict() for g in (gan, again))
        assert {k: v.shape for k, v in mine.items()} == {k: v.shape for k, v in others.items()}


def _network(module: nn.Module):
    """As the program names its tensors."""

    def renamed(name: str) -> str:
        name = name.replace("output_layer.0.weight", "output_layer.0.gain")
        return name.replace("norm.running_", "stored_").replace("output_layer.0.running_", "output_layer.0.stored_")

    state = {renamed(n): v for n, v in module.state_dict().items() if not n.endswith("num_batches_tracked")}
    return Network("", {}, {f"{n}0" if n.endswith(".u") else n: v for n, v in state.items()})


def test_statistics_that_the_program_keeps_in_other_ways_are_understood():
    sums = {"b.bn1.bn.stored_mean": torch.tensor([6.0]), "b.bn1.bn.stored_var": torch.tensor([9.0])}
    standing = from_published(sums | {"b.bn1.bn.accumulation_counter": torch.tensor([3.0])})
    assert {n: v.item() for n, v in standing.items()} == {
        "b.bn1.norm.running_mean": 2, "b.bn1.norm.running_var": 3, "b.bn1.norm.num_batches_tracked": 0
    }  # fmt: skip
    running = from_published(sums | {"b.bn1.bn.accumulation_counter": torch.tensor([0.0])})
    assert running["b.bn1.norm.running_var"].item() == 9
    synchronised = from_published({"output_layer.0.bn.running_mean": torch.ones(2), "b.u1": torch.ones(1), "b.sv0": 1})
    assert synchronised.keys() == {"output_layer.0.running_mean", "output_layer.0.num_batches_tracked"}


class Calls:
    """Runs a call where it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def refused(ganzoo, folder: Path, *paths: str) -> str:
    """The line that refuses the files; nothing was written."""
    result = ganzoo("import", *paths, "-o", str(folder / "run"))
    assert result.code in (1, 2)
    assert "Traceback" not in result.err
    assert result.err.count("\n") == 1
    assert not (folder / "run").exists()
    return result.err


@pytest.mark.parametrize("legacy", [False, True], ids=["archive", "older"])
def test_a_call_in_a_state_dict_is_refused_by_its_name_and_never_made(ganzoo, tmp_path, monkeypatch, legacy: bool):
    monkeypatch.chdir(tmp_path)
    (path,) = save(tmp_path, legacy, G_ema=files()["G_ema"] | {"linear.bias": Calls(os.system, "touch ran.txt")})
    assert f"{os.system.__module__}.system" in refused(ganzoo, tmp_path, path)
    assert not Path("ran.txt").exists()


@pytest.mark.parametrize("legacy", [False, True], ids=["archive", "older"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 0.999])
def test_a_truncated_state_dict_is_one_line(ganzoo, tmp_path, legacy: bool, share: float):
    path = Path(save(tmp_path, legacy, G_ema=files()["G_ema"])[0])
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(ganzoo, tmp_path, str(path))


def test_what_fits_nothing_is_said_in_a_line(ganzoo, tmp_path):
    g, d = files()["G_ema"], files()["D"]

    def line(**states: object) -> str:
        return refused(ganzoo, tmp_path, *save(tmp_path, **states))

    assert "is of no model that is installed" in line(other={"fc.weight": torch.zeros(2, 2)})
    assert "holds no networks" in line(state_dict={"itr": 3, "epoch": 1})
    assert "no generator" in line(D=d)
    assert "more than one discriminator" in line(G=g, D=d, D_copy=d)
    assert "more than one generator: G, H" in line(G_ema=g, G=g, H=g)
    assert "BigGAN-deep" in line(G={**g, "blocks.0.0.conv3.weight": g["linear.weight"]})
    assert "no spectral normalisation" in line(G={n: v for n, v in g.items() if not n.endswith("u0")})
    assert "linear.weight of 2 dimensions" in line(G=g | {"linear.weight": torch.zeros(3)})
    assert "blocks.1.0.conv2.weight is (32, 32, 5, 5) there" in line(
        G=g | {"blocks.1.0.conv2.weight": torch.zeros(32, 32, 5, 5)}
    )
    assert "3 to 7" in line(G={n: v for n, v in g.items() if not n.startswith("blocks.2")})
    one = save(tmp_path, G=g)[0]
    (tmp_path / "more").mkdir()
    assert "another file" in refused(ganzoo, tmp_path, one, *save(tmp_path / "more", G=g))


def test_a_discriminator_that_does_not_fit_is_left_out_with_a_word(ganzoo, tmp_path):
    less = {n: v for n, v in files()["D"].items() if n != "blocks.2.0.conv2.bias"}
    result = ganzoo("import", *save(tmp_path, G=files()["G_ema"], D=less), "-o", str(tmp_path / "run"))
    assert result.code == 0
    assert "blocks.2.0.conv2.bias is missing there" in result.err
    assert not (tmp_path / "run" / NETWORKS).exists()


def test_tensors_that_claim_more_than_the_file_holds_are_refused(ganzoo, tmp_path):
    swollen = torch.zeros(1).expand(2**34)
    assert "claims the shape" in refused(ganzoo, tmp_path, *save(tmp_path, G={"linear.weight": swollen}))
    shared = torch.zeros(1000)
    assert "more than the file could hold" in refused(
        ganzoo, tmp_path, *save(tmp_path, G={str(i): shared for i in range(1000)})
    )


def test_an_archive_that_swells_is_refused(ganzoo, tmp_path):
    plain = Path(save(tmp_path, G=files()["G_ema"])[0])
    packed = tmp_path / "packed.pth"
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert "compressed" in refused(ganzoo, tmp_path, str(packed))


def test_blocks_grow_from_the_smallest_map_to_the_image():
    gan = build((1, 28, 28), width=1, attention=(16,))
    sides = [gan.generator.first[0], *(block[0].size[0] for block in gan.generator.blocks)]
    assert sides == [7, 14, 28]
    assert [len(block) for block in gan.generator.blocks] == [2, 1]
    assert all(b == 2 * a for a, b in pairwise(sides))
