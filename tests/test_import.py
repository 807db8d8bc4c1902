"""`ganzoo import`: an official snapshot gives its images, and whatever else a file holds is never run."""

import json
import os
import pickle
import sys
import tracemalloc
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from ganzoo.data import DataSpec
from ganzoo.errors import GanzooError, UsageError
from ganzoo.gan import Imported
from ganzoo.plugins import Registry, registry
from ganzoo.runs import weights
from ganzoo.runs.imports import NETWORKS, import_snapshot
from ganzoo.runs.pickled import Made, Unsafe, _network, _storages, networks, streamed, tensor, unpickled
from ganzoo.runs.sampler import load
from ganzoo.runs.snapshots import networks_in
from ganzoo.training.building import build
from ganzoo_test_plugins import Plain

SNAPSHOT = Path(__file__).parent / "data" / "stylegan2_16px.pkl"
MARKER = "ran.txt"


def written(folder: Path, content: bytes) -> Path:
    path = folder / "snapshot.pkl"
    path.write_bytes(content)
    return path


def test_an_imported_snapshot_gives_its_images(ganzoo, tmp_path):
    out = tmp_path / "run"
    result = ganzoo("import", str(SNAPSHOT), "-o", str(out))
    assert result.code == 0, result.err
    assert "stylegan2, 16 x 16, 4 classes" in result.out
    generator = loaded(out)
    assert json.loads((out / "run.json").read_text())["imported"]["file"] == SNAPSHOT.name
    assert ganzoo("sample", str(out), "-n", "4", "--truncation", "0.7", "-o", str(tmp_path / "x.png")).code == 0
    told = ganzoo("resume", str(out)).err
    assert f"was imported, and has no training to go on with: `ganzoo run stylegan2 --init-from {out}`" in told
    with np.load(SNAPSHOT.with_name("stylegan2_16px_pkl.npz")) as file:
        z, c, images = (torch.from_numpy(file[name]) for name in ("z", "c", "img_psi07"))
    with torch.no_grad():
        found = generator(z, c.argmax(1), psi=0.7, noise="const")
    torch.testing.assert_close(found, images, atol=1e-4, rtol=0)


@pytest.mark.parametrize("configuration", ["t", "r"])
def test_an_imported_snapshot_of_stylegan3_gives_its_images(ganzoo, tmp_path, configuration: str):
    snapshot, out = SNAPSHOT.with_name(f"stylegan3_16px_{configuration}.pkl"), tmp_path / "run"
    result = ganzoo("import", str(snapshot), "-o", str(out))
    assert result.code == 0, result.err
    assert "stylegan3, 16 x 16, 3 classes" in result.out
    # That of configuration R holds the averaged generator alone.
    assert ("without the discriminator and generator as trained" in result.err) == (configuration == "r")
    with np.load(snapshot.with_name(f"{snapshot.stem}_pkl.npz")) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file}
    z, y = arrays["z"], arrays["c"].argmax(1)
    with torch.no_grad():
        torch.testing.assert_close(loaded(out)(z, y, psi=0.7), arrays["img_psi07"], atol=1e-4, rtol=0)
        if configuration == "t":
            critic = load(out).gan.discriminator
            trained = {n.partition(".")[2]: v for n, v in weights.read(out / NETWORKS).items() if n[0] == "d"}
            critic.load_state_dict(trained)
            torch.testing.assert_close(critic(arrays["img_psi07"], y), arrays["logits"], atol=1e-4, rtol=0)
    options = json.loads((out / "config.json").read_text())["options"]
    assert options["equivariance"] == {"t": "translation", "r": "rotation"}[configuration]
    drawn = ganzoo(
        "sample", str(out), "-n", "2", "--rotate", "30", "--translate-x", "0.1", "-o", str(tmp_path / "x.png")
    )
    assert drawn.code == 0, drawn.err


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"first_cutoff": 3}, "neither T nor R: first_cutoff 3"),
        ({"lrelu_upsampling": "many"}, "neither T nor R: lrelu_upsampling many"),
        ({"conv_kernel": 1}, "neither T nor R: conv_kernel 1 with use_radial_filters False"),
        ({"conv_kernel": 1, "use_radial_filters": True, "channel_base": 65}, "neither T nor R: channel_base 65"),
        ({"num_layers": 10**9}, "layers"),
        ({"num_critical": 14}, "--critical 14: there must be fewer than --layers 14"),
        ({"margin_size": -1}, "margin"),
        ({"channel_base": [1]}, "neither T nor R: channel_base"),
        ({"num_layers": 9}, "does not fit model 'stylegan3': synthesis.L10"),
    ],
)
def test_a_stylegan3_snapshot_of_another_configuration_is_one_line(tmp_path, monkeypatch, said, message):
    found = networks_in([SNAPSHOT.with_name("stylegan3_16px_t.pkl")])
    given = {"channel_base": 64, "channel_max": 4, **said}
    lying = found["G_ema"]._replace(attributes={**found["G_ema"].attributes, "_init_kwargs": given})
    monkeypatch.setattr("ganzoo.runs.imports.networks_in", lambda paths: {**found, "G_ema": lying})
    with pytest.raises(GanzooError, match=message) as told:
        import_snapshot([SNAPSHOT], tmp_path / "run", registry())
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run").exists()


