"""What lives on the device follows from the memory that is free, and changes no batch."""

from itertools import islice

import pytest
import torch
from PIL import Image

from ganzoo.data import ImageSet, Loader, memory
from ganzoo.data.imagecache import Mapped
from ganzoo.data.imagefiles import ImageFiles, decoded_once
from ganzoo.data.loader import sent
from ganzoo.errors import GanzooError

CPU = torch.device("cpu")


@pytest.fixture
def mapped(tmp_path, monkeypatch) -> Mapped:
    """Ten pictures in the cache, as CelebA's are."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    draw = torch.Generator().manual_seed(0)
    for i in range(10):
        pixels = torch.randint(256, (8, 8, 3), dtype=torch.uint8, generator=draw)
        Image.fromarray(pixels.numpy()).save(tmp_path / f"{i}.png")
    found = decoded_once(ImageFiles([tmp_path / f"{i}.png" for i in range(10)], 8, 3))
    assert isinstance(found, Mapped)
    return found


def test_a_cached_set_that_fits_is_resident_and_gives_the_batches_that_it_streams(mapped, monkeypatch):
    data = ImageSet(mapped, torch.arange(10))
    resident = Loader(data, 4, 0, CPU, workers=0)
    assert resident.resident
    assert resident.images.shape == (10, 3, 8, 8)
    monkeypatch.setattr(memory, "available", lambda: 4 * mapped.nbytes - 4)
    streamed = Loader(data, 4, 0, CPU, workers=0)
    assert not streamed.resident
    for a, b in islice(zip(resident.batches(), streamed.batches(), strict=False), 5):
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.y, b.y)
    assert resident.checksum() == streamed.checksum()  # A resumed run finds the same data, whatever is free then.


def test_blocks_end_where_the_set_does(mapped, monkeypatch):
    monkeypatch.setattr("ganzoo.data.imagecache.BLOCK", 4)
    assert torch.equal(mapped.onto(CPU), torch.stack([mapped[i] for i in range(10)]))


def test_a_damaged_image_is_named_before_training(mapped):
    content = bytearray(mapped.path.read_bytes())
    content[3 * 64 * 4] ^= 1
    mapped.path.write_bytes(content)
    with pytest.raises(GanzooError, match=r"image 4 in .* is damaged"):
        Loader(ImageSet(mapped), 4, 0, CPU, workers=0)


def test_room_is_a_share_of_what_is_free_and_never_more_than_the_limit(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1000)
    assert memory.room() == memory.room(CPU) == 250
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (600, 8000))
    assert memory.room(torch.device("cuda", 0)) == 300
    monkeypatch.setattr(memory, "IN_MEMORY_BYTES", 100)
    assert memory.room() == memory.room(torch.device("cuda", 0)) == 100


def test_a_containers_limit_counts_and_pages_that_are_given_up_do_not(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    machine = memory.available()
    assert 2**20 < machine <= memory.memory()
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 700000\ninactive_file 200000\n")
    assert memory.available() == 300_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() > 2**20


def test_numbers_are_sent_to_a_gpu_from_pinned_memory_and_nobody_waits():
    told = []

    class Numbers:
        def pin_memory(self):
            told.append("pinned")
            return self

        def to(self, device, non_blocking=False):
            told.append((device.type, non_blocking))
            return self

    sent(Numbers(), torch.device("cuda", 0))
    sent(Numbers(), CPU)
    assert told == ["pinned", ("cuda", True), ("cpu", True)]
