"""torchvision's sets, on small stand-ins in each one's format on disk; no network."""

import gzip
import pickle
import sys
import urllib.request
from urllib.error import URLError

import numpy as np
import pytest
import torch
from ganzoo_plugins import torchvision_data
from PIL import Image

from ganzoo.data import DataRequest, open_dataset
from ganzoo.errors import GanzooError
from ganzoo.plugins import Plugin, Registry

NAMES = ["celeba", "cifar10", "cifar100", "fashion-mnist", "kmnist", "svhn"]


@pytest.fixture(scope="module")
def registry():
    made = Registry()
    made.add(Plugin("torchvision-data", "ganzoo", "0", "ganzoo_plugins.torchvision_data"), torchvision_data)
    return made


@pytest.fixture
def load(registry, tmp_path):
    def load(name, **request):
        return open_dataset(registry.get("datasets", name)(), DataRequest(**{"root": tmp_path} | request))

    return load


@pytest.fixture
def unchecked(monkeypatch):
    """Take the stand-ins for the real files, whose checksums torchvision knows."""
    from torchvision.datasets import celeba, cifar, svhn
    from torchvision.datasets.utils import check_integrity

    for module in (celeba, cifar, svhn):
        monkeypatch.setattr(module, "check_integrity", lambda path, _md5=None: check_integrity(path))


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_args, **_options):
        raise URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setitem(sys.modules, "gdown", None)


def idx(array: np.ndarray) -> bytes:
    shape = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


def write_mnist_like(folder, count=4):
    folder.mkdir(parents=True, exist_ok=True)
    images = np.arange(count * 784, dtype=np.uint8).reshape(count, 28, 28)
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count, dtype=np.uint8)))
    return images


def test_the_registry_has_them_all(registry):
    assert registry.names("datasets") == NAMES
    for name in NAMES:
        assert registry.get("datasets", name).summary


@pytest.mark.parametrize(
    ("name", "folder", "first"), [("fashion-mnist", "FashionMNIST", "T-shirt/top"), ("kmnist", "KMNIST", "o")]
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_sets_in_mnists_format(load, tmp_path, name, folder, first, split):
    images = write_mnist_like(tmp_path / folder / "raw")
    found = load(name, split=split)
    assert np.array_equal(found.images[:, 0].numpy(), images)
    assert found.labels.tolist() == [0, 1, 2, 3]
    assert found.classes[0] == first
    assert found.spec(name).shape == (1, 28, 28)


@pytest.mark.parametrize(("split", "count"), [("train", 10), ("test", 2)])
def test_cifar10(load, tmp_path, unchecked, split, count):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.arange(2 * 3072).reshape(2, 3072).astype(np.uint8)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": [3, 9]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"thing {i}" for i in range(10)]}))
    found = load("cifar10", split=split)
    assert found.images.shape == (count, 3, 32, 32)
    assert np.array_equal(found.images[1].numpy().ravel(), pixels[1])
    assert found.labels[:2].tolist() == [3, 9]
    assert found.classes[9] == "thing 9"


def test_cifar100_has_its_fine_classes(load, tmp_path, unchecked):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    entry = {"data": np.zeros((2, 3072), np.uint8), "fine_labels": [99, 0], "coarse_labels": [1, 1]}
    for name in ("train", "test"):
        (folder / name).write_bytes(pickle.dumps(entry))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"thing {i}" for i in range(100)]}))
    found = load("cifar100")
    assert found.labels.tolist() == [99, 0]
    assert len(found.classes) == 100


@pytest.mark.parametrize("split", ["train", "test"])
def test_svhn_calls_zero_zero(load, tmp_path, unchecked, split):
    from scipy.io import savemat

    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 3), np.uint8)
    savemat(tmp_path / f"{split}_32x32.mat", {"X": pixels, "y": np.array([[10], [1], [9]], np.uint8)})
    found = load("svhn", split=split)
    assert np.array_equal(found.images[2].permute(1, 2, 0).numpy(), pixels[..., 2])
    assert found.labels.tolist() == [0, 1, 9]
    assert found.classes == tuple("0123456789")


@pytest.fixture
def faces(tmp_path):
    """Five faces, the last two of them for testing: red in the middle 178 x 178, blue above and below."""
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{i:06}.jpg" for i in range(1, 6)]
    picture = Image.new("RGB", (178, 218), (0, 0, 255))
    picture.paste((255, 0, 0), (0, 20, 178, 198))
    for name in names:
        picture.save(folder / "img_align_celeba" / name, quality=100, subsampling=0)

    def table(name, rows, *header):
        (folder / name).write_text("\n".join([*header, *(f"{n}  {r}" for n, r in zip(names, rows, strict=True))]))

    tags = " ".join(f"Tag_{i}" for i in range(40)) + " "
    table("list_attr_celeba.txt", [" ".join(["-1"] * i + [" 1"] * (40 - i)) for i in range(5)], "5", tags)
    table("list_eval_partition.txt", [0, 0, 0, 2, 2])
    table("identity_CelebA.txt", [1] * 5)
    table("list_bbox_celeba.txt", ["1 2 3 4"] * 5, "5", "image_id x_1 y_1 width height")
    table("list_landmarks_align_celeba.txt", ["1 " * 9 + "1"] * 5, "5", "lefteye_x lefteye_y")
    return tmp_path