def lying(found, **said):
    """The averaged generator with other arguments than those it was made with, which its layers say nothing of."""
    given = {**found["G_ema"].attributes["_init_kwargs"], **said}
    return found["G_ema"]._replace(attributes={**found["G_ema"].attributes, "_init_kwargs": given}, layers={})


def layered(network, **kept):
    """The network with other values in those of its layers that have such."""
    changed = {name: {k: kept.get(k, v) for k, v in own.items()} for name, own in network.layers.items()}
    return network._replace(layers=changed)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"synthesis_kwargs": {"activation": "relu"}}, "there is not here: activation relu"),
        ({"mapping_kwargs": {"lr_multiplier": 0.1}}, "there is not here: mapping lr_multiplier 0.1"),
        ({"mapping_kwargs": {"activation": "linear"}}, "there is not here: mapping activation linear"),
        ({"conv_clamp": 1}, "holds activations within 1: there is 256.0 here, or none"),
    ],
)
def test_a_stylegan2_snapshot_whose_arguments_show_in_no_shape_is_refused(said, message):
    found = networks_in([SNAPSHOT])
    with pytest.raises(UsageError, match=message):
        registry().get("models", "stylegan2").from_snapshot({"G_ema": lying(found, **said)})


def test_a_snapshot_with_another_low_pass_filter_is_refused():
    found = networks_in([SNAPSHOT])
    tensors = dict(found["G_ema"].tensors)
    name = next(name for name in tensors if name.endswith("resample_filter"))
    tensors[name] = torch.full((4, 4), 1 / 16)
    with pytest.raises(UsageError, match=r"resample_filter is not the low-pass filter 1, 3, 3, 1"):
        registry().get("models", "stylegan2").from_snapshot({"G_ema": found["G_ema"]._replace(tensors=tensors)})


def test_activations_of_a_snapshot_are_held_as_it_says():
    found = networks_in([SNAPSHOT])
    model = registry().get("models", "stylegan2")
    for bound, half, expected in ((None, 4, None), (256, 0, 1), (256, 4, 4)):
        told = {"conv_clamp": bound, "num_fp16_res": half}
        assert model.from_snapshot({"G_ema": lying(found, **told)}).options.half_resolutions == expected


def test_what_layers_keep_counts_for_more_than_arguments_that_were_not_given():
    found = networks_in([SNAPSHOT])  # Whose program holds activations by default, and says so in its layers alone.
    model = registry().get("models", "stylegan2")
    assert "conv_clamp" not in found["G_ema"].attributes["_init_kwargs"]
    told = model.from_snapshot(found)
    assert told.options.half_resolutions == 1
    assert told.networks.keys() == {"generator", "discriminator"}
    free = {name: layered(network, conv_clamp=None) for name, network in found.items()}
    assert model.from_snapshot(free).options.half_resolutions is None
    half = {name: layered(network, use_fp16=True) for name, network in found.items()}
    assert model.from_snapshot(half).options.half_resolutions == 3
    with pytest.raises(UsageError, match=r"activation relu in synthesis\.b4\.conv1"):
        model.from_snapshot(found | {"G_ema": layered(found["G_ema"], activation="relu")})


