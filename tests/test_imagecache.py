"""Images decoded once: made whole or not at all, found again, made anew when a file has changed."""

import os
import pickle
import re
import shutil
from collections import namedtuple
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganzoo.data import ImageSet, Loader, imagecache
from ganzoo.data.imagefiles import ImageFiles, decoded_once
from ganzoo.errors import GanzooError, UsageError

CPU = torch.device("cpu")


@pytest.fixture
def paths(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (20, 12, 12, 3), np.uint8)
    files = [tmp_path / f"{i:02}.png" for i in range(20)]
    for file, pixels in zip(files, noise, strict=True):
        Image.fromarray(pixels).save(file)
    return files


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("GANZOO_CACHE", str(folder))
    return folder / "images"


@pytest.fixture
def decodings(monkeypatch):
    """The files that were decoded, in the order that it was done."""
    seen = []
    original = ImageFiles._decode
    monkeypatch.setattr(ImageFiles, "_decode", lambda self, i: seen.append(self.paths[i]) or original(self, i))
    return seen


def test_cached_images_are_the_decoded_ones(paths):
    files = ImageFiles(paths, 8, 3)
    mapped = decoded_once(files)
    assert isinstance(mapped, imagecache.Mapped)
    assert torch.equal(torch.stack([mapped[i] for i in range(20)]), files.read_all())


def test_a_second_time_nothing_is_decoded(paths, cache, decodings):
    decoded_once(ImageFiles(paths, 8, 3))
    assert sorted(decodings) == paths
    decoded_once(ImageFiles(paths, 8, 3))
    assert len(decodings) == 20
    assert len(list(cache.iterdir())) == 1


def test_another_size_or_a_changed_file_is_made_anew(paths, cache, decodings):
    decoded_once(ImageFiles(paths, 8, 3))
    decoded_once(ImageFiles(paths, 8, 1))
    Image.new("RGB", (12, 12), "red").save(paths[3])
    os.utime(paths[3], (1, 1))
    assert decoded_once(ImageFiles(paths, 8, 3))[3][0].unique().tolist() == [255]
    assert len(decodings) == 60
    assert len(list(cache.iterdir())) == 3


def test_a_cache_file_that_was_cut_off_is_made_anew(paths, cache):
    expected = decoded_once(ImageFiles(paths, 8, 3))[19].clone()
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(decoded_once(ImageFiles(paths, 8, 3))[19], expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bit_that_flipped_in_the_cache_is_found_when_its_image_is_read(paths, cache, workers, monkeypatch):
    mapped = decoded_once(ImageFiles(paths, 8, 3))
    (file,) = cache.iterdir()
    content = bytearray(file.read_bytes())
    content[7 * 3 * 8 * 8 + 5] ^= 4
    file.write_bytes(content)
    mapped = decoded_once(ImageFiles(paths, 8, 3))
    assert mapped[6].shape == (3, 8, 8)
    complaint = f"image 7 in {file} is damaged; delete that file, and it is made anew"
    with pytest.raises(GanzooError, match=re.escape(complaint)):
        mapped[7]
    monkeypatch.setattr("ganzoo.data.memory.IN_MEMORY_BYTES", 0)
    loader = Loader(ImageSet(mapped), 10, 0, torch.device("cpu"), workers=workers)
    with pytest.raises(GanzooError, match=re.escape(complaint)):
        list(islice(loader.batches(), 2))
    file.unlink()
    assert torch.equal(decoded_once(ImageFiles(paths, 8, 3))[7], ImageFiles(paths, 8, 3).read_all()[7])


def test_a_broken_image_is_named_and_leaves_nothing_behind(paths, cache):
    paths[7].write_bytes(paths[7].read_bytes()[:50])
    with pytest.raises(UsageError, match=r"07\.png"):
        decoded_once(ImageFiles(paths, 8, 3))
    assert list(cache.iterdir()) == []


def test_without_room_the_files_themselves_are_read_and_a_line_says_so(paths, cache, monkeypatch, capsys):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(imagecache.shutil, "disk_usage", lambda folder: usage(10, 9, 1))
    files = ImageFiles(paths, 8, 3)
    assert decoded_once(files) is files
    (line,) = capsys.readouterr().err.splitlines()
    assert "decoded anew in every epoch" in line
    assert "GiB are free" in line


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(paths, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "file"))
    files = ImageFiles(paths, 8, 3)
    assert decoded_once(files) is files
    assert "cannot keep them" in capsys.readouterr().err


def test_a_mapped_dataset_travels_to_another_process_by_name(paths):
    mapped = decoded_once(ImageFiles(paths, 8, 3))
    first = mapped[0]
    packed = pickle.dumps(mapped)
    assert len(packed) < 2000
    assert torch.equal(pickle.loads(packed)[0], first)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_loader_gives_the_same_batches_and_counts_its_waiting(paths, workers, monkeypatch):
    files = ImageFiles(paths, 8, 3)
    resident = Loader(ImageSet(files.read_all()), 6, 0, torch.device("cpu"))
    monkeypatch.setattr("ganzoo.data.memory.IN_MEMORY_BYTES", 0)
    streaming = Loader(ImageSet(decoded_once(files)), 6, 0, torch.device("cpu"), workers=workers)
    for ours, theirs in islice(zip(streaming.batches(), resident.batches(), strict=True), 5):
        assert torch.equal(ours.x, theirs.x)
    assert streaming.waited > 0
    assert resident.waited == 0


@pytest.mark.parametrize("in_cache", [True, False])
def test_other_pictures_in_files_have_another_mark_and_copies_the_same(paths, tmp_path, in_cache):
    def marks(files):
        held = ImageFiles(files, 8, 3)
        return Loader(ImageSet(decoded_once(held) if in_cache else held), 4, 0, CPU, workers=0).marks()

    before = marks(paths)
    assert list(before) == ["decoded" if in_cache else "sizes"]
    (tmp_path / "copies").mkdir()
    assert marks([Path(shutil.copyfile(path, tmp_path / "copies" / path.name)) for path in paths]) == before
    Image.new("RGB", (12, 12)).save(paths[1])
    assert marks(paths) != before


def test_what_lies_in_memory_has_no_mark():
    assert Loader(ImageSet(torch.zeros(8, 1, 8, 8, dtype=torch.uint8)), 4, 0, CPU).marks() == {}
