"""Files from strangers: nothing in them is executed, followed out of its folder, or believed about its size."""

import io
import json
import os
import pickle
import re
import shutil
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import torch

from ganzoo import files
from ganzoo.errors import GanzooError, UsageError
from ganzoo.runs.checkpoint import Checkpoints, _backed
from ganzoo.runs.folder import read_metrics


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of two steps, made once."""
    from ganzoo.launch import start
    from ganzoo.plugins import registry
    from ganzoo.settings import resolve

    folder = tmp_path_factory.mktemp("hostile") / "r"
    plan = resolve(
        registry().get("models", "tiny"),
        {"dataset": "small-digits", "batch_size": 32, "loggers": (), "steps": 2, "sample_interval": 1},
    )
    start(plan, registry(), folder)
    return folder


@pytest.fixture
def run(made, ganzoo, tmp_path):
    """A copy of it to spoil."""
    shutil.copytree(made, tmp_path / "r")
    return tmp_path / "r"


@pytest.fixture
def trap(tmp_path):
    """A pickle that makes a folder when it is loaded, and that folder."""

    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "trapped"),))

    pickle.loads(pickle.dumps(Trap()))
    assert (tmp_path / "trapped").exists(), "the trap works"
    (tmp_path / "trapped").rmdir()
    return Trap(), tmp_path / "trapped"


def seal(path):
    """Write the manifest that makes a file pass for a checkpoint."""
    manifest = {"step": 2, "bytes": path.stat().st_size, "sha256": files.digest(path)}
    path.with_suffix(".json").write_text(json.dumps(manifest))


def edit(path, **changes):
    info = json.loads(path.read_text())
    for key, value in changes.items():
        if isinstance(value, dict):
            info[key] |= value
        else:
            info[key] = value
    path.write_text(json.dumps(info))


# Nothing is executed


@pytest.mark.parametrize("form", ["torch", "legacy", "plain"])
def test_a_checkpoint_that_is_code_is_refused_unrun(ganzoo, run, trap, form):
    value, trapped = trap
    path = run / "checkpoints" / "step-00000002.pt"
    if form == "plain":
        path.write_bytes(pickle.dumps({"format": 1, "step": value}))
    else:
        torch.save({"format": 1, "step": value}, path, _use_new_zipfile_serialization=form == "torch")
    seal(path)
    result = ganzoo("resume", "r", "--steps", 4)
    assert result.code == 1
    assert "is not one of ganzoo's" in result.err
    assert not trapped.exists()


@pytest.mark.parametrize("name", ["generator.safetensors", "config.json", "run.json"])
def test_a_run_whose_files_are_code_is_refused_unrun(ganzoo, run, trap, name):
    value, trapped = trap
    (run / name).write_bytes(pickle.dumps(value))
    for command in (("sample", "r"), ("resume", "r"), ("eval", "r", "--dataset", "small-digits", "--n", 10)):
        result = ganzoo(*command)
        assert result.code in (0, 1, 2)
        assert not trapped.exists()


def test_images_that_are_code_are_refused_unrun(ganzoo, tmp_path, trap):
    value, trapped = trap
    np.savez(tmp_path / "a.npz", images=np.array([value] * 10, dtype=object), allow_pickle=True)
    (tmp_path / "b.npz").write_bytes(pickle.dumps(value))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "0.png").write_bytes(pickle.dumps(value))
    (tmp_path / "c.safetensors").write_bytes(pickle.dumps(value))
    for what in ("a.npz", "b.npz", "pictures"):
        assert ganzoo("eval", what, "--dataset", "small-digits").code == 2
    (tmp_path / "d.npz").unlink(missing_ok=True)
    np.savez(tmp_path / "d.npz", images=np.zeros((10, 8, 8), np.uint8))
    assert ganzoo("eval", "d.npz", "--dataset", "small-digits", "--features", "c.safetensors").code == 2
    assert not trapped.exists()


def test_a_plugin_that_a_file_names_is_not_imported(ganzoo, run, tmp_path, monkeypatch):
    (tmp_path / "wicked.py").write_text("open('imported', 'w')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    edit(run / "run.json", plugin={"package": "wicked", "module": "wicked"})
    assert ganzoo("resume", "r", "--steps", 3).code == 0
    edit(run / "run.json", model="wicked")
    edit(run / "config.json", model="wicked")
    for command in (("resume", "r"), ("sample", "r"), ("run", "--config", "r/run.json", "--dry-run")):
        assert ganzoo(*command).code == 2
    edit(run / "run.json", model="tiny", settings={"dataset": "wicked", "loggers": ["wicked"]})
    assert ganzoo("resume", "r").code == 2
    assert "wicked" not in sys.modules
    assert not (tmp_path / "imported").exists()


# Nothing leads out of its folder


@pytest.mark.parametrize("name", [".lock", "metrics.jsonl", "samples", "checkpoints", "tensorboard"])
def test_a_link_out_of_the_run_directory_is_not_written_through(ganzoo, run, tmp_path, name):
    outside = tmp_path / "outside"
    there = run / name
    if there.is_dir() or name == "tensorboard":
        outside.mkdir()
        (outside / "step-00000001.json").write_text("mine")
        if there.exists():
            shutil.rmtree(there)
    else:
        outside.write_text("mine")
        there.unlink(missing_ok=True)
    there.symlink_to(outside)
    result = ganzoo("resume", "r", "--steps", 4)
    assert result.code == 1
    assert f"{name} is a link that leads out of the folder" in result.err
    kept = outside / "step-00000001.json" if outside.is_dir() else outside
    assert kept.read_text() == "mine"


# Nothing is believed about its size


def swollen(path, size=2**30):
    """A file of a GB that takes no room: its end alone was written."""
    with path.open("r+b") as file:
        file.truncate(size)


@pytest.mark.parametrize("name", ["run.json", "config.json", "checkpoints/step-00000002.json"])
def test_json_of_a_gigabyte_is_not_read(ganzoo, run, name, monkeypatch):
    swollen(run / name)
    real, most = json.loads, []
    monkeypatch.setattr(
        "ganzoo.files.json.loads", lambda data, **options: most.append(len(data)) or real(data, **options)
    )
    result = ganzoo(*(("sample", "r") if name == "config.json" else ("resume", "r", "--steps", 3)))
    assert result.code == 1
    assert "is larger than" in result.err
    assert max(most, default=0) < 2**20


def test_a_file_that_never_ends_is_not_read_to_its_end(ganzoo):
    assert ganzoo("run", "tiny", "--config", "/dev/zero", "--dry-run").code in (1, 2)


def test_json_and_toml_that_are_nested_too_deeply_are_refused(ganzoo, tmp_path):
    (tmp_path / "a.json").write_text("[" * 200_000)
    (tmp_path / "a.toml").write_text("a=" + "[" * 50_000)
    for name in ("a.json", "a.toml"):
        result = ganzoo("run", "tiny", "--config", name)
        assert result.code in (1, 2)
        assert "GANZOO_TRACEBACK" not in result.err


def test_a_log_that_is_one_endless_line_is_passed_over(run):
    before = read_metrics(run)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "junk": "' + "x" * 2**20 + '"}\n')
        file.write("[" * 60_000 + "\n")
        file.write('{"step": 3, "generator_loss": [1]}\n')
        file.write('{"step": "3"}\n')
    assert read_metrics(run) == before


@pytest.mark.parametrize("damage", ["compressed", "stride"])
def test_a_checkpoint_that_would_swell_is_refused(tmp_path, damage):
    store = Checkpoints(tmp_path / "checkpoints")
    store.save(2, {"w": torch.zeros(1).expand(10**12) if damage == "stride" else torch.zeros(10**6)})
    path = store.folder / "step-00000002.pt"
    if damage == "compressed":
        packed = io.BytesIO()
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                new.writestr(name, old.read(name))
        path.write_bytes(packed.getvalue())
        assert path.stat().st_size < 10**5
    seal(path)
    with pytest.raises(GanzooError, match="is not one of ganzoo's"):
        store.load(2, torch.device("cpu"))


def test_weights_of_another_shape_are_refused_before_they_are_read(ganzoo, run):
    header = json.dumps({"layers.0.weight": {"dtype": "F32", "shape": [2**40, 2**10], "data_offsets": [0, 4]}}).encode()
    (run / "generator.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    result = ganzoo("sample", "r")
    assert result.code == 1
    assert "is damaged" in result.err


@pytest.mark.parametrize(
    "changes", [{"shape": [3, 10**9, 10**9]}, {"shape": [-1, 8, 8]}, {"classes": [str(i) for i in range(200_000)]}]
)
def test_a_description_of_absurd_data_is_refused(ganzoo, run, changes):
    edit(run / "config.json", data=changes)
    assert ganzoo("sample", "r").code == 2


def test_a_model_that_no_memory_holds_is_refused_unbuilt(ganzoo, run, monkeypatch):
    monkeypatch.setattr("ganzoo.files.os.sysconf", lambda name: 100)
    result = ganzoo("sample", "r")
    assert result.code == 1
    assert "more than this machine's memory" in result.err


def test_a_giant_whose_weights_are_drawn_in_every_manner_is_outlined_without_memory_or_compiler():
    code = """
