"""The embedded digits: what they are, and that the cache may be missing, damaged, shared or unwritable."""

import multiprocessing
import os
import time

import ganzoo_plugins.mnist as mnist
import pytest
import torch

from ganzoo.data import DataRequest
from ganzoo.errors import GanzooError
from ganzoo.files import digest

LABELS = "t10k-labels-idx1-ubyte"


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache; returns where the decompressed files go."""
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "MNIST" / "raw"


@pytest.fixture(scope="module", autouse=True)
def filled(tmp_path_factory):
    """A cache with all files, made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield mnist.MNIST.unpack()


def test_both_splits_are_what_lecun_published(filled):
    for split, count, zeros in (("train", 60_000, 5923), ("test", 10_000, 980)):
        data = mnist.MNIST().load(DataRequest(split))
        assert data.images.shape == (count, 1, 28, 28)
        assert data.images.dtype == torch.uint8
        assert data.labels.dtype == torch.int64
        assert (data.labels == 0).sum() == zeros
        assert data.classes == tuple("0123456789")
    assert data.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.images[0, 0, 14].sum() > 0


def test_loading_from_the_cache_is_fast(filled):
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        mnist.MNIST().load(DataRequest())
        best = min(best, time.process_time() - start)
    assert best < 0.5


def test_torchvision_can_read_the_cache(filled):
    from torchvision.datasets import MNIST

    ours = mnist.MNIST().load(DataRequest("test"))
    theirs = MNIST(filled, train=False)
    assert torch.equal(theirs.data, ours.images[:, 0])
    assert torch.equal(theirs.targets, ours.labels)


def test_the_first_load_fills_the_cache(cache):
    mnist.content(LABELS)
    assert [p.name for p in cache.iterdir()] == [LABELS]


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 10_008])
def test_a_damaged_cache_file_is_made_again(cache, damage):
    good = mnist.content(LABELS)
    (cache / LABELS).write_bytes(damage)
    assert mnist.content(LABELS) == good
    assert (cache / LABELS).read_bytes() == good


def test_an_unwritable_cache_is_done_without(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "file" / "cache"))
    assert len(mnist.content(LABELS)) == 10_008
    with pytest.raises(GanzooError, match=r"cannot write .*GANZOO_CACHE"):
        mnist.MNIST.unpack()


def test_a_folder_in_the_place_of_a_cache_file_is_done_without(cache):
    (cache / LABELS / "x").mkdir(parents=True)
    assert len(mnist.content(LABELS)) == 10_008


@pytest.mark.parametrize("damage", ["truncated", "garbage", "other", "missing"])
def test_a_damaged_embedded_file_is_one_line(cache, monkeypatch, tmp_path, damage):
    from importlib import resources

    package = resources.files("ganzoo_plugins.mnist")
    packed = package.joinpath(f"{LABELS}.xz").read_bytes()
    wrong = {
        "truncated": packed[:2000],
        "garbage": b"garbage",
        "other": package.joinpath("train-labels-idx1-ubyte.xz").read_bytes(),
    }
    if damage in wrong:
        (tmp_path / f"{LABELS}.xz").write_bytes(wrong[damage])
    monkeypatch.setattr(mnist.resources, "files", lambda _: tmp_path)
    with pytest.raises(GanzooError, match=rf"{LABELS}\.xz is damaged.*reinstall") as caught:
        mnist.content(LABELS)
    assert "\n" not in str(caught.value)
    assert not cache.exists()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_many_processes_may_start_at_once(cache):
    fork = multiprocessing.get_context("fork")
    together = fork.Barrier(4)

    def work():
        together.wait()
        os._exit(len(mnist.content(LABELS)) != 10_008)

    processes = [fork.Process(target=work) for _ in range(4)]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
    assert [p.exitcode for p in processes] == [0] * 4
    assert digest(cache / LABELS, "md5") == mnist.MD5[LABELS]
    assert [p.name for p in cache.iterdir()] == [LABELS]