def test_a_discriminator_that_holds_activations_otherwise_is_left_out(capsys):
    found = networks_in([SNAPSHOT])
    told = registry().get("models", "stylegan2").from_snapshot(found | {"D": layered(found["D"], conv_clamp=None)})
    assert told.networks.keys() == {"generator"}
    assert "it holds activations within None, and G_ema within 256" in capsys.readouterr().err


def test_a_stylegan3_generator_holds_activations_as_its_snapshot_does():
    found = networks_in([SNAPSHOT.with_name("stylegan3_16px_t.pkl")])
    model = registry().get("models", "stylegan3")
    assert model.from_snapshot(found).options.clamp
    free = {name: layered(network, conv_clamp=None) for name, network in found.items()}
    assert not model.from_snapshot(free).options.clamp
    for told, largest in ((found, 64.0), (free, 1e3)):  # Of the image, a quarter of what the last layer makes.
        made = model.from_snapshot(told)
        gan = build(model, made.data, made.options)
        gan.generator.load_state_dict(dict(made.averaged["generator"]))
        with torch.no_grad():
            list(gan.generator.synthesis.children())[-1].bias.fill_(1e4)
            image = gan.generator(torch.zeros(1, gan.options.latent_dim), torch.zeros(1, dtype=torch.int64))
        assert image.max() == largest if largest == 64 else image.min() > largest


def test_arguments_given_by_position_are_told():
    found = networks_in([SNAPSHOT])
    attributes = {**found["G_ema"].attributes, "_init_args": (32, 4)}
    with pytest.raises(UsageError, match="made with arguments by position"):
        registry().get("models", "stylegan2").from_snapshot({"G_ema": found["G_ema"]._replace(attributes=attributes)})


def loaded(run: Path) -> torch.nn.Module:
    return load(run).gan.generator


def test_an_imported_run_holds_the_networks_as_they_were_in_training_too(ganzoo, tmp_path):
    out = tmp_path / "run"
    result = ganzoo("import", str(SNAPSHOT), "-o", str(out), "--json")
    assert json.loads(result.out)["trained"] == ["discriminator", "generator"]
    found, kept = networks_in([SNAPSHOT]), weights.read(out / NETWORKS)
    for theirs, ours in (("G", "generator"), ("D", "discriminator")):
        wanted = {f"{ours}.{k}": v for k, v in found[theirs].tensors.items() if not k.endswith("resample_filter")}
        assert wanted.keys() == {k for k in kept if k.startswith(ours)}
        assert all(torch.equal(kept[name], value) for name, value in wanted.items())
    assert json.loads((out / "status.json").read_text())["status"] == "imported"


def test_the_plugin_that_knows_the_networks_takes_them(tmp_path):
    class Linear(Plain):
        name = "linear"

        @classmethod
        def from_snapshot(cls, networks):
            if "G_ema" not in networks:
                raise UsageError("no G_ema")
            spec, options = DataSpec("imported", (1, 8, 8), 0), Plain.Options(latent_dim=3)
            state = {name: value + 1 for name, value in Plain(spec, options).generator.state_dict().items()}
            return Imported(spec, options, {"generator": state})

    plugins = Registry().having("models", Linear)
    gan, info = import_snapshot([SNAPSHOT], tmp_path / "run", plugins)
    assert (gan.name, info["imported"]["trained"]) == ("linear", [])
    assert not (tmp_path / "run" / NETWORKS).exists()
    with pytest.raises(UsageError, match="none takes networks of other programs"):
        import_snapshot([SNAPSHOT], tmp_path / "other", Registry().having("models", Plain))
    assert not (tmp_path / "other").exists()


def test_a_discriminator_that_does_not_fit_is_left_out_and_named(tmp_path, capsys):
    class Other(registry().get("models", "stylegan2")):
        name = "other"

        @classmethod
        def from_snapshot(cls, networks):
            told = super().from_snapshot(networks)
            return told._replace(networks={**told.networks, "discriminator": {"b4.out.bias": torch.zeros(7)}})

    import_snapshot([SNAPSHOT], tmp_path / "run", Registry().having("models", Other))
    assert "the discriminator as it was in training is left out" in capsys.readouterr().err
    assert not [name for name in weights.read(tmp_path / "run" / NETWORKS) if name.startswith("discriminator")]