import sys, torch
from torch import nn
import ganzoo
from ganzoo.data import DataSpec
from ganzoo.errors import GanzooError
from ganzoo.training.building import refuse_giants

class Giant(ganzoo.GAN):
    name = "giant"
    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator = nn.Linear(10**7, 10**7)
        self.discriminator = nn.Linear(10**7, 10**7)
        for draw in (nn.init.normal_, nn.init.xavier_uniform_, nn.init.trunc_normal_):
            draw(self.generator.weight)
        self.generator.weight.data.normal_().mul_(2).clamp_(-1, 1)
        self.discriminator.weight.data.copy_(self.generator.weight.data)
        self.generator.bias.data.unsqueeze_(0)

try:
    refuse_giants(Giant, DataSpec("digits", (1, 8, 8), 10), ganzoo.Options())
except GanzooError as error:
    print(error)
sys.exit("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "its weights take 800,000 GB, more than this machine's memory" in done.stdout


def test_the_outline_of_every_shipped_model_is_that_of_the_model_and_needs_no_compiler():
    code = """
import sys
from dataclasses import replace
from ganzoo.data import DataSpec
from ganzoo.plugins import registry
from ganzoo.training.building import build, refuse_giants

known, plain = registry().check(), DataSpec("digits", (3, 32, 32), 10, ("a", "b", "c"))

def data(cls):
    if not cls.translates or cls.own_sources:
        return plain
    side = 8 if "sr" in cls.name else 32
    sourced = replace(plain, source_shape=(3, side, side))
    return replace(sourced, paired=False, source_labels=True) if cls.name == "pixelda" else sourced

shipped = [known.get("models", n) for n in known.names("models") if known.provider("models", n).package == "ganzoo"]
outlines = {cls: refuse_giants(cls, data(cls), cls.Options()) for cls in shipped}
print(*(name for name in ("torch._dynamo", "sympy") if name in sys.modules))

def shapes(gan):
    return {name: (t.shape, t.dtype) for name, t in (*gan.named_parameters(), *gan.named_buffers())}

for cls, outline in outlines.items():
    if outline is None or shapes(outline) != shapes(build(cls, data(cls), cls.Options())):
        print(cls.name)
print(len(outlines))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imported, *different, count = done.stdout.splitlines()
    assert (imported, different) == ("", [])
    assert int(count) >= 12


def test_a_model_of_many_weights_is_told_of_before_it_takes_memory(ganzoo, monkeypatch):
    def build(*_):
        raise GanzooError("now it is built")

    monkeypatch.setattr("ganzoo.preparing.build", build)
    result = ganzoo("run", "gan", "--dataset", "small-digits", "--image-size", 256, "--channels", 3, "--out", "r")
    assert result.err.splitlines() == [
        "note: model 'gan' has 202 million weights for small-digits (3, 256, 256): training takes about 3.6 GB for "
        "them; smaller: --image-size 128 (51 million)",
        "error: now it is built",
    ]
    assert "million" not in ganzoo("run", "gan", "--dataset", "small-digits", "--out", "r").err


def test_options_that_make_a_model_smaller_are_named_best_first(monkeypatch):
    from pydantic import Field
    from torch import nn

    import ganzoo as zoo
    from ganzoo.data import DataSpec
    from ganzoo.training.building import forewarning, refuse_giants

    class Wide(zoo.GAN):
        """Squares of a width."""

        name = "wide"

        class Options(zoo.Options):
            width: int = Field(400, ge=1, description="Units.")
            depth: int = Field(1, ge=1, description="Half of it is refused.")

        def __init__(self, data, options):
            super().__init__(data, options)
            self.generator = nn.Linear(options.width, options.width, bias=False)
            self.discriminator = nn.Linear(options.width, options.latent_dim * 4, bias=False)

    spec, options = DataSpec("points", (2,), 10), Wide.Options()
    outline = refuse_giants(Wide, spec, options)
    monkeypatch.setattr("ganzoo.training.building.MANY", 400 * 400 + 400 * 400 + 1)
    assert forewarning(outline, spec, options) is None
    monkeypatch.setattr("ganzoo.training.building.MANY", 400 * 400 + 400 * 400)
    said = forewarning(outline, spec, options)
    assert said.endswith("about 0.0 GB for them; smaller: --width 200 (0 million), --latent-dim 50 (0 million)")


def test_loading_sampling_and_training_import_no_compiler(made, tmp_path):
    """Nor does a run that is recorded, or one by another optimizer: the import takes longer than many a short run."""
    code = """
import sys, ganzoo
ganzoo.load(sys.argv[1]).sample(2)
imported = ["loading"] * ("torch._dynamo" in sys.modules)
for model in ("tiny", "wgan"):
    for engine in ("eager", "graph"):
        options = {"dataset": "small-digits", "batch_size": 32, "loggers": (), "progress": False, "engine": engine}
        ganzoo.train(model, out=f"{model}-{engine}", steps=2, **options)
        imported += [f"{model}, {engine}"] * ("torch._dynamo" in sys.modules)
print(imported)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(made)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def npz(path, shape, body=b"", kind="|u1"):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": kind, "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", header.getvalue() + body)


def test_an_archive_that_claims_more_than_it_holds_is_refused(tmp_path):
    from ganzoo.metrics.images import read_images

    npz(tmp_path / "a.npz", (10**9, 28, 28))
    with pytest.raises(UsageError, match="more than the archive says it holds"):
        read_images(tmp_path / "a.npz")
    npz(tmp_path / "b.npz", (2**62, 2**62, 8))
    with pytest.raises(UsageError, match=r"b\.npz"):
        read_images(tmp_path / "b.npz")


def test_a_small_archive_of_a_huge_array_is_refused(tmp_path, monkeypatch):
    from ganzoo.data import arrays

    monkeypatch.setattr(arrays, "LARGEST", 2**20)
    npz(tmp_path / "bomb.npz", (2000, 32, 32), bytes(2000 * 32 * 32))
    assert (tmp_path / "bomb.npz").stat().st_size < 10_000
    with pytest.raises(UsageError, match="more than 1,048,576"):
        arrays.read_npz(tmp_path / "bomb.npz")


def test_a_picture_that_is_a_bomb_is_refused_undecoded(ganzoo, tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    result = ganzoo("run", "plain", "--dataset", "folder", "--data-root", "pictures", "--image-size", 8, "--out", "x")
    assert result.code == 2
    assert "decompression bomb" in result.err


def test_a_classifier_that_claims_to_be_large_is_refused_unbuilt(tmp_path):
    from safetensors.torch import save

    from ganzoo.metrics.classifier import Trained

    about = json.dumps({"format": 1, "shape": [3, 1024, 10, 1024, 8192], "classes": list("0123456789")})
    (tmp_path / "a.safetensors").write_bytes(save({"x": torch.zeros(1)}, {"ganzoo-classifier": about}))
    with pytest.raises(UsageError, match="needs more than the file holds"):
        Trained(tmp_path / "a.safetensors")


# Checkpoints that are whole, and still not ours


def entries(path):
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def packed(path, contents):
    """Write an archive as torch does, and the manifest that makes it pass."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    seal(path)


@pytest.fixture
def one(tmp_path):
    """A checkpoint of step 2, and its file."""
    store = Checkpoints(tmp_path / "checkpoints")
    store.save(2, {"w": torch.arange(1000.0), "random": [torch.zeros(3), (1, 2)]})
    return store, store.folder / "step-00000002.pt"


def assert_refused(store, match="is not one of ganzoo's"):
    with pytest.raises(GanzooError, match=match):
        store.load(2, torch.device("cpu"))


def test_what_torch_writes_passes_when_it_is_packed_anew(one):
    store, path = one
    packed(path, entries(path))
    assert torch.equal(store.load(2, torch.device("cpu"))["w"], torch.arange(1000.0))


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
        b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x02(ios\nsystem\n.",
    ],
)
def test_a_pickle_that_names_anything_else_is_refused_before_torch_sees_it(one, monkeypatch, pickled):
    store, path = one
    packed(path, {name: pickled if name.endswith("data.pkl") else data for name, data in entries(path).items()})
    monkeypatch.setattr("ganzoo.runs.checkpoint.torch.load", lambda *_, **__: pytest.fail("torch saw it"))
    assert_refused(store)


def test_parts_of_an_archive_that_overlap_are_refused(one, monkeypatch):
    store, path = one
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        offset = next(i.header_offset for i in archive.infolist() if i.filename.endswith("data/0"))
    name = b"archive/data/1"
    at = data.rindex(name) - 46  # Its entry in the directory: there, the offset is 4 bytes before the name.
    path.write_bytes(data[: at + 42] + struct.pack("<I", offset) + data[at + 46 :])
    seal(path)
    monkeypatch.setattr("ganzoo.runs.checkpoint.torch.load", lambda *_, **__: pytest.fail("torch saw it"))
    assert_refused(store)


def test_a_tensor_that_is_larger_than_its_part_of_the_file_is_refused(one):
    store, path = one
    contents = entries(path)
    name = next(name for name in contents if name.endswith("data.pkl"))
    assert contents[name].count(struct.pack("<H", 1000)) == 2  # Of the storage and of the tensor.
    contents[name] = contents[name].replace(b"M" + struct.pack("<H", 1000), b"J" + struct.pack("<i", 2**30))
    packed(path, contents)
    assert_refused(store)


def test_lists_that_share_lists_are_not_walked_through_for_ever(one, monkeypatch):
    store, _ = one
    monkeypatch.setattr("ganzoo.runs.checkpoint.MOST_VALUES", 10_000)
    shared = []
    for _ in range(60):
        shared = [shared, shared]
    store.save(2, {"random": shared})
    assert_refused(store)


def test_a_list_that_holds_itself_many_times_takes_no_memory(monkeypatch):
    monkeypatch.setattr("ganzoo.runs.checkpoint.MOST_VALUES", 1_000)
    itself: list = []
    itself.extend([itself] * 20_000)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than 1,000 values"):
            _backed({"x": itself}, 100)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
        itself.clear()


def test_a_checkpoint_larger_than_memory_is_refused_unread(one, monkeypatch):
    store, path = one
    swollen(path, 2**40)
    manifest = {"step": 2, "bytes": 2**40, "sha256": "0" * 64}
    path.with_suffix(".json").write_text(json.dumps(manifest))
    assert_refused(store, "more than this machine's memory")


SPOILT = {
    "random": 5, "meter": {"names": ["a"], "first_step": 1, "rows": "x"}, "elapsed": float("nan"), "step": -5,
    "gan": None, "ema": [], "optimizers": {"generator": {"state": {0: []}, "param_groups": []}}, "others": [7],
}  # fmt: skip


@pytest.mark.parametrize("key", [*SPOILT, "position", "exp_avg"])
def test_contents_behind_a_good_checksum_are_looked_at(ganzoo, run, key):
    """The checkpoint is said to be damaged, or not to fit; where there is one before it, that one is taken."""
    store = Checkpoints(run / "checkpoints")
    before = store.load(2, torch.device("cpu"))
    state = store.load(2, torch.device("cpu"))
    del state["format"]
    if key == "position":  # numpy would read beyond its own memory.
        state["random"]["numpy"][2] = 10**6
    elif key == "exp_avg":  # So would a fused step.
        state["optimizers"]["generator"]["state"][0]["exp_avg"] = torch.zeros(1)
    else:
        state[key] = SPOILT[key]
    store.save(3, state | ({"step": 3} if key != "step" else {}))
    result = ganzoo("resume", "r", "--steps", 4, "--quiet")
    assert "GANZOO_TRACEBACK" not in result.err
    if key == "exp_avg":
        assert result.code == 1
        assert "does not fit its run.json" in result.err
    else:
        assert result.code == 0, result.err
        assert "step-00000003.pt is damaged" in result.err
        assert store.load(4, torch.device("cpu"))["elapsed"] >= before["elapsed"]


def test_a_bit_that_flips_in_the_generator_is_noticed_and_mended(ganzoo, run):
    path = run / "generator.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    result = ganzoo("sample", "r", "-n", 2, "-o", "a.png")
    assert result.code == 1
    assert "its checksum is not the one" in result.err
    assert ganzoo("resume", "r", "--quiet").code == 0
    assert ganzoo("sample", "r", "-n", 2, "-o", "a.png").code == 0


# What is read is a file, and in its folder


ENDLESS = ["fifo", "/dev/zero"]


def endless(path, kind):
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(kind)


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize(
    "name", ["run.json", "metrics.jsonl", "status.json", "config.json", "checkpoints/best.json",
             "checkpoints/step-00000002.json", "checkpoints/step-00000002.pt", "generator.safetensors"],
)  # fmt: skip
def test_a_pipe_or_a_device_is_not_waited_for(ganzoo, run, name, kind):
    endless(run / name, kind)
    for command in (("sample", "r", "-n", 2), ("compare", "r", "-o", "a.json"), ("resume", "r", "--quiet")):
        result = ganzoo(*command)
        assert result.code in (0, 1, 2)
        assert "GANZOO_TRACEBACK" not in result.err
        if kind != "fifo":
            assert "leads out of the folder" in result.err or "run.json" in result.err or result.code == 2


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_picture_or_a_classifier_that_never_ends_is_refused(ganzoo, tmp_path, kind):
    (tmp_path / "pictures").mkdir()
    endless(tmp_path / "pictures" / "0.png", kind)
    endless(tmp_path / "c.safetensors", kind)
    np.savez(tmp_path / "d.npz", images=np.zeros((10, 8, 8), np.uint8))
    for command in (("pictures",), ("d.npz", "--features", "c.safetensors")):
        result = ganzoo("eval", *command, "--dataset", "small-digits")
        assert result.code == 2, result.err
    assert "not a regular file" in result.err or kind == "fifo"


def test_a_log_is_read_up_to_a_limit(run, monkeypatch):
    monkeypatch.setattr("ganzoo.runs.folder.LONGEST_LOG", 1000)
    (run / "metrics.jsonl").write_text("{}\n" * 1000 + '{"step": 3}\n')
    assert read_metrics(run) == []


@pytest.mark.parametrize(
    "command", [("sample", "r", "-o", "a.png"), ("eval", "r", "--n", 10), ("export", "r", "-o", "a.safetensors"),
                ("demo", "r", "--no-browser", "--port", 0), ("compare", "r", "-o", "a.html")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["outside", "circle"])
def test_a_link_out_of_the_run_directory_is_not_read_through(ganzoo, run, tmp_path, command, kind):
    (tmp_path / "secret.png").write_text("mine")
    (run / "samples" / "9.png").symlink_to(tmp_path / "secret.png" if kind == "outside" else run / "samples" / "9.png")
    result = ganzoo(*command)
    assert result.code == 1
    assert f"9.png is a link that leads {'out of the folder' if kind == 'outside' else 'in a circle'}" in result.err
    assert len(result.err.splitlines()) == 1


# Arrays and pictures


def test_the_header_of_an_array_is_measured_before_it_is_read(tmp_path):
    from ganzoo.metrics.images import read_images

    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**24) + b" " * 2**24)
    with pytest.raises(UsageError, match="header of an array takes more"):
        read_images(tmp_path / "a.npz")


def test_a_picture_in_another_format_is_not_decoded_whatever_its_name(ganzoo, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "0.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n")
    result = ganzoo("eval", "pictures", "--dataset", "small-digits")
    assert result.code == 2
    assert "its format cannot be told" in result.err


def test_a_model_of_other_weights_than_the_file_is_refused_unbuilt(ganzoo, run, monkeypatch):
    edit(run / "config.json", options={"latent_dim": 9})
    built = []
    real = torch.nn.Linear.__init__

    def spy(self, inputs, outputs, *rest, **options):
        real(self, inputs, outputs, *rest, **options)
        built.append(self.weight.device.type)

    monkeypatch.setattr(torch.nn.Linear, "__init__", spy)
    result = ganzoo("sample", "r")
    assert result.code == 1
    assert "its tensors are not the generator's" in result.err
    assert set(built) == {"meta"}


# What is shown


@pytest.mark.parametrize("name", ["\ud800", "a\x1b]0;owned\x07b", "a\nb"])
def test_names_from_files_are_shown_without_what_a_terminal_obeys(ganzoo, run, name):
    edit(run / "run.json", model=name)
    edit(run / "config.json", model=name)
    for command in (("resume", "r"), ("sample", "r"), ("compare", "r", "-o", "a.md"), ("export", "r")):
        result = ganzoo(*command)
        assert result.code in (0, 1, 2)
        assert not set(result.out + result.err) & {"\x1b", "\x07", "\ud800"}
        assert "GANZOO_TRACEBACK" not in result.err


def test_numbers_that_are_none_are_not_json(ganzoo, run):
    for word in ("NaN", "Infinity", "-Infinity"):
        (run / "run.json").write_text('{"model": "tiny", "steps": ' + word + "}")
        result = ganzoo("resume", "r")
        assert result.code == 1
        assert f"{word} is not a number" in result.err


def test_a_step_that_is_no_number_is_none(run):
    from safetensors.torch import load_file, save_file

    from ganzoo.runs.sampler import step_of

    tensors = load_file(run / "generator.safetensors")
    for text in ("²", "٣", "9" * 5000, "", "-1"):
        save_file(tensors, run / "generator.safetensors", {"step": text})
        assert step_of(run) is None


# Options from a file are those of the command line


@pytest.mark.parametrize(
    ("part", "changes", "says"),
    [
        ("settings", {"steps": -1}, "--steps"),
        ("settings", {"workers": 10**6}, "--workers"),
        ("settings", {"checkpoint_interval": "often"}, "--checkpoint-interval"),
        ("settings", {"data_root": "a\0b"}, "data-root"),
        ("options", {"n_critic": 10**9}, "--n-critic"),
        ("options", {"batch_size": [64]}, "--batch-size"),
        ("options", {"unheard_of": 1}, "unheard_of"),
    ],
)
def test_options_in_a_run_file_are_validated(ganzoo, run, part, changes, says):
    edit(run / "run.json", **{part: changes})
    for command in (("resume", "r"), ("run", "--config", "r/run.json", "--dry-run")):
        result = ganzoo(*command)
        assert result.code == 2
        assert re.search(says, result.err)
        assert len(result.err.splitlines()) == 1
