"""A user's own images: layouts, formats, and everything that can be wrong with them."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from ganzoo_plugins.folder import Folder
from PIL import Image

from ganzoo.data import DataRequest, ImageSet, Loader, open_dataset
from ganzoo.data.imagefiles import ImageFiles
from ganzoo.errors import UsageError

RED, BLUE = (200, 10, 10), (10, 10, 200)


def paint(path: Path, colour=RED, size=(16, 16), mode="RGB", **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)
    return path


def load(root, **request):
    return open_dataset(Folder(), DataRequest(root=root, **request))


def pixel(images) -> list[int]:
    """The value that all pixels of the first image have."""
    flat = images[0].flatten(1)
    assert (flat == flat[:, :1]).all()
    return flat[:, 0].tolist()


@pytest.fixture
def pets(tmp_path):
    for name, colour in (("dog", BLUE), ("cat", RED)):
        for i in range(3):
            paint(tmp_path / name / f"{i}.png", colour)
    return tmp_path


# Layouts


def test_subfolders_are_classes_sorted_by_name(pets):
    found = load(pets)
    assert found.classes == ("cat", "dog")
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert pixel(found.images) == list(RED)
    assert pixel(found.images.flip(0)) == list(BLUE)


def test_a_flat_folder_has_no_condition(tmp_path):
    paint(tmp_path / "b.png")
    paint(tmp_path / "a.JPG", BLUE, quality=100)
    found = load(tmp_path)
    assert found.labels is None
    assert not found.spec("folder").conditional
    assert len(found) == 2
    assert found.images[0, 2].min() > 150  # Sorted by name.


def test_images_deeper_down_belong_to_the_topmost_folder(pets):
    paint(pets / "dog" / "puppies" / "small" / "x.png")
    assert load(pets).labels.tolist() == [0] * 3 + [1] * 4


def test_hidden_and_other_files_and_empty_folders_are_left_out(pets):
    (pets / "README.txt").write_text("pets")
    (pets / "empty").mkdir()
    (pets / "cat" / "._0.png").write_bytes(b"rubbish")
    (pets / ".thumbnails").mkdir()
    (pets / ".thumbnails" / "0.png").write_bytes(b"rubbish")
    found = load(pets)
    assert found.classes == ("cat", "dog")
    assert len(found) == 6


def test_images_beside_class_folders_are_refused(pets):
    paint(pets / "odd.png")
    with pytest.raises(UsageError, match=r"odd\.png.*beside folders of images \(cat"):
        load(pets)


def test_links_to_folders_are_not_followed(pets, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    paint(elsewhere / "x.png")
    (pets / "zebra").symlink_to(elsewhere)
    (pets / "cat" / "loop").symlink_to(pets)
    found = load(pets)
    assert found.classes == ("cat", "dog")
    assert len(found) == 6


def test_a_folder_of_nothing_but_links_is_told(tmp_path):
    (tmp_path / "x" / "data").mkdir(parents=True)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "cats").symlink_to(tmp_path / "x")
    with pytest.raises(UsageError, match=r"links to folders \(cats, ...\) are not followed"):
        load(tmp_path / "root")


def test_links_to_files_are_read(pets):
    (pets / "cat" / "link.png").symlink_to(pets / "dog" / "0.png")
    assert len(load(pets)) == 7


def test_both_splits_are_all_images_without_train_and_test(pets):
    assert torch.equal(load(pets, split="test").images, load(pets).images)


def test_train_and_test_folders_are_the_splits(tmp_path):
    for name in ("cat", "dog"):
        paint(tmp_path / "train" / name / "0.png")
    paint(tmp_path / "test" / "dog" / "0.png", 7, mode="L")
    train, test = load(tmp_path), load(tmp_path, split="test")
    assert train.classes == test.classes == ("cat", "dog")
    assert test.labels.tolist() == [1]
    assert test.spec("folder").shape == train.spec("folder").shape == (3, 16, 16)


def test_a_class_that_is_only_in_test_is_refused(tmp_path):
    paint(tmp_path / "train" / "cat" / "0.png")
    paint(tmp_path / "test" / "emu" / "0.png")
    with pytest.raises(UsageError, match=r"classes that are not in .*train: emu"):
        load(tmp_path, split="test")


def test_splits_of_different_layouts_are_refused(tmp_path):
    paint(tmp_path / "train" / "cat" / "0.png")
    paint(tmp_path / "test" / "0.png")
    with pytest.raises(UsageError, match="one has a folder for each class"):
        load(tmp_path, split="test")


# Size and colour


def test_small_squares_of_one_size_keep_it(tmp_path):
    paint(tmp_path / "a.png", size=(20, 20))
    assert load(tmp_path).images.shape == (1, 3, 20, 20)


@pytest.mark.parametrize("sizes", [[(20, 20), (24, 24)], [(20, 30)], [(200, 200)]])
def test_other_images_are_brought_to_64(tmp_path, sizes):
    for i, size in enumerate(sizes):
        paint(tmp_path / f"{i}.png", size=size)
    assert load(tmp_path).images.shape == (len(sizes), 3, 64, 64)


def test_image_size_is_honoured(tmp_path):
    paint(tmp_path / "a.png", size=(20, 20))
    assert load(tmp_path, image_size=32).images.shape == (1, 3, 32, 32)


def test_the_middle_is_kept(tmp_path):
    picture = Image.new("RGB", (64, 32), BLUE)
    picture.paste(RED, (16, 0, 48, 32))
    picture.save(tmp_path / "a.png")
    assert pixel(load(tmp_path, image_size=16).images) == list(RED)


def test_shrinking_is_antialiased(tmp_path):
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "a.png")
    assert (load(tmp_path, image_size=8).images.float() - 127.5).abs().max() < 16


def test_a_large_jpeg_comes_out_as_its_original(tmp_path):
    rows = np.linspace(0, 255, 512, dtype=np.uint8)
    Image.fromarray(np.tile(rows, (512, 1))).save(tmp_path / "a.jpg", quality=95)
    ramp = load(tmp_path, image_size=32).images[0, 0].float()
    assert (ramp - torch.linspace(4, 251, 32)).abs().max() < 6


@pytest.mark.parametrize("mode", ["L", "1", "RGB"])
def test_grey_is_detected(tmp_path, mode):
    paint(tmp_path / "a.png", {"L": 255, "1": 1, "RGB": (255,) * 3}[mode], mode=mode)
    found = load(tmp_path)
    assert found.images.shape[1] == 1
    assert pixel(found.images) == [255]


def test_one_coloured_image_makes_the_set_coloured(tmp_path):
    paint(tmp_path / "a.png", 9, mode="L")
    paint(tmp_path / "b.png", RED)
    found = load(tmp_path)
    assert pixel(found.images) == [9, 9, 9]
    assert pixel(found.images.flip(0)) == list(RED)


def test_channels_are_honoured(tmp_path):
    paint(tmp_path / "a.png", RED)
    assert pixel(load(tmp_path, channels=1).images) == [67]
    paint(tmp_path / "a.png", 9, mode="L")
    assert pixel(load(tmp_path, channels=3).images) == [9, 9, 9]


# Formats


def test_transparent_pixels_are_laid_on_white(tmp_path):
    paint(tmp_path / "a.png", (255, 0, 0, 0), mode="RGBA")
    assert pixel(load(tmp_path, channels=3).images) == [255, 255, 255]
    paint(tmp_path / "a.png", (0, 128), mode="LA")
    assert pixel(load(tmp_path).images) == [127]


def test_a_palette_is_resolved(tmp_path):
    paint(tmp_path / "a.gif", RED)
    assert pixel(load(tmp_path).images) == list(RED)
    Image.new("RGB", (16, 16), RED).quantize(2).save(tmp_path / "a.gif", transparency=0)
    assert pixel(load(tmp_path, channels=3).images) == [255, 255, 255]


def test_cmyk_becomes_rgb(tmp_path):
    paint(tmp_path / "a.jpg", (0, 255, 255, 0), mode="CMYK", quality=100)
    red, green, blue = pixel(load(tmp_path).images)
    assert red > 240
    assert max(green, blue) < 15


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path):
    Image.fromarray(np.full((16, 16), 32768, np.uint16)).save(tmp_path / "a.png")
    found = load(tmp_path)
    assert pixel(found.images) == [128]
    assert pixel(load(tmp_path, channels=3).images) == [128] * 3


def test_floating_point_pixels_are_refused(tmp_path):
    Image.fromarray(np.zeros((16, 16), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UsageError, match=r"a\.tif cannot be read: .*floating-point"):
        load(tmp_path)


def test_the_cameras_orientation_is_honoured(tmp_path):
    picture = Image.new("RGB", (16, 16), BLUE)
    picture.paste(RED, (0, 0, 8, 16))  # The left half: with orientation 6, the top.
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.png", exif=exif)
    image = load(tmp_path).images[0]
    assert image[:, 4, 8].tolist() == list(RED)
    assert image[:, 12, 8].tolist() == list(BLUE)


def test_damaged_exif_data_does_not_matter(tmp_path):
    paint(tmp_path / "a.jpg", exif=b"Exif\0\0rubbish that is no TIFF header", quality=100)
    assert load(tmp_path).images.shape == (1, 3, 16, 16)


# What can be wrong


@pytest.mark.parametrize("count", [0, 2])
def test_no_images_names_the_folder_and_the_endings(tmp_path, count):
    for i in range(count):
        (tmp_path / f"{i}.txt").touch()
    with pytest.raises(UsageError, match=r"no images in .*\(looked for .*\.jpg.*\.png") as caught:
        load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"there is no folder .*photos"):
        load(tmp_path / "photos")


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"a\.png is no folder, \.zip"):
        load(paint(tmp_path / "a.png"))


def test_a_missing_data_root_is_asked_for():
    with pytest.raises(UsageError, match="needs --data-root"):
        load(None)


def broken(root: Path, how: str) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = root / f"broken{'.jpg' if how == 'jpeg' else '.png'}"
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "rubbish": b"rubbish", "header": whole[:20]}.get(how, whole[: len(whole) // 2]))
    return path


@pytest.mark.parametrize("how", ["empty", "rubbish", "header", "png", "jpeg"])
@pytest.mark.parametrize("request_", [{}, {"image_size": 16, "channels": 3}])
def test_a_broken_image_is_named(tmp_path, how, request_):
    for i in range(20):
        paint(tmp_path / f"{i}.png")
    path = broken(tmp_path, how)
    with pytest.raises(UsageError) as caught:
        load(tmp_path, **request_)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("limit", [150, 100])
@pytest.mark.parametrize("request_", [{}, {"image_size": 16, "channels": 3}])
def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch, limit, request_):
    paint(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(UsageError, match=rf"bomb\.png is refused: it has more than {limit} pixels"):
        load(tmp_path, **request_)


# More than memory holds


@pytest.fixture
def many(tmp_path, tmp_path_factory, monkeypatch):
    """Twenty images, of which memory would hold one; ganzoo's cache is empty."""
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
    for i in range(20):
        paint(tmp_path / f"{i:02}.png", (i, 0, 255))
    monkeypatch.setattr("ganzoo.data.memory.IN_MEMORY_BYTES", 16 * 16 * 3)
    return tmp_path


def test_a_large_folder_streams_the_same_images(many, monkeypatch):
    streamed = load(many)
    assert not isinstance(streamed.images, torch.Tensor)
    monkeypatch.undo()
    resident = load(many)
    assert torch.equal(torch.stack([streamed.images[i] for i in range(20)]), resident.images)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_broken_mid_stream_is_named(many, workers):
    files = ImageFiles(sorted(many.iterdir()), 16, 3)
    loader = Loader(ImageSet(files), 4, 0, torch.device("cpu"), workers=workers)
    path = many / "07.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UsageError, match=r"07\.png") as caught:
        list(islice(loader.batches(), 5))
    assert "\n" not in str(caught.value)