def test_weights_that_are_not_finite_are_told(tmp_path, monkeypatch, capsys):
    import_snapshot([SNAPSHOT], tmp_path / "good", registry())
    assert "not finite" not in capsys.readouterr().err
    found = networks_in([SNAPSHOT])
    name, value = next(item for item in found["G_ema"].tensors.items() if item[0].endswith(".weight"))
    tensors = {**found["G_ema"].tensors, name: torch.full_like(value, torch.nan)}
    monkeypatch.setattr(
        "ganzoo.runs.imports.networks_in", lambda _: found | {"G_ema": found["G_ema"]._replace(tensors=tensors)}
    )
    import_snapshot([SNAPSHOT], tmp_path / "run", registry())
    assert "stylegan2_16px.pkl is damaged, or its training failed: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"mapping_kwargs": {"lr_multiplier": 0.1}}, "mapping lr_multiplier 0.1"),
        ({"block_kwargs": {"activation": "relu"}}, "block activation relu"),
        ({"epilogue_kwargs": {"activation": "relu"}}, "epilogue activation relu"),
        ({"conv_clamp": 64}, "it holds activations within 64, and G_ema within 256"),
    ],
)
def test_a_discriminator_that_computes_otherwise_is_left_out(capsys, said, fault):
    found = networks_in([SNAPSHOT])
    given = {**found["D"].attributes["_init_kwargs"], **said}
    found["D"] = found["D"]._replace(attributes={**found["D"].attributes, "_init_kwargs": given}, layers={})
    assert set(registry().get("models", "stylegan2").from_snapshot(found).networks) == {"generator"}
    told = capsys.readouterr().err
    assert told.startswith("note: the discriminator as it was in training is left out: it is of a configuration")
    assert fault in told


def test_a_discriminator_with_another_filter_is_left_out_and_the_generator_taken(capsys):
    found = networks_in([SNAPSHOT])
    name = next(name for name in found["D"].tensors if name.endswith("resample_filter"))
    found["D"].tensors[name] = torch.ones(4, 4) / 16
    assert set(registry().get("models", "stylegan2").from_snapshot(found).networks) == {"generator"}
    assert f"is left out: {name} is not the low-pass filter 1, 3, 3, 1" in capsys.readouterr().err


def test_a_file_of_something_else_is_told_without_pythons_words(ganzoo, tmp_path):
    result = ganzoo("import", written(tmp_path, b"hello, this is text\n"), "-o", tmp_path / "run")
    assert result.err == f"error: {tmp_path / 'snapshot.pkl'} is damaged, or holds no networks\n"


def test_all_three_networks_are_read():
    found = networks_in([SNAPSHOT])
    assert {name: network.kind for name, network in found.items()} == {
        "G": "Generator", "D": "Discriminator", "G_ema": "Generator"
    }  # fmt: skip
    assert found["D"].tensors["b4.out.bias"].shape == (32,)
    assert found["G"].attributes["img_resolution"] == 16


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_snapshot_of_any_python_is_read(tmp_path, monkeypatch, protocol: int):
    """Python 3.7, which the authors ask for, writes protocol 3."""

    class Kept:
        def __init__(self, meta):
            self.meta = meta

        def __reduce__(self):
            return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)

    def _reconstruct_persistent_obj(meta):
        return Kept(meta)

    class EasyDict(dict):
        __module__, __qualname__ = "dnnlib.util", "EasyDict"

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    for name in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj = _reconstruct_persistent_obj
    sys.modules["dnnlib.util"].EasyDict = EasyDict
    again = written(tmp_path, pickle.dumps(pickle.loads(SNAPSHOT.read_bytes()), protocol))
    found, expected = networks_in([again]), networks_in([SNAPSHOT])
    for name, network in expected.items():
        assert found[name].kind == network.kind
        assert found[name].tensors.keys() == network.tensors.keys()
        assert all(torch.equal(found[name].tensors[key], value) for key, value in network.tensors.items())


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_of_numpy_are_data_at_every_protocol(protocol: int):
    """Those of StyleGAN3's filters, which no tensor here is made of."""
    assert unpickled(BytesIO(pickle.dumps([np.arange(3.0), 7], protocol)))[1] == 7


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_sets_are_data_at_every_protocol(protocol: int):
    assert unpickled(BytesIO(pickle.dumps([{1}, frozenset("a"), 7], protocol)))[2] == 7


