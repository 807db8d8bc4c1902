"""Checkpoints: whole or not at all, verified, pruned, never code."""

import errno
import json
import os
import pickle
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load

from ganzoo import files
from ganzoo.errors import GanzooError
from ganzoo.runs import weights
from ganzoo.runs.checkpoint import Checkpoints

CPU = torch.device("cpu")


@pytest.fixture
def store(tmp_path):
    return Checkpoints(tmp_path / "checkpoints")


def test_what_is_saved_is_loaded_bit_for_bit(store):
    state = {"w": torch.randn(3, 4), "n": 7, "nested": {"list": [1, 2.5, "x"]}}
    store.save(7, state)
    loaded = store.latest(CPU, say=pytest.fail)
    assert torch.equal(loaded["w"], state["w"])
    assert (loaded["n"], loaded["nested"]) == (7, state["nested"])


def test_the_last_two_and_the_best_are_kept(store):
    for step, score in [(1, 5.0), (2, 3.0), (3, 4.0), (4, 6.0), (5, None)]:
        store.save(step, {}, score)
    assert store.steps() == [2, 4, 5]
    assert store.best() == (2, 3.0)
    assert len(list(store.folder.glob("*.pt"))) == 3


@pytest.mark.parametrize("damage", ["truncate", "flip", "manifest", "missing"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(store, damage):
    store.save(1, {"n": 1})
    store.save(2, {"n": 2})
    path = store.folder / "step-00000002.pt"
    data = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "manifest":
        path.with_suffix(".json").write_text("{")
    else:
        path.unlink()
    said = []
    assert store.latest(CPU, said.append)["n"] == 1
    assert len(said) == 1
    assert "step-00000002" in said[0]


def broke(error):
    def load(*_, **__):
        raise error

    return load


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        ("ganzoo.runs.checkpoint.torch.load", torch.OutOfMemoryError(), "needs more memory than there is on cpu"),
        ("ganzoo.runs.checkpoint.torch.load", MemoryError(), "needs more memory than there is on cpu"),
        ("ganzoo.runs.checkpoint.regular", PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        ("ganzoo.runs.checkpoint.regular", OSError(errno.EIO, "Input/output error"), "cannot be read: Input/output"),
    ],
)
def test_what_cannot_be_read_just_now_is_not_given_up_for_damaged(store, monkeypatch, place, error, message):
    store.save(1, {"n": 1})
    store.save(2, {"n": 2})
    with monkeypatch.context() as patched:
        patched.setattr(place, broke(error))
        with pytest.raises(GanzooError, match=message):
            store.latest(CPU, say=pytest.fail)
    assert store.latest(CPU, say=pytest.fail)["n"] == 2


def test_a_checkpoint_of_a_later_ganzoo_is_kept(store, monkeypatch):
    store.save(1, {"n": 1})
    with monkeypatch.context() as patched:
        patched.setattr("ganzoo.runs.checkpoint.FORMAT", 99)
        store.save(2, {"n": 2})
    with pytest.raises(GanzooError, match="has a format that this version of ganzoo does not read"):
        store.latest(CPU, say=pytest.fail)
    assert store.steps() == [1, 2]


def test_a_damaged_checkpoint_takes_no_good_ones_place(store):
    for step in (1, 2, 3):
        store.save(step, {"n": step})
    path = store.folder / "step-00000003.pt"
    path.write_bytes(path.read_bytes()[:100])
    assert store.latest(CPU, lambda _: None)["n"] == 2
    assert store.steps() == [2]
    store.save(4, {"n": 4})
    assert store.steps() == [2, 4]


def test_where_every_checkpoint_is_damaged_none_is_given_up(store):
    store.save(1, {"n": 1})
    (store.folder / "step-00000001.pt").write_bytes(b"")
    assert store.latest(CPU, lambda _: None) is None
    assert store.steps() == [1]


def test_a_state_without_its_manifest_was_never_finished(store):
    store.save(1, {"n": 1})
    store.save(2, {"n": 2})
    (store.folder / "step-00000002.json").unlink()
    assert store.latest(CPU, say=pytest.fail)["n"] == 1


def test_a_full_disk_leaves_the_last_checkpoint_as_it_was(store, monkeypatch):
    store.save(1, {"n": 1})
    before = sorted(p.name for p in store.folder.iterdir())

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.save(2, {"n": 2})
    assert sorted(p.name for p in store.folder.iterdir()) == before


def test_a_pickle_that_would_run_code_is_refused_unrun(store, tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "trapped"),))

    store.save(1, {"n": 1})
    path = store.folder / "step-00000001.pt"
    path.write_bytes(pickle.dumps({"format": 1, "trap": Trap()}))
    manifest = {"step": 1, "bytes": path.stat().st_size, "sha256": files.digest(path)}
    path.with_suffix(".json").write_text(json.dumps(manifest))
    with pytest.raises(GanzooError, match="is not one of ganzoo's"):
        store.load(1, CPU)
    assert not (tmp_path / "trapped").exists()


def test_a_layer_that_stands_in_two_places_is_kept_twice():
    shared = torch.nn.Embedding(3, 4)
    network = torch.nn.ModuleDict({"one": shared, "two": torch.nn.Sequential(shared)})
    kept = load(weights.pack(network.state_dict(), {}))
    assert kept.keys() == network.state_dict().keys()
    assert all(torch.equal(value, shared.weight) for value in kept.values())


def test_whole_files_leave_nothing_behind_when_the_block_fails(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail():
        with files.whole(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_no_room_is_made_for_more_than_a_file_has(tmp_path, monkeypatch):
    """A limit of all memory is no reason to ask for all memory, which a busy machine does not have."""
    path = tmp_path / "small"
    path.write_bytes(bytes(100))
    assert files.read_bytes(path, 2**62) == bytes(100)
    assert files.read_bytes(path, 100) == bytes(100)
    with pytest.raises(GanzooError, match="larger than 99 bytes"):
        files.read_bytes(path, 99)
    monkeypatch.setattr(files.os, "fstat", lambda handle: SimpleNamespace(st_size=7, st_mode=0o100644))  # It has grown.
    assert files.read_bytes(path, 2**62) == bytes(100)
    with pytest.raises(GanzooError, match="larger than 99 bytes"):
        files.read_bytes(path, 99)
