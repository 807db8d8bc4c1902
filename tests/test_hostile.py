"""Files from strangers: nothing in them is executed, followed out of its folder, or believed about its size."""

import io
import json
import os
import pickle
import re
import shutil
import struct
import sys
import zipfile
import zlib

import numpy as np
import pytest
import torch

from ganzoo import files
from ganzoo.checkpoint import Checkpoints
from ganzoo.errors import GanzooError, UsageError
from ganzoo.run import read_metrics


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
    monkeypatch.setattr("ganzoo.files.json.loads", lambda data: most.append(len(data)) or real(data))
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
    assert "is damaged or does not fit" in result.err


@pytest.mark.parametrize(
    "changes", [{"shape": [3, 10**9, 10**9]}, {"shape": [-1, 8, 8]}, {"classes": [str(i) for i in range(200_000)]}]
)
def test_a_description_of_absurd_data_is_refused(ganzoo, run, changes):
    edit(run / "config.json", data=changes)
    assert ganzoo("sample", "r").code == 2


def test_a_model_that_no_memory_holds_is_refused_unbuilt(ganzoo, run, monkeypatch):
    monkeypatch.setattr("ganzoo.launch.os.sysconf", lambda name: 100)
    result = ganzoo("sample", "r")
    assert result.code == 1
    assert "more than this machine's memory" in result.err


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
    from ganzoo.metrics import images

    monkeypatch.setattr(images, "LARGEST", 2**20)
    npz(tmp_path / "bomb.npz", (2000, 32, 32), bytes(2000 * 32 * 32))
    assert (tmp_path / "bomb.npz").stat().st_size < 10_000
    with pytest.raises(UsageError, match="more than 1,048,576"):
        images.read_images(tmp_path / "bomb.npz")


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
        ("options", {"lr": 1e400}, "not valid JSON|--lr"),
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