def test_a_snapshot_is_read_once_and_let_go(tmp_path, monkeypatch):
    read = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or real(path))
    import_snapshot([SNAPSHOT], tmp_path / "run", registry())
    assert read.count(SNAPSHOT) == 1
    stream = BytesIO(SNAPSHOT.read_bytes())
    networks(stream)
    assert stream.closed


def test_a_snapshot_that_memory_does_not_hold_three_times_is_refused_unread(ganzoo, tmp_path, monkeypatch):
    monkeypatch.setattr("ganzoo.runs.snapshots.memory", lambda: 3 * SNAPSHOT.stat().st_size - 3)
    assert "more than this machine's memory holds" in unread(ganzoo, tmp_path, SNAPSHOT.read_bytes())


def test_a_folder_that_is_there_is_not_written_to(ganzoo, tmp_path):
    (tmp_path / "mine").write_text("kept")
    result = ganzoo("import", str(SNAPSHOT), "-o", str(tmp_path))
    assert (result.code, [p.name for p in tmp_path.iterdir()]) == (2, ["mine"])
    assert "exists already" in result.err
    assert ganzoo("import", str(tmp_path / "absent.pkl"), "-o", str(tmp_path / "run")).code == 2


# Hostile


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"img_resolution": 1024}, "does not fit model 'stylegan2': synthesis.b1024"),
        ({"img_resolution": 2**40}, "powers of two"),
        ({"img_resolution": 48}, "powers of two"),
        ({"z_dim": 2**40}, "latent-dim"),
        ({"w_dim": 60_000, "z_dim": 60_000}, "does not fit model|more than this machine's memory"),
        ({"c_dim": 10**9}, "does not say how large"),
        ({"img_channels": 7}, "have 7 channels"),
        (
            {"_init_kwargs": {"channel_base": 2**20, "channel_max": 8192}},
            "does not fit model|more than this machine's memory",
        ),
        ({"_init_kwargs": {"channel_base": -1}}, "channel-base"),
    ],
)
def test_absurd_shapes_are_one_line_before_any_memory_is_taken(tmp_path, monkeypatch, said, message):
    found = networks_in([SNAPSHOT])
    lying = found["G_ema"]._replace(attributes={**found["G_ema"].attributes, **said})
    monkeypatch.setattr("ganzoo.runs.imports.networks_in", lambda paths: {**found, "G_ema": lying})
    built = []
    monkeypatch.setattr("ganzoo.runs.imports.build", lambda *args: built.append(args))
    with pytest.raises(GanzooError, match=message) as told:
        import_snapshot([SNAPSHOT], tmp_path / "run", registry())
    assert "\n" not in str(told.value)
    assert not built
    assert not (tmp_path / "run").exists()