def test_celeba_streams_faces_with_forty_tags(load, faces, unchecked):
    found = load("celeba")
    assert not isinstance(found.images, torch.Tensor)
    assert found.spec("celeba").shape == (3, 64, 64)
    assert len(found) == 3
    assert len(load("celeba", split="test")) == 2
    assert [a.name for a in found.attributes] == [f"Tag_{i}" for i in range(40)]
    assert found.labels.dtype == torch.float32
    assert found.labels.sum(1).tolist() == [40, 39, 38]
    assert found.labels[2, :3].tolist() == [0, 0, 1]


def test_celeba_is_cropped_to_the_face(load, faces, unchecked):
    image = load("celeba", image_size=32).images[0]
    assert image.shape == (3, 32, 32)
    assert image[0].min() > 230
    assert image[2].max() < 40
    assert load("celeba", channels=1).images[0].shape == (1, 64, 64)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_network_one_line_names_the_set_and_the_root(load, tmp_path, offline, capfd, name):
    with pytest.raises(GanzooError) as caught:
        load(name)
    message = str(caught.value)
    assert "\n" not in message
    assert f"data set '{name}' is not in {tmp_path} and cannot be downloaded" in message
    assert f"into {tmp_path}" in message
    assert ("gdown" if name == "celeba" else "no route to host") in message
    assert capfd.readouterr() == ("", "")


def test_without_a_data_root_the_cache_is_looked_in(load, tmp_path, offline, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    with pytest.raises(GanzooError, match=r"is not in .*cache"):
        load("kmnist", root=None)
    write_mnist_like(tmp_path / "cache" / "data" / "KMNIST" / "raw")
    assert len(load("kmnist", root=None)) == 4


def test_a_missing_set_is_downloaded_into_the_root_quietly(load, tmp_path, monkeypatch, capfd):
    from torchvision.datasets import mnist

    def download(_url, download_root, filename, md5):
        print("Downloading", filename)
        print("100%", file=sys.stderr)
        array = np.zeros((2, 28, 28) if "images" in filename else 2, np.uint8)
        (tmp_path / download_root / filename.removesuffix(".gz")).write_bytes(idx(array))

    monkeypatch.setattr(mnist, "download_and_extract_archive", download)
    assert len(load("kmnist")) == 2
    assert (tmp_path / "KMNIST" / "raw").is_dir()
    assert capfd.readouterr() == ("", "")


def test_a_damaged_file_is_one_line(load, tmp_path, offline):
    write_mnist_like(tmp_path / "KMNIST" / "raw")
    path = tmp_path / "KMNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(GanzooError, match=r"'kmnist' in .* cannot be read .*remove KMNIST/raw") as caught:
        load("kmnist")
    assert "\n" not in str(caught.value)


def test_a_root_that_cannot_be_written_is_one_line(load, tmp_path, offline):
    (tmp_path / "file").touch()
    with pytest.raises(GanzooError, match=r"'cifar10' is not in .*file"):
        load("cifar10", root=tmp_path / "file")


@pytest.mark.parametrize("name", ["fashion-mnist", "kmnist"])
@pytest.mark.parametrize("where", ["", "raw"])
def test_files_that_are_still_compressed_are_read(load, tmp_path, offline, name, where):
    folder = tmp_path / {"fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}[name] / "raw" if where else tmp_path
    images = write_mnist_like(folder)
    for path in [*folder.glob("*-ubyte")]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    for split in ("train", "test"):
        data = load(name, split=split)
        assert torch.equal(data.images[:, 0], torch.from_numpy(images))
        assert data.labels.tolist() == [0, 1, 2, 3]
        assert len(data.classes) == 10


@pytest.mark.parametrize("how", ["cut", "rubbish", "short", "other"])
def test_compressed_files_that_are_damaged_are_named(load, tmp_path, offline, how):
    write_mnist_like(tmp_path)
    for path in [*tmp_path.glob("*-ubyte")]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole, raw = path.read_bytes(), gzip.decompress(path.read_bytes())
    path.write_bytes(
        {"cut": whole[:-20], "rubbish": b"x" * 99, "short": gzip.compress(raw[:-5]), "other": gzip.compress(b"x" * 99)}[
            how
        ]
    )
    with pytest.raises(GanzooError, match=r"train-images-idx3-ubyte\.gz is damaged") as caught:
        load("fashion-mnist")
    assert "\n" not in str(caught.value)