class Calls:
    """Runs a call where it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def unread(ganzoo, folder: Path, content: bytes) -> str:
    """The line that refuses a snapshot; nothing was written, and nothing was run."""
    result = ganzoo("import", str(written(folder, content)), "-o", str(folder / "run"))
    assert result.code in (1, 2)
    assert "Traceback" not in result.err
    assert result.err.count("\n") == 1
    assert not (folder / "run").exists()
    assert not Path(MARKER).exists()
    return result.err


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_call_is_refused_by_its_name_and_never_made(ganzoo, tmp_path, monkeypatch, protocol: int):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"G_ema": Calls(os.system, f"touch {MARKER}")}, protocol=protocol)
    assert f"{os.system.__module__}.system" in unread(ganzoo, tmp_path, content)
    content = pickle.dumps({"G_ema": Calls(eval, f"open('{MARKER}', 'w')")}, protocol=protocol)
    assert ".eval" in unread(ganzoo, tmp_path, content)


def test_a_call_hidden_in_a_storage_is_refused_too(ganzoo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hidden = pickle.dumps(Calls(os.system, f"touch {MARKER}"), protocol=2)
    with pytest.raises(Unsafe, match="system"):
        tensor(rebuilt(Made("torch.storage _load_from_bytes", (hidden,)), (2,), (1,)), _storages())
    assert not Path(MARKER).exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_snapshot_is_one_line(ganzoo, tmp_path, share: float):
    content = SNAPSHOT.read_bytes()
    assert "damaged" in unread(ganzoo, tmp_path, content[: int(share * len(content))])


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps([1, 2]),
        pickle.dumps({"G_ema": 3}),
        pickle.dumps({("a", "b"): 1}),
        pickle.dumps({"G_ema": OrderedDict(a=1)}),
        b"not a pickle",
        b"\x80\x02cdnnlib.tflib.network\nNetwork\n.",
        b"\x80\x02}\x8f(K\x01\x90.",
        b"\x80\x02K\x01r\xff\xff\xff\xff.",  # A memo of 32 GB for some.
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\x00\x00.",  # Bytes that are not there.
        b"\x80\x02)R.",
    ],
)
def test_what_is_no_snapshot_is_one_line(ganzoo, tmp_path, content: bytes):
    unread(ganzoo, tmp_path, content)


def test_a_snapshot_of_the_tensorflow_program_is_told_apart(tmp_path):
    with pytest.raises(GanzooError, match="TensorFlow"):
        networks_in([written(tmp_path, b"\x80\x02cdnnlib.tflib.network\nNetwork\n.")])


def rebuilt(stored: Made, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> Made:
    return Made("torch._utils _rebuild_tensor_v2", (stored, offset, size, stride, False, {}))


def kept(values: torch.Tensor) -> Made:
    from torch.storage import TypedStorage

    buffer = BytesIO()
    typed = TypedStorage(wrap_storage=values.untyped_storage(), dtype=values.dtype, _internal=True)
    torch.save(typed, buffer, _use_new_zipfile_serialization=False)
    return Made("torch.storage _load_from_bytes", (buffer.getvalue(),))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64, torch.int64, torch.uint8])
def test_tensors_are_what_torch_wrote(dtype: torch.dtype):
    values = torch.arange(12).to(dtype)
    assert torch.equal(tensor(rebuilt(kept(values), (2, 3), (3, 1), 4), _storages()), values[4:10].view(2, 3))
    assert torch.equal(tensor(rebuilt(kept(values), (3, 2), (1, 3)), _storages()), values[:6].view(2, 3).t())


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [((2**39,), (0,), 0), ((13,), (1,), 0), ((2,), (1,), 11), ((2,), (2**39,), 0), ((4, 4), (1, 1), 0)],
)
def test_a_tensor_that_claims_more_than_is_there_is_refused(size, stride, offset):
    with pytest.raises(Unsafe, match="claims the shape"):
        tensor(rebuilt(kept(torch.arange(12.0)), size, stride, offset), _storages())


def test_a_storage_that_claims_more_than_is_there_is_refused():
    content = kept(torch.zeros(12)).arguments[0]
    at = len(content) - 48 - 8
    absurd = content[:at] + (2**60).to_bytes(8, "little") + content[at + 8 :]
    with pytest.raises(Unsafe, match="shorter"):
        tensor(rebuilt(Made("torch.storage _load_from_bytes", (absurd,)), (12,), (1,)), _storages())


def test_one_storage_that_is_named_a_thousand_times_does_not_fill_the_memory(tmp_path):
    found = unpickled(BytesIO(SNAPSHOT.read_bytes()))
    weight = kept(torch.zeros(1000))
    bomb = rebuilt(weight, (1000,), (1,))
    state = {"_parameters": {str(i): bomb for i in range(1000)}, "_buffers": {}, "_modules": {}}
    name = found["G_ema"].name
    with pytest.raises(Unsafe, match="more than the file could hold"):
        _network(Made(name, ({"class_name": "Generator", "state": state},)), 100_000)
    deep = {"_parameters": {}, "_buffers": {}, "_modules": {}}
    deep["_modules"]["again"] = Made(name, ({"class_name": "x", "state": deep},))
    with pytest.raises(Unsafe, match="too deep"):
        _network(Made(name, ({"class_name": "Generator", "state": deep},)), 100_000)


# What is small, and has no end when it is shown, hashed or walked through


def nested(levels: int = 18) -> tuple:
    """A tuple of two to the power of so many numbers, each level stored once."""
    found: tuple = (0,)
    for _ in range(levels):
        found = (found, found)
    return found


def test_what_is_nested_without_end_is_never_shown():
    with pytest.raises(ValueError, match="has a shape that is none"):
        tensor(rebuilt(kept(torch.zeros(4)), nested(), (1, 1)), _storages())
    name = unpickled(BytesIO(SNAPSHOT.read_bytes()))["G_ema"].name
    state = {"_parameters": {}, "_buffers": {}, "_modules": {}}
    with pytest.raises(ValueError, match="class has no name"):
        _network(Made(name, ({"class_name": nested(), "state": state},)), 1000)
    stream = BytesIO(b"".join(pickle.dumps(part, 2) for part in (1001, {"little_endian": True}, [], [nested()])))
    with pytest.raises(ValueError, match="a storage has no name"):
        streamed(stream)


@pytest.mark.parametrize("model", ["stylegan2", "stylegan3"])
def test_arguments_of_a_network_that_are_nested_without_end_are_told_by_their_kind(model):
    snapshot = {"stylegan2": SNAPSHOT, "stylegan3": SNAPSHOT.with_name("stylegan3_16px_t.pkl")}[model]
    found = networks_in([snapshot])
    given = {"channel_base": nested(), "channel_max": 4}
    lying = found["G_ema"]._replace(attributes={**found["G_ema"].attributes, "_init_kwargs": given})
    with pytest.raises(UsageError, match=r"'?tuple'?$"):
        registry().get("models", model).from_snapshot({"G_ema": lying})


def test_a_list_that_holds_itself_a_thousand_times_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("ganzoo.runs.pickled.MOST_MODULES", 10)
    itself: list = []
    itself.extend([itself] * 20_000)
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, itself, [])
    path = written(tmp_path, b"".join(pickle.dumps(part, 2) for part in parts))
    itself.clear()
    tracemalloc.start()
    try:
        with pytest.raises(GanzooError, match="holds more than any network has"):
            networks_in([path])
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_storage_that_many_tensors_name_is_read_once(monkeypatch):
    read = []
    monkeypatch.setattr("ganzoo.runs.pickled.streamed", lambda stream: read.append(stream) or streamed(stream))
    shared = rebuilt(kept(torch.arange(4.0)), (4,), (1,))
    state = {"_parameters": {str(i): shared for i in range(100)}, "_buffers": {}, "_modules": {}}
    name = unpickled(BytesIO(SNAPSHOT.read_bytes()))["G_ema"].name
    read.clear()
    found = _network(Made(name, ({"class_name": "Generator", "state": state},)), 100_000)
    assert len(found.tensors) == 100
    assert len(read) == 1


@pytest.mark.parametrize("names", [["x" * 10_000], range(1000)])
def test_names_that_many_modules_share_do_not_fill_the_memory(monkeypatch, names):
    monkeypatch.setattr("ganzoo.runs.pickled.MOST_MODULES", 100)
    parameters = dict.fromkeys(names)
    name = unpickled(BytesIO(SNAPSHOT.read_bytes()))["G_ema"].name
    leaf = Made(name, ({"state": {"_parameters": parameters, "_buffers": {}, "_modules": {}}},))
    state = {"_parameters": {}, "_buffers": {}, "_modules": dict.fromkeys("abc", leaf)}
    with pytest.raises(Unsafe, match="or their names"):
        _network(Made(name, ({"class_name": "Generator", "state": state},)), 100_000)


def test_an_import_that_is_interrupted_leaves_nothing_in_the_way(ganzoo, monkeypatch):
    def interrupted(path, value):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ganzoo.runs.imports.write_json", interrupted)
        assert ganzoo("import", SNAPSHOT, "-o", "r").code == 130
    assert not Path("r").exists()
    assert ganzoo("import", SNAPSHOT, "-o", "r").code == 0


def test_an_import_of_other_classes_is_measured_without_them_and_has_no_training_to_film(ganzoo):
    assert ganzoo("import", SNAPSHOT, "-o", "r").code == 0
    asked = ("eval", "r", "--dataset", "mnist", "-n", 50)
    refused = ganzoo(*asked)
    assert (refused.code, "`--labels uniform` measures what needs none" in refused.err) == (2, True)
    assert ganzoo(*asked, "--labels", "uniform", "--metrics", "fid").code == 0
    assert ganzoo(*asked, "--labels", "uniform", "--metrics", "accuracy").code == 2
    filmed = ganzoo("video", "r", "-o", "r.gif")
    assert (filmed.code, "`ganzoo sample r --walk -o walk.gif` films its latents" in filmed.err) == (2, True)
