"""The layouts in which people keep pictures: recognised without being told, and nothing silent."""

import io
import json
import struct
import tarfile
import zipfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from ganzoo_plugins.folder import Folder
from PIL import Image, features

from conftest import TINY
from ganzoo import errors
from ganzoo.data import DataRequest, archives, open_dataset
from ganzoo.data.formats import read_pictures
from ganzoo.data.tree import class_order, held_out
from ganzoo.errors import UsageError

DARK, LIGHT = 60, 180


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch):
    monkeypatch.setattr(errors, "_told", set())


def load(root, split="train", **options):
    return open_dataset(Folder(), DataRequest(split, root, options=options))


def png(level=DARK, size=(16, 16), mode="RGB") -> bytes:
    data = io.BytesIO()
    Image.new(mode, size, level if mode != "RGB" else (level, level, 255 - level)).save(data, "PNG")
    return data.getvalue()


def write(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return root


def packed(path: Path, files: dict[str, bytes | str]) -> Path:
    """The files in a zip or a tar, as the path's ending says."""
    plain = {name: data.encode() if isinstance(data, str) else data for name, data in files.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in plain.items():
                archive.writestr(name, data)
        return path
    kind = {".gz": "w:gz", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}.get(path.suffix, "w")
    with tarfile.open(path, kind) as archive:
        for name, data in plain.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


CONTAINERS = ["folder", "a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz", "a.tgz"]


@pytest.fixture(params=CONTAINERS)
def keep(request, tmp_path):
    """Writes files into a folder or an archive."""
    path = tmp_path / request.param
    return lambda files: write(path, files) if request.param == "folder" else packed(path, files)


def classes_of(data) -> dict[str, int]:
    return dict(zip(data.classes, data.spec("x").counts, strict=True))


# Layouts, each in a folder and in an archive


def test_class_folders_are_classes(keep):
    root = keep({"dog/a.png": png(LIGHT), "dog/b.png": png(LIGHT), "cat/a.png": png(DARK)})
    data = load(root)
    assert classes_of(data) == {"cat": 1, "dog": 2}
    assert data.images[:, 0, 0, 0].tolist() == [DARK, LIGHT, LIGHT]


def test_flat_pictures_have_no_classes(keep):
    data = load(keep({"b.png": png(LIGHT), "a.png": png(DARK), "README.txt": "pictures"}))
    assert data.labels is None
    assert data.images[:, 0, 0, 0].tolist() == [DARK, LIGHT]


def test_stylegans_labels_are_those_of_its_file(keep, capsys):
    names = [f"00000/img{i:08d}.png" for i in range(4)]
    labels = json.dumps({"labels": [[name, i % 2] for i, name in enumerate(names)]})
    data = load(keep({"dataset.json": labels, **{name: png(60 + 120 * (i % 2)) for i, name in enumerate(names)}}))
    assert data.classes == ("0", "1")
    assert data.labels.tolist() == [0, 1, 0, 1]
    assert "classes are those of dataset.json: 0, 1" in capsys.readouterr().err


def test_stylegans_null_labels_are_none_and_said_to_be(keep, capsys):
    data = load(keep({"dataset.json": '{"labels": null}', "00000/a.png": png(), "00000/b.png": png()}))
    assert data.labels is None
    assert "tells of no labels (null): the pictures have no classes\n" in capsys.readouterr().err
    data = load(keep({"dataset.json": '{"labels": null}', "cats/a.png": png(), "dogs/b.png": png()}))
    assert data.labels is None
    assert "no classes, also not by their folders, as --layout folders takes them" in capsys.readouterr().err


def test_hugging_faces_csv_and_jsonl(keep, tmp_path):
    files = {f"{i}.png": png(60 + 120 * (i % 2)) for i in range(4)}
    rows = "".join(f"{i}.png,{('dark', 'light')[i % 2]}\n" for i in range(4))
    assert load(keep({**files, "metadata.csv": f"file_name,label\n{rows}"})).labels.tolist() == [0, 1, 0, 1]


def test_hugging_faces_jsonl_knows_numbers(keep):
    files = {f"{i}.png": png(60 + 120 * (i % 2)) for i in range(4)}
    lines = "\n".join(json.dumps({"file_name": f"{i}.png", "label": 10 - i % 2}) for i in range(4))
    data = load(keep({**files, "metadata.jsonl": lines}))
    assert data.classes == ("9", "10")
    assert data.labels.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    "table",
    [
        "file,label\n0.png,dark\n1.png,light\n2.png,dark\n3.png,light\n",
        "\ufefffile;label\r\n./0.png;dark\r\n1.png;light\r\n2.png;dark\r\n3.png;light\r\n",
        "0.png,dark\n1.png,light\n2.png,dark\n3.png,light\n",
        "id,kind\n0,dark\n1,light\n2,dark\n3,light\n",
        'label,file\ndark,"0.png"\nlight,1.png\ndark,2.png\nlight,3.png\n',
    ],
    ids=["header", "semicolons", "no header", "without endings", "file last"],
)
def test_a_table_of_files_and_labels(keep, table):
    data = load(keep({**{f"{i}.png": png(60 + 120 * (i % 2)) for i in range(4)}, "labels.csv": table}))
    assert data.classes == ("dark", "light")
    assert data.labels.tolist() == [0, 1, 0, 1]


def test_a_table_beside_a_folder_of_pictures_finds_them_by_name(keep):
    data = load(
        keep({"t.tsv": "image\tkind\nx.png\ta\ny.png\tb\nz.png\ta\n", **{f"pics/{n}.png": png() for n in "xyz"}})
    )
    assert classes_of(data) == {"a": 2, "b": 1}


def test_webdataset_keys_have_classes(keep):
    files = {f"{i:04d}.{kind}": data for i in range(4) for kind, data in (("jpg", png()), ("cls", f"{i % 2}\n"))}
    assert load(keep(files)).labels.tolist() == [0, 1, 0, 1]


def test_webdataset_keys_without_classes_may_have_several_pictures_which_is_told(tmp_path, capsys):
    packed(tmp_path / "a.tar", {f"{i:04d}.{kind}": png(10 * i) for i in range(4) for kind in ("png", "seg.png")})
    assert len(load(tmp_path / "a.tar", test_share=0.25)) + len(load(tmp_path / "a.tar", "test", test_share=0.25)) == 8
    assert "4 keys have several pictures (0000.png, 0000.seg.png): all are taken" in capsys.readouterr().err


def test_classes_and_splits_are_read_without_the_blanks_around_them(tmp_path):
    rows = [
        {"image": f"{i}.png", "label": ("cat", "cat ", " dog")[i % 3], "split": ("train ", "test")[i > 5]}
        for i in range(9)
    ]
    lines = "\n".join(map(json.dumps, rows))
    root = write(tmp_path / "a", {f"{i}.png": png(10 * i) for i in range(9)} | {"labels.jsonl": lines})
    assert (load(root).classes, len(load(root)), len(load(root, "test"))) == (("cat", "dog"), 6, 3)
    parquet(tmp_path / "b.parquet", ["cat", "cat ", " dog", "dog"])
    assert load(tmp_path / "b.parquet").classes == ("cat", "dog")


def test_a_folder_of_webdataset_tars_is_one_set(tmp_path):
    for shard in range(2):
        files = {f"{shard}{i}.{k}": d for i in range(2) for k, d in (("png", png()), ("cls", str(shard)))}
        packed(tmp_path / f"train-{shard:04d}.tar", files)
    assert classes_of(load(tmp_path)) == {"0": 2, "1": 2}


def test_an_archive_with_one_folder_around_everything_is_read_within_it(tmp_path):
    root = packed(tmp_path / "a.zip", {"pets/cat/a.png": png(), "pets/dog/a.png": png(), "__MACOSX/pets/._a.png": "x"})
    assert load(root).classes == ("cat", "dog")
    flat = packed(tmp_path / "b.tar", {"./pets/a.png": png(), "./pets/b.png": png(), "./pets/.hidden.png": "x"})
    assert len(load(flat)) == 2


def test_an_npz_is_taken_as_it_is(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(6) % 3)
    data = load(tmp_path / "a.npz")
    assert torch.equal(data.images[data.labels.argsort(stable=True)], data.images[[0, 3, 1, 4, 2, 5]])
    assert torch.equal(data.images, torch.from_numpy(images))
    assert classes_of(data) == {"0": 2, "1": 2, "2": 2}
    np.savez(tmp_path / "grey.npz", images=images[:, 0])
    grey = load(tmp_path / "grey.npz")
    assert grey.labels is None
    assert torch.equal(grey.images, torch.from_numpy(images[:, :1]))


AVIF = ["avif"] if "avif" in features.modules and features.check("avif") else []  # Pillow has it since 11.3.


@pytest.mark.parametrize("ending", ["jfif", "JPG", "webp", *AVIF])
def test_less_common_endings_are_pictures(tmp_path, ending):
    kind = {"jfif": "JPEG", "jpg": "JPEG"}.get(ending.lower(), ending.upper())
    Image.new("RGB", (16, 16), (200, 10, 10)).save(tmp_path / f"a.{ending}", kind)
    assert load(tmp_path).images.shape == (1, 3, 16, 16)


def test_a_format_that_pillow_does_not_read_is_named(keep, monkeypatch):
    from ganzoo.data import imagefiles

    monkeypatch.setattr(imagefiles, "_readable", lambda: ("PNG",))
    root = keep({"a.heic": b"\0\0\0\x18ftypheic", "b.png": png()})
    with pytest.raises(UsageError, match=r"a\.heic .*Pillow reads no HEIF \(`pip install pillow-heif`\)"):
        load(root)


@pytest.mark.parametrize("container", CONTAINERS)
def test_archives_stream_the_same_images(tmp_path, monkeypatch, container):
    files = {f"{i}.png": png(i) for i in range(10)}
    root = write(tmp_path / "folder", files) if container == "folder" else packed(tmp_path / container, files)
    resident = load(root).images
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("ganzoo.data.memory.IN_MEMORY_BYTES", 16 * 16 * 3)
    streamed = load(root).images
    assert not isinstance(streamed, torch.Tensor)
    assert torch.equal(torch.stack([streamed[i] for i in range(10)]), resident)


# Splits


@pytest.mark.parametrize(("train", "test"), [("train", "val"), ("Training", "VALIDATION"), ("training", "test")])
def test_splits_are_splits_whatever_their_names(keep, train, test):
    root = keep(
        {f"{s}/{c}/{i}.png": png(DARK if s == train else LIGHT) for s in (train, test) for c in "ab" for i in "12"}
    )
    assert load(root).classes == load(root, "test").classes == ("a", "b")
    assert len(load(root)) == len(load(root, "test")) == 4
    assert load(root, "test").images[0, 0, 0, 0] == LIGHT
    assert load(root, "test").split == ""


def test_of_three_splits_the_validation_is_told_to_be_left_out(keep, capsys):
    root = keep({f"{split}/{c}/1.png": png() for split in ("train", "val", "test") for c in "ab"})
    assert len(load(root)) == len(load(root, "test")) == 2
    assert "beside train/ and test/, val are left out" in capsys.readouterr().err


def test_a_lone_folder_named_train_is_no_class(keep):
    assert load(keep({"train/a/1.png": png(), "train/b/1.png": png()})).classes == ("a", "b")


def test_each_split_may_have_its_own_metadata(keep):
    files = {f"{s}/{i}.png": png() for s in ("train", "validation") for i in range(4)}
    for split in ("train", "validation"):
        rows = "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(4))
        files[f"{split}/metadata.csv"] = f"file_name,label\n{rows}"
    root = keep(files)
    assert classes_of(load(root)) == classes_of(load(root, "test")) == {"a": 2, "b": 2}


def test_two_folders_of_training_are_refused(keep):
    with pytest.raises(UsageError, match="which of them is to be trained on"):
        load(keep({"train/a/1.png": png(), "training/a/1.png": png(), "test/a/1.png": png()}))


def test_a_share_is_held_out_by_name_and_training_does_not_see_it(tmp_path, capsys):
    write(tmp_path, {f"{c}/{i}.png": png(i) for c in "ab" for i in range(60)})
    train, test = load(tmp_path), load(tmp_path, "test")
    expected = {f"{c}/{i}.png" for c in "ab" for i in range(60) if held_out(f"{c}/{i}.png") < 0.1}
    assert len(test) == len(expected) > 0
    assert len(train) + len(test) == 120
    assert test.split == "held-out"
    assert (
        f"{len(expected)} of 120 pictures are held out as the test split (--test-share 0.1)" in capsys.readouterr().err
    )
    write(tmp_path, {"a/new.png": png()})
    again = load(tmp_path, "test")
    assert {len(again)} <= {len(test), len(test) + 1}


def test_few_pictures_are_not_split_unless_told_and_it_is_said(tmp_path, capsys):
    write(tmp_path, {f"{i}.png": png(i) for i in range(20)})
    assert len(load(tmp_path)) == len(load(tmp_path, "test")) == 20
    assert load(tmp_path, "test").split == "train"
    assert "there is no test split" in capsys.readouterr().err
    assert len(load(tmp_path, test_share=0.3)) + len(load(tmp_path, "test", test_share=0.3)) == 20
    assert len(load(tmp_path, test_share=0)) == 20


def test_no_class_is_held_out_whole(tmp_path):
    write(tmp_path, {f"{c}/{i}.png": png() for c in "abcdefgh" for i in range(2)})
    assert min(load(tmp_path, test_share=0.9).spec("x").counts) == 1


def test_where_each_class_has_one_picture_none_is_held_out_unless_asked_for(tmp_path, capsys):
    root = write(tmp_path, {f"{i}/1.png": png(i) for i in range(100)})
    assert len(load(root)) == len(load(root, "test")) == 100
    assert "there is no test split" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"--test-share 0\.1: no picture can be held out, .*: --test-share 0 holds"):
        load(root, test_share=0.1)


def test_a_share_of_what_is_split_already_is_refused(tmp_path):
    write(tmp_path, {f"{split}/{i}.png": png() for split in ("train", "test") for i in range(2)})
    with pytest.raises(UsageError, match="--test-share is for pictures that are not split"):
        load(tmp_path, test_share=0.5)


# Classes


def test_classes_named_by_numbers_are_in_the_order_of_numbers(keep):
    assert load(keep({f"{k}/1.png": png(k) for k in range(1, 13)})).classes == tuple(map(str, range(1, 13)))


def test_a_range_of_labels_means_the_names():
    from ganzoo.commands.choices import parse_labels

    names = class_order({str(k) for k in range(1, 13)})
    assert parse_labels("2-10", names) == list(range(1, 10))
    assert parse_labels("12,3", names) == ["12", "3"]
    for text in ("0", "0-3", "2-13", "x"):  # The number 0 would be class '1'.
        with pytest.raises(UsageError, match=f"--label {text}: classes are 1 to 12"):
            parse_labels(text, names)


def test_mixed_names_are_in_the_order_of_text():
    assert class_order({"10", "9", "b"}) == ("10", "9", "b")
    assert class_order({"007", "7", "10"}) == ("007", "7", "10")


def test_numbers_below_zero_are_in_the_order_of_numbers():
    assert class_order({"10", "-10", "0", "2", "-2"}) == ("-10", "-2", "0", "2", "10")


def test_the_layout_of_version_0_1_0_can_be_had(tmp_path):
    write(tmp_path, {f"{k}/{i}.png": png() for k in (1, 2, 10) for i in range(40)})
    assert load(tmp_path, layout="folders").classes == ("1", "10", "2")
    data = open_dataset(Folder(), DataRequest(root=tmp_path, options=None))  # As a run says that recorded no options.
    assert data.classes == ("1", "10", "2")
    assert len(data) == 120


def test_a_class_with_one_picture_is_mentioned(tmp_path, capsys):
    load(write(tmp_path, {"a/1.png": png(), "b/1.png": png(), "b/2.png": png()}))
    assert "classes with one picture in training (1): a" in capsys.readouterr().err


# What can be wrong with labels


def rows(*lines: str) -> dict[str, bytes | str]:
    return {**{f"{i}.png": png() for i in range(4)}, "metadata.csv": "\n".join(["file_name,kind,mood", *lines, ""])}


ALL = [f"{i}.png,{'ab'[i % 2]},{'xy'[i // 2]}" for i in range(4)]


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        (rows(*ALL), {}, r"several columns that may hold classes \(kind, mood\): name one with --label-column"),
        (rows(*ALL), {"label_column": "color"}, r"no such column \(it has: kind, mood\)"),
        (rows(*ALL[:2]), {"label_column": "kind"}, r"2 of 4 pictures .*\(2\.png, 3\.png\).*--skip-unlabelled"),
        (rows(*ALL[:3], "3.png,,y"), {"label_column": "kind"}, r"1 of 4 pictures .*no label.*\(3\.png\)"),
        (rows(*ALL, "9.png,a,x"), {"label_column": "kind"}, r"names pictures that are not there \(1\): 9\.png"),
        (rows(*ALL, ALL[0]), {"label_column": "kind"}, r"names pictures twice \(1\): 0\.png"),
        (rows(*ALL[:3], "3.png,a,x,extra"), {"label_column": "kind"}, r"row 4, has 4 values, and there are 3 columns"),
        ({"a.png": png(), "metadata.csv": "name,kind\na.png,x\n"}, {}, "has no column `file_name`"),
        ({"a.png": png(), "metadata.jsonl": '{"file_name": '}, {}, "line 1, is not valid JSON"),
        ({"a.png": png(), "metadata.jsonl": "[1]"}, {}, "line 1, is no JSON object"),
        ({"a.png": png(), "dataset.json": "{"}, {}, "is not valid JSON"),
        ({"a.png": png(), "dataset.json": "{}"}, {}, "has no `labels`"),
        ({"a.png": png(), "dataset.json": '{"labels": [["b.png", 0]]}'}, {}, r"that are not there \(1\): b\.png"),
        ({"a.png": png(), "b.png": png(), "dataset.json": '{"labels": [["a.png", 0]]}'}, {}, r"1 of 2 .*\(b\.png\)"),
        ({"a.png": png(), "dataset.json": '{"labels": [["a.png", [0.5, 1]]]}'}, {}, "no class"),
        ({"a.png": png(), "dataset.json": '{"labels": {"a.png": 1}}'}, {}, "labels are a list"),
        ({"a.png": png(), "../dataset.json": "{}"}, {"label_column": "kind"}, "--label-column is for tables of labels"),
        ({"a.png": png(), "a.jpg": png(), "a.cls": "1"}, {}, r"keys have several pictures \(1\)"),
        ({"a.png": png(), "b.cls": "1"}, {}, r"names pictures that are not there \(1\): "),
        ({"a.png": png(), "t.csv": "file,k\na.png,x\n", "dataset.json": '{"labels": null}'}, {}, "leave one"),
        ({"a.png": png(), "metadata.csv": b"\xff\xfe\0"}, {}, "cannot be read"),
    ],
)  # fmt: skip
def test_labels_that_do_not_fit_are_one_line(tmp_path, files, options, message):
    root = write(tmp_path / "root", files)
    with pytest.raises(UsageError, match=message) as caught:
        load(root, **options)
    assert "\n" not in str(caught.value)


def test_pictures_without_a_label_are_left_out_when_told(tmp_path, capsys):
    data = load(write(tmp_path, rows(*ALL[:3])), label_column="kind", skip_unlabelled=True)
    assert data.labels.tolist() == [0, 1, 0]
    assert "1 of 4 pictures have no label and are left out (3.png)" in capsys.readouterr().err


def test_a_table_whose_columns_are_no_classes_is_said_not_to_be_used(tmp_path, capsys):
    captions = "".join(f"{i}.png,a picture of {i}\n" for i in range(4))
    data = load(write(tmp_path, {**rows(), "metadata.csv": f"file_name,text\n{captions}"}))
    assert data.labels is None
    assert "(text) looks like classes: pictures have none of it" in capsys.readouterr().err


def test_a_table_of_other_things_is_said_not_to_be_used(tmp_path, capsys):
    load(write(tmp_path, {"a.png": png(), "prices.csv": "item,price\nbread,2\n"}))
    assert "prices.csv is not used: none of its columns names the pictures" in capsys.readouterr().err


def test_no_column_can_be_asked_for(tmp_path):
    assert load(write(tmp_path, rows(*ALL)), label_column="none").labels is None


# What can be wrong with archives


def zip_with(path: Path, name: str, **changes: int) -> Path:
    info = zipfile.ZipInfo(name)
    for key, value in changes.items():
        setattr(info, key, value)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", png())
        archive.writestr(info, png())
    return path


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "a/../../x.png", "C:/x.png", "..\\x.png"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_path_that_leaves_the_archive_is_refused(tmp_path, name, kind):
    with pytest.raises(UsageError, match="leads out of it"):
        load(packed(tmp_path / f"a.{kind}", {name: png()}))


def test_an_encrypted_zip_is_refused(tmp_path):
    path = packed(tmp_path / "a.zip", {"a.png": png()})
    data = bytearray(path.read_bytes())
    data[data.rfind(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(UsageError, match="is encrypted"):
        load(path)


def test_a_file_of_two_names_in_a_tar_has_both(tmp_path, capsys):
    with tarfile.open(packed(tmp_path / "a.tar", {"a/1.png": png(1), "b/1.png": png(2)}), "a") as archive:
        for name, target in (("c/1.png", "./a/1.png"), ("d/1.png", "nowhere.png")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.LNKTYPE, target
            archive.addfile(info)
    data = load(tmp_path / "a.tar")
    assert (data.classes, data.images[:, 0, 0, 0].tolist()) == (("a", "b", "c"), [1, 2, 1])
    assert "1 links or devices" in capsys.readouterr().err


def test_names_of_one_file_that_claim_too_much_together_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "BOMB", (2, 1000))
    with tarfile.open(packed(tmp_path / "a.tar", {"a.png": bytes(100_000)}), "a") as archive:
        for i in range(4):
            info = tarfile.TarInfo(f"{i}.png")
            info.type, info.linkname = tarfile.LNKTYPE, "a.png"
            archive.addfile(info)
    with pytest.raises(UsageError, match=r"a\.tar is refused: .* bytes claim to hold 3.* \(a tar bomb\?\)"):
        load(tmp_path / "a.tar")


def test_links_in_archives_are_not_followed(tmp_path, capsys):
    (tmp_path / "secret.png").write_bytes(png(LIGHT))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, target in (("link.png", "secret.png"), ("out.png", "/etc/passwd")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
        info = tarfile.TarInfo("a.png")
        info.size = len(png())
        archive.addfile(info, io.BytesIO(png()))
    assert len(load(tmp_path / "a.tar")) == 1
    assert "2 links or devices" in capsys.readouterr().err
    assert len(load(zip_with(tmp_path / "a.zip", "link.png", external_attr=0o120777 << 16))) == 1


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz", "tar.xz"])
@pytest.mark.parametrize("part", [0, 0.3, 0.7, 0.95])
def test_a_truncated_archive_is_one_line(tmp_path, ending, part):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(noise).save(data, "PNG")
    path = packed(tmp_path / f"a.{ending}", {f"{i}.png": data.getvalue() for i in range(3)})
    whole = path.read_bytes().rstrip(b"\0") if ending == "tar" else path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(UsageError, match=r"truncated|damaged|no images") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_zip_whose_bytes_were_changed_names_the_picture(tmp_path):
    path = packed(tmp_path / "a.zip", {f"{i}.png": png(i) for i in range(3)})
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"0\.png in .*a\.zip"):
        load(path)


def test_a_member_larger_than_pictures_are_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 1000)
    for kind in ("zip", "tar"):
        with pytest.raises(UsageError, match="claims 2,000 bytes unpacked"):
            load(packed(tmp_path / f"a.{kind}", {"a.png": bytes(2000)}))


def test_a_zip_bomb_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "BOMB", (200, 10_000))
    with pytest.raises(UsageError, match="zip bomb"):
        load(packed(tmp_path / "a.zip", {f"{i}.png": bytes(200_000) for i in range(3)}))


def test_a_member_that_unpacks_to_more_than_it_claims_is_refused(tmp_path):
    path = packed(tmp_path / "a.zip", {"a.png": png() + bytes(100_000)})
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, data.rfind(b"PK\1\2") + 24, 50)
    path.write_bytes(data)
    with pytest.raises(UsageError, match="not those that its list tells of"):
        load(path)


def test_a_compressed_tar_beyond_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST_UNPACKED", 5000)
    with pytest.raises(UsageError, match=r"takes more than 5,000 bytes unpacked: decompress it"):
        load(packed(tmp_path / "a.tar.gz", {"a.png": png(), "b.bin": bytes(10_000)}))


def test_compressed_tars_share_the_memory_that_is_free(tmp_path, monkeypatch):
    free = iter([25_000, 9_000])  # The second finds what the first left.
    monkeypatch.setattr(archives, "available", lambda: next(free))
    for name in "ab":
        packed(tmp_path / f"{name}.tar.gz", {f"{name}.png": png(), "b.bin": bytes(5_000)})
    with pytest.raises(UsageError, match=r"b\.tar\.gz takes more than 4,500 bytes unpacked: decompress it"):
        load(tmp_path)


def test_a_zip_of_too_many_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    for kind in ("zip", "tar"):
        with pytest.raises(UsageError, match="more than 3 files"):
            load(packed(tmp_path / f"a.{kind}", {f"{i}.png": png() for i in range(6)}))


def test_two_members_of_one_name_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(UsageError, match=r"holds 'a\.png' twice"):
        load(tmp_path / "a.tar")


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_an_archive_without_pictures_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"no images in .*\(looked for .*\.png"):
        load(packed(tmp_path / name, {"readme.txt": "nothing"}))


@pytest.mark.parametrize("name", ["a.rar", "a.png"])
def test_other_files_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match=name):
        load(write(tmp_path, {name: "x"}) / name)


# Numbers and transparency


def save(path: Path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def test_integers_of_32_bits_are_refused_or_scaled_as_told(tmp_path):
    save(tmp_path / "a.tif", np.full((16, 16), 100, np.int32))
    save(tmp_path / "b.tif", np.full((16, 16), 200, np.int32))
    with pytest.raises(UsageError, match=r"signed or 32-bit integers \(100 to 100\).*--white"):
        load(tmp_path)
    assert load(tmp_path, white=255).images[:, 0, 0, 0].tolist() == [100, 200]
    assert load(tmp_path, white=400).images[:, 0, 0, 0].tolist() == [64, 128]


def test_floating_point_is_scaled_as_told(tmp_path):
    save(tmp_path / "a.tif", np.full((16, 16), 0.5, np.float32))
    assert load(tmp_path, white=1).images[0, 0, 0, 0] == 128


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize(("most", "white"), [(4000, 4095), (1000, 1023), (200, 255), (30_000, 65_535)])
def test_values_far_below_16_bits_are_noticed(tmp_path, capsys, ending, most, white):
    save(tmp_path / f"a.{ending}", np.full((16, 16), most, np.uint16))
    save(tmp_path / f"b.{ending}", np.full((16, 16), most // 2, np.uint16))
    assert load(tmp_path).images[:, 0, 0, 0].tolist() == [round(most / white * 255), round(most // 2 / white * 255)]
    assert ("is taken for white" in capsys.readouterr().err) == (white < 65_535)
    assert load(tmp_path, white=65535).images[0, 0, 0, 0] == round(most / 65_535 * 255)


@pytest.mark.parametrize(
    ("background", "expected"), [("white", [255] * 3), ("black", [0] * 3), ("#0a141e", [10, 20, 30])]
)
def test_transparency_is_laid_on_what_is_asked_for(tmp_path, capsys, background, expected):
    Image.new("RGBA", (16, 16), (255, 0, 0, 0)).save(tmp_path / "a.png")
    Image.new("RGB", (16, 16), (200, 0, 0)).save(tmp_path / "b.png")
    assert load(tmp_path, background=background).images[0, :, 0, 0].tolist() == expected
    assert f"transparent pixels are laid on {background}" in capsys.readouterr().err


def test_a_background_that_is_no_colour_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--background: write white, black or #RRGGBB, not 'blak'"):
        load(write(tmp_path, {"a.png": png()}), background="blak")


def test_a_background_that_is_transparent_itself_is_told(tmp_path, capsys):
    Image.new("RGBA", (16, 16), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert load(tmp_path, background="#0a141e80").images[0, :, 0, 0].tolist() == [10, 20, 30]
    assert "#0a141e80 (--background), whose own transparency is dropped" in capsys.readouterr().err


def test_a_background_that_is_never_seen_is_told(tmp_path, capsys):
    load(write(tmp_path, {"a.png": png()}), background="red")
    assert "--background red is not used: no picture is transparent" in capsys.readouterr().err
    load(tmp_path)
    assert "background" not in capsys.readouterr().err


def test_the_cache_knows_the_background(tmp_path, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("ganzoo.data.memory.IN_MEMORY_BYTES", 10)
    root = tmp_path / "root"
    root.mkdir()
    for name in "ab":
        Image.new("RGBA", (16, 16), (255, 0, 0, 0)).save(root / f"{name}.png")
    assert load(root, background="white").images[0].max() == 255
    assert load(root, background="black").images[0].max() == 0


def test_enlarging_is_mentioned(tmp_path, capsys):
    load(write(tmp_path, {"a.png": png(size=(20, 30)), "b.png": png(size=(90, 90))}))
    assert "some pictures are smaller than 64 x 64 (the smallest side: 20 pixels)" in capsys.readouterr().err


# Broken pictures


def with_broken(root: Path) -> Path:
    whole = png(100)
    files = {f"{i:02}.png": whole for i in range(12)}
    return write(root, {**files, "00.png": b"", "01.png": "not a picture", "02.png": whole[:60]})


@pytest.mark.parametrize("request_", [{}, {"image_size": 16, "channels": 3}])
def test_all_broken_pictures_are_counted(tmp_path, request_):
    with pytest.raises(
        UsageError, match=r"3 of 12 pictures cannot be read \(00\.png, 01\.png, 02\.png\).*--skip-broken"
    ):
        open_dataset(Folder(), DataRequest(root=with_broken(tmp_path), **request_))


def test_broken_pictures_are_left_out_and_listed_when_told(tmp_path, capsys):
    assert len(load(with_broken(tmp_path), skip_broken=True)) == 9
    assert "3 of 12 pictures cannot be read and are left out: 00.png, 01.png, 02.png" in capsys.readouterr().err


def test_a_class_that_skip_broken_removes_is_named(tmp_path, capsys):
    write(tmp_path, {**{f"{c}/{i}.png": png() for c in ("cat", "dog") for i in "12"}, "eel/1.png": "x"})
    assert load(tmp_path, skip_broken=True).classes == ("cat", "dog")
    assert "classes of which no picture is left (1): eel" in capsys.readouterr().err


def test_none_but_broken_pictures_are_refused(tmp_path):
    write(tmp_path, {"a.png": "x", "b.png": "y"})
    for skip in (False, True):
        with pytest.raises(UsageError, match=r"none of the 2 pictures .*can be read"):
            load(tmp_path, skip_broken=skip)


# The command line


def test_options_of_the_data_set_are_options_of_commands(ganzoo, tmp_path):
    root = write(tmp_path / "pets", {**rows(*[f"{i}.png,{'ab'[i % 2]},{'xy'[i // 2]}" for i in range(4)])})
    data = ("--dataset", "folder", "--data-root", root)
    run = ("run", *TINY, *data, "--batch-size", "2", "--steps", "10", "--out", "run", "--quiet")
    assert "--label-column" in ganzoo("run", "tiny", "--dataset", "folder", "--help").out
    assert "--label-column" not in ganzoo("run", "tiny", "--help").out
    assert ganzoo(*run).code == 2
    assert ganzoo(*run, "--label-column", "kind").code == 0
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["settings"]["data_options"] == {"label_column": "kind"}
    assert info["data"]["classes"] == ["a", "b"]
    assert ganzoo("resume", "run", "--steps", "20").code == 0


def test_an_option_of_another_data_set_says_whose_it_is(ganzoo):
    result = ganzoo("run", "tiny", "--skip-broken")
    assert result.code == 2
    assert "--skip-broken belongs to data set 'folder', and the data set is 'mnist'" in result.err


def test_pictures_of_ones_own_are_not_forgotten_for_digits(ganzoo, tmp_path):
    """`--data-root` without `--dataset folder` trained on MNIST without a word."""
    write(tmp_path / "pets", {f"{i}.png": png() for i in range(4)})
    assert ganzoo("run", *TINY, "--steps", 2, "--out", "done", "--quiet").code == 0
    for command in (
        ("run", "gan", "--data-root", "pets", "--steps", 2, "--out", "r"),
        ("run", "gan", "--dataset", "emoji", "--data-root", "nowhere", "--dry-run"),
        ("eval", "done", "--dataset", "mnist", "--data-root", "pets"),
        ("eval", "pets", "--data-root", "pets"),
        ("features", "train", "--dataset", "mnist", "--data-root", "pets"),
        ("compare", "gan", "cgan", "--data-root", "pets", "--steps", 2),
        ("bench", "gan", "--data-root", "pets"),
        ("sweep", "gan", "--data-root", "pets", "--set", "lr=1e-3,1e-4", "--budget", "2steps"),
    ):
        result = ganzoo(*command)
        assert (result.code, result.err.count("\n")) == (2, 1), (command, result.err)
        assert "reads no files from there; for pictures of your own add --dataset folder" in result.err
    assert not (tmp_path / "r").exists()


def test_a_test_split_of_broken_pictures_is_told_where_d_is_to_be_asked_of_it(ganzoo, tmp_path):
    whole = {f"train/{i:02}.png": png(100) for i in range(20)}
    write(tmp_path / "a", {**whole, "test/x.png": b"", "test/y.png": b""})
    data = ("--dataset", "folder", "--data-root", "a", "--skip-broken")
    result = ganzoo("run", "gan", *data, "--batch-size", 4, "--steps", 4, "--sample-interval", 2, "--out", "r")
    assert result.code == 0
    assert "what D says of held-out images is not told, for the test split cannot be had: none of the 2" in result.err
    assert "pictures of the test split in" in result.err


def test_pictures_are_read_once_recognised(tmp_path):
    found = read_pictures(write(tmp_path, {"a/1.png": png(), "b/1.png": png()}))
    assert found.format == "a folder of class folders"
    assert found.names == ["a/1.png", "b/1.png"]


# `ganzoo data`


def noise(seed: int, size=(16, 16)) -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(data, "PNG")
    return data.getvalue()


def test_inspect_says_what_is_there_and_what_a_run_would_do(ganzoo, tmp_path):
    root = write(tmp_path / "pets", {f"{c}/{i}.png": noise(i + 100 * (c == "b")) for c in "ab" for i in range(60)})
    write(root, {"b/copy.png": noise(3), "b/broken.png": "x", "a/large.png": noise(9, (40, 30))})
    result = ganzoo("data", "inspect", root, "--json", "--skip-broken", "-o", "grid.png")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert told["format"] == "a folder of class folders"
    assert told["pictures"] == 123
    assert told["classes"] == {"a": 61, "b": 61}
    assert told["sizes"] == {"count": 2, "smallest": [16, 16], "largest": [30, 40], "square": False}
    assert told["duplicates"]["names"] == [["a/3.png", "b/copy.png"]]
    assert told["duplicates"]["in_several_classes"] == 1
    assert [*told["broken"]["names"]] == ["b/broken.png"]
    assert told["run"]["shape"] == [3, 64, 64]
    assert told["run"]["training"] + told["run"]["test"] == 122
    assert told["run"]["test_is"] == "held out by name"
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (20 * 66 + 2, 2 * 66 + 2)
    text = ganzoo("data", "inspect", root).out
    assert "duplicates   1 in 1 groups, 1 groups in several classes" in text
    assert "would be refused" in text


def test_inspect_counts_copies_that_are_in_both_splits(ganzoo, tmp_path):
    root = write(tmp_path / "pets", {"train/a.png": noise(1), "train/b.png": noise(2), "val/a.png": noise(1)})
    told = json.loads(ganzoo("data", "inspect", root, "--json").out)
    assert told["splits"] == {"train": 2, "test": 1}
    assert told["duplicates"]["in_both_splits"] == 1


@pytest.mark.parametrize("out", ["out.zip", "out"])
@pytest.mark.parametrize("source", ["classes", "flat", "splits", "numbers"])
def test_what_is_converted_is_the_same_data(ganzoo, tmp_path, out, source):
    names = {
        "classes": [f"{c}/{i}.png" for c in ("a cat", "dog") for i in range(3)],
        "flat": [f"{i}.png" for i in range(6)],
        "splits": [f"{s}/{c}/{i}.png" for s in ("training", "val") for c in "ab" for i in range(2)],
        "numbers": [f"{k}/{i}.png" for k in (9, 10, 11) for i in range(2)],
    }[source]
    root = write(tmp_path / "pets", {name: noise(i) for i, name in enumerate(names)})
    assert ganzoo("data", "convert", root, out).code == 0
    for split in ("train", "test"):
        before, after = load(root, split), load(tmp_path / out, split)
        assert before.classes == after.classes
        order = slice(None) if after.labels is None else after.labels.argsort(stable=True)  # Files may be in another.
        assert torch.equal(before.images, after.images[order])
        assert after.labels is before.labels is None or torch.equal(before.labels, after.labels[order])


def test_a_converted_zip_is_stylegans(ganzoo, tmp_path):
    root = write(tmp_path / "pets", {f"{c}/{i}.png": noise(i, (20, 30)) for c in ("b", "a") for i in range(2)})
    result = ganzoo("data", "convert", root, "out.zip", "--image-size", "16", "--json")
    assert json.loads(result.out) == {
        "out": "out.zip",
        "pictures": 4,
        "left_out": 0,
        "broken": [],
        "classes": {"a": 2, "b": 2},
    }
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        labels = json.loads(archive.read("dataset.json"))["labels"]
        assert [label for _, label in labels] == [0, 0, 1, 1]
        for name, _ in labels:
            with Image.open(io.BytesIO(archive.read(name))) as picture:
                assert (picture.format, picture.size, picture.mode) == ("PNG", (16, 16), "RGB")


def test_an_npz_becomes_a_folder_of_png(ganzoo, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=[0, 1, 0, 1])
    assert ganzoo("data", "convert", "a.npz", "out").code == 0
    assert len([*(tmp_path / "out").glob("?/*.png")]) == 4
    assert torch.equal(load(tmp_path / "out").images, torch.from_numpy(images[[0, 2, 1, 3], None]))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("inspect", "nowhere"), "there is no folder nowhere"),
        (("inspect", "pets", "-o", "grid.jpg"), "name a .png"),
        (("convert", "pets", "pets"), "is there already"),
        (("convert", "pets", "out.tar"), "name a .zip to write, or a folder"),
        (("convert", "pets", "out", "--channels", "1"), "--channels goes with --image-size"),
        (("convert", "pets", "out", "--background", "black"), "--background goes with --image-size"),
        (("convert", "pets", "out", "--test-share", "0.2"), "--test-share is for runs"),
        (("convert", "broken", "out"), "1 of 2 pictures cannot be read"),
        (("inspect", "pets", "--labl-column", "x"), "--label-column"),
    ],
)
def test_what_cannot_be_inspected_or_converted_is_one_line(ganzoo, tmp_path, args, message):
    write(tmp_path / "pets", {"a.png": png()})
    write(tmp_path / "broken", {"a.png": png(), "b.png": "x"})
    result = ganzoo("data", *args)
    assert result.code == 2
    assert message in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("cached", [True, False])
def test_a_run_goes_on_with_a_line_where_pictures_that_stream_are_others(ganzoo, tmp_path, monkeypatch, cached):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("ganzoo.data.memory.AT_ONCE_BYTES", 0)
    if not cached:
        monkeypatch.setattr("ganzoo.data.imagefiles.decoded_once", lambda files: files)
    write(tmp_path / "pets", {f"{'ab'[i % 2]}/{i}.png": noise(i, (8, 8)) for i in range(8)})
    data = ("--dataset", "folder", "--data-root", "pets", "--image-size", "8", "--workers", "0")
    done = ganzoo("run", *TINY, *data, "--batch-size", "4", "--steps", "2", "--out", "run", "--quiet")
    assert done.code == 0, done.err
    assert "other pixels" not in ganzoo("resume", "run", "--steps", "4").err
    write(tmp_path / "pets", {"b/3.png": noise(99, (9, 9))})
    result = ganzoo("resume", "run", "--steps", "6")
    assert (result.code, "began with other pixels or labels" in result.err) == (0, True)


def test_statistics_of_pictures_that_stream_are_not_those_of_others(tmp_path, monkeypatch):
    from ganzoo.metrics.classifier import Classifier, Shape, Trained, pack
    from ganzoo.metrics.reference import Reference

    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("ganzoo.data.memory.AT_ONCE_BYTES", 0)
    shape = Shape(3, 8, 2)
    (tmp_path / "f.safetensors").write_bytes(pack(Classifier(shape), shape, {"classes": ["a", "b"]}))
    write(
        tmp_path / "pets", {f"{i:03}.png": noise(i, (8, 8)) for i in range(300)}
    )  # Of which every second is looked at.

    def reference():
        return Reference(Folder(), Trained(tmp_path / "f.safetensors"), "train", root=tmp_path / "pets")

    before = reference()
    write(tmp_path / "pets", {"001.png": noise(999, (8, 8))})
    after = reference()
    assert before.fingerprint == after.fingerprint
    assert before.file() != after.file()


# What measures them


def test_numbers_say_what_they_were_measured_against(ganzoo, tmp_path):
    write(tmp_path / "pets", {f"{c}/{i}.png": noise(i + 100 * (c == "b"), (8, 8)) for c in "ab" for i in range(60)})
    data = ("--dataset", "folder", "--data-root", "pets")
    train = ganzoo("features", "train", *data, "--epochs", "1", "-o", "f.safetensors")
    assert train.code == 0, train.err
    assert "of the held-out images" in train.out
    told = ganzoo("eval", "pets/a", *data, "--features", "f.safetensors", "--metrics", "fid")
    assert told.code == 0, told.err
    assert "folder held-out (" in told.out
    assert "caution: FID of 60 images against" in told.err
    whole = ganzoo("eval", "pets/a", *data, "--features", "f.safetensors", "--metrics", "fid", "--test-share", "0")
    assert "folder train (120)" in whole.out
    assert "the reference is the training images" in whole.err
    assert (
        "of the training images"
        in ganzoo("features", "train", *data, "--epochs", "1", "-o", "g.safetensors", "--test-share", "0").out
    )


def test_a_test_split_without_labels_is_left_out_when_told(tmp_path, capsys):
    files = {f"{split}/{i}.png": png() for split, n in (("train", range(4)), ("test", range(4, 8))) for i in n}
    root = write(tmp_path, {**files, "trainLabels.csv": "id,label\n0,a\n1,b\n2,a\n3,b\n"})
    with pytest.raises(UsageError, match=r"4 of 8 pictures .* have no label"):
        load(root)
    assert len(load(root, skip_unlabelled=True)) == 4
    assert "only the pictures in one split have labels: train" in capsys.readouterr().err


def test_json_beside_pictures_is_said_not_to_be_used(keep, capsys):
    load(keep({"a.jpg": png(), "a.json": "{}", "b.jpg": png(), "b.json": "{}"}))
    assert "2 .json files beside pictures are not used" in capsys.readouterr().err


def test_backslashes_of_some_programs_are_folders(tmp_path):
    assert load(packed(tmp_path / "a.zip", {"cat\\a.png": png(), "dog\\a.png": png()})).classes == ("cat", "dog")


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip", "npz"])
def test_entries_travel_to_processes_that_are_not_forked(tmp_path, kind):
    import pickle

    path = tmp_path / f"a.{kind}"
    if kind == "npz":
        np.savez(path, images=np.zeros((2, 8, 8), np.uint8))
    else:
        packed(path, {"a.png": png(), "b.png": png()})
    for source in read_pictures(path).sources:
        again = pickle.loads(pickle.dumps(source))
        assert again.open().read() == source.open().read()
        assert again.stamp() == source.stamp()


def test_a_run_of_version_0_1_0_goes_on_with_the_classes_and_pictures_it_had(ganzoo, tmp_path):
    write(tmp_path / "pets", {f"{k}/{i}.png": noise(100 * k + i, (8, 8)) for k in (1, 2, 10) for i in range(40)})
    run = ("run", *TINY, "--dataset", "folder", "--data-root", "pets", "--steps", "10", "--out", "run", "--quiet")
    assert ganzoo(*run, "--layout", "folders", "--test-share", "0").code == 0
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["data"]["classes"] == ["1", "10", "2"]
    assert info["data"]["count"] == 120
    del info["settings"]["data_options"]  # As that version wrote it.
    (tmp_path / "run" / "run.json").write_text(json.dumps(info))
    result = ganzoo("resume", "run", "--steps", "20", "--quiet")
    assert result.code == 0, result.err
    again = ganzoo("run", "--config", "run/run.json", "--out", "again", "--quiet")
    assert again.code == 0, again.err
    assert json.loads((tmp_path / "again" / "run.json").read_text())["data"]["classes"] == ["1", "10", "2"]


def test_a_run_is_measured_with_the_options_it_was_trained_with(ganzoo, tmp_path):
    files = {f"{i}.png": noise(i, (8, 8)) for i in range(120)}
    table = "file,kind,mood\n" + "".join(f"{i}.png,{'ab'[i % 2]},{'xyz'[i % 3]}\n" for i in range(120))
    write(tmp_path / "pets", {**files, "t.csv": table})
    data = ("--dataset", "folder", "--data-root", "pets", "--label-column", "mood", "--test-share", "0.3")
    assert ganzoo("features", "train", *data, "--epochs", "1", "-o", "f.safetensors").code == 0
    assert ganzoo("run", *TINY, *data, "--steps", "10", "--out", "run", "--quiet").code == 0
    told = ganzoo("eval", "run", "--features", "f.safetensors", "--metrics", "fid", "--n", "50")
    assert told.code == 0, told.err
    share = sum(held_out(name) < 0.3 for name in files)
    assert f"folder held-out ({share})" in told.out
    assert ganzoo("eval", "--test-share", "0.5", "run", "--features", "f.safetensors", "--metrics", "fid").code == 0
    other = ganzoo("eval", "run", "--label-column", "kind", "--features", "f.safetensors", "--metrics", "accuracy")
    assert other.code == 2


def test_options_in_a_file_are_those_of_its_data_set(ganzoo, tmp_path):
    write(tmp_path / "pets", {f"{c}/{i}.png": noise(i, (8, 8)) for c in "ab" for i in range(40)})
    (tmp_path / "c.toml").write_text('dataset = "folder"\ndata_root = "pets"\n[data_options]\ntest_share = 0.5\n')
    run = (
        "run",
        "tiny",
        "--config",
        "c.toml",
        "--loggers",
        "none",
        "--batch-size",
        "8",
        "--steps",
        "2",
        "--dry-run",
        "--json",
    )
    plan = json.loads(ganzoo(*run).out)
    assert plan["settings"]["data_options"] == {"test_share": 0.5}
    assert plan["data"]["count"] < 60
    plan = json.loads(ganzoo(*run, "--test-share", "0", "--background", "black").out)
    assert plan["settings"]["data_options"] == {"test_share": 0.0, "background": "black"}
    other = json.loads(ganzoo(*run, "--dataset", "small-digits").out)
    assert other["settings"]["data_options"] == {}


def test_a_data_set_whose_options_no_command_could_have_is_refused(registry_of):
    from pydantic import Field

    from ganzoo.data import Dataset, DatasetOptions

    class Seeded(DatasetOptions):
        seed: int = Field(0, description="A name that every run has.")

    class Silent(DatasetOptions):
        width: int = 3

    for options, message in (
        (Seeded, "has the name of an option of every run"),
        (Silent, "has no description"),
        (int, "must be a subclass of DatasetOptions"),
    ):
        cls = type("Bars", (Dataset,), {"name": "bars", "summary": "bars", "Options": options, "load": lambda *_: None})
        assert message in registry_of(cls).plugins[0].broken


@pytest.fixture
def registry_of():
    from types import ModuleType

    import ganzoo as door
    from ganzoo.plugins import Plugin, Registry

    def made(cls):
        registry = Registry()
        hook = door.hookimpl(lambda register: register(cls), specname="register_datasets")
        module = ModuleType("bars")
        module.register_datasets = hook
        registry.add(Plugin("bars", "bars", "0", "bars"), module)
        return registry

    return made


def test_info_explains_a_data_set(ganzoo):
    result = ganzoo("info", "folder")
    assert "--dataset folder" in result.out
    assert "label-column" in result.out
    assert json.loads(ganzoo("info", "folder", "--json").out)["options"]["test_share"]["bounds"] == [">= 0", "<= 0.9"]


# Parquet


def parquet(path: Path, labels, names=None, **columns) -> None:
    """A file as Hugging Face writes one; `names` are those of its classes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [{"bytes": png(60 + i), "path": f"{i}.png"} for i in range(len(labels))]
    table = pa.table({"image": images, "label": labels, **columns})
    if names:
        about = {"info": {"features": {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def test_parquet_holds_images_and_named_classes(tmp_path):
    parquet(tmp_path / "a.parquet", [1, 0, 1, 0], ["cat", "dog"])
    data = load(tmp_path / "a.parquet")
    assert data.classes == ("cat", "dog")
    assert data.labels.tolist() == [1, 0, 1, 0]
    assert data.images[:, 0, 0, 0].tolist() == [60, 61, 62, 63]


def test_names_of_classes_in_parquet_that_come_twice_are_not_used(tmp_path, capsys):
    parquet(tmp_path / "a.parquet", [0, 1, 2, 2], ["cat", "cat", "dog"])
    assert load(tmp_path / "a.parquet").classes == ("0", "1", "2")
    assert "names of classes in column 'label' are not used, for several are called cat" in capsys.readouterr().err
    parquet(tmp_path / "b.parquet", [0, 1, 2, 2], ["cat", "2"])
    with pytest.raises(UsageError, match=r"b\.parquet: column 'label' has class 2 without a name, and"):
        load(tmp_path / "b.parquet")


@pytest.mark.parametrize("kind", ["view", "dictionary"])
def test_parquet_of_newer_kinds_of_columns_is_read(tmp_path, kind):
    import pyarrow as pa
    import pyarrow.parquet as pq

    if kind == "view" and not hasattr(pa, "binary_view"):
        pytest.skip("this pyarrow has none")
    images, labels = pa.array([png(60), png(61)] * 2, pa.binary()), pa.array(["a", "b"] * 2)
    if kind == "view":
        images, labels = images.cast(pa.binary_view()), labels.cast(pa.string_view())
    else:
        images, labels = images.dictionary_encode(), labels.dictionary_encode()
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "a.parquet")
    data = load(tmp_path / "a.parquet")
    assert (data.classes, data.images[:, 0, 0, 0].tolist()) == (("a", "b"), [60, 61, 60, 61])


def test_classes_in_parquet_may_be_decimals(tmp_path):
    import pyarrow as pa

    parquet(tmp_path / "a.parquet", pa.array([Decimal(1), Decimal(2), Decimal(10), Decimal(2)], pa.decimal128(9, 2)))
    assert load(tmp_path / "a.parquet").classes == ("1", "2", "10")
    parquet(tmp_path / "b.parquet", pa.array([Decimal("1.5"), Decimal(2)] * 2, pa.decimal128(9, 2)))
    assert load(tmp_path / "b.parquet").classes == ()


@pytest.mark.parametrize(("structs", "options"), [(True, {}), (False, {}), (True, {"use_dictionary": False})])
def test_parquet_of_several_groups_of_rows_is_read_whole(tmp_path, structs, options):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures = [png(i) for i in range(230)]
    images = [{"bytes": data, "path": f"{i}.png"} for i, data in enumerate(pictures)] if structs else pictures
    table = pa.table({"image": images, "label": [i % 3 for i in range(230)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100, **options)
    found: dict[int, int] = {}
    for data in (load(tmp_path / "a.parquet"), load(tmp_path / "a.parquet", "test")):
        found |= dict(zip(data.images[:, 0, 0, 0].tolist(), data.labels.tolist(), strict=True))
    assert found == {i: i % 3 for i in range(230)}


def test_parquet_of_paths_without_images_is_refused_as_such(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pa.table(
        {"image": pa.array([{"bytes": None, "path": "/x/0.png"}], pa.struct({"bytes": "binary", "path": "string"}))}
    )
    pq.write_table(rows, tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=r"a\.parquet holds no bytes of images, but paths of them \(/x/0\.png\): save"):
        load(tmp_path / "a.parquet")


def test_a_test_split_of_parquet_without_rows_is_refused(tmp_path):
    import pyarrow.parquet as pq

    parquet(tmp_path / "train-0.parquet", ["a", "b"])
    pq.write_table(pq.read_table(tmp_path / "train-0.parquet").slice(0, 0), tmp_path / "test-0.parquet")
    with pytest.raises(UsageError, match=r"no images in test-0\.parquet in .*: it has no rows"):
        load(tmp_path)


def test_a_folder_of_parquet_is_split_by_the_names_of_files(tmp_path, capsys):
    for split, shards in (("train", 2), ("validation", 1), ("unsupervised", 1)):
        for shard in range(shards):
            parquet(tmp_path / "data" / f"{split}-{shard:05d}-of-{shards:05d}.parquet", ["a", "b", "a", "b"])
    assert classes_of(load(tmp_path)) == {"a": 4, "b": 4}
    assert len(load(tmp_path, "test")) == 4
    assert "unsupervised-00000-of-00001.parquet are left out" in capsys.readouterr().err


def test_parquet_of_several_columns_asks_which(tmp_path):
    parquet(tmp_path / "a.parquet", [0, 1, 0, 1], mood=["x", "x", "y", "y"])
    with pytest.raises(UsageError, match=r"several columns that may hold classes \(label, mood\)"):
        load(tmp_path / "a.parquet")
    assert load(tmp_path / "a.parquet", label_column="mood").classes == ("x", "y")
    assert load(tmp_path / "a.parquet", label_column="none").labels is None


def test_parquet_that_cannot_be_used_is_one_line(tmp_path, monkeypatch):
    import sys

    import pyarrow as pa
    import pyarrow.parquet as pq

    parquet(tmp_path / "a.parquet", [0, -1, 0, 1], ["cat", "dog"])
    with pytest.raises(UsageError, match=r"1 of 4 pictures in .* have no label"):
        load(tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"cut\.parquet is damaged"):
        load(tmp_path / "cut.parquet")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "text.parquet")
    with pytest.raises(UsageError, match=r"no column of bytes \(text\)"):
        load(tmp_path / "text.parquet")
    monkeypatch.setattr("ganzoo.data.parquet.LARGEST_UNPACKED", 100)
    with pytest.raises(UsageError, match="more than 100 bytes are not held in memory"):
        load(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r"pip install 'ganzoo\[parquet\]'"):
        load(tmp_path / "a.parquet")


def test_models_are_compared_on_a_data_set_with_its_options(ganzoo, tmp_path, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("ganzoo.runs.measuring.MEASURED", 100)
    write(tmp_path / "pets", {f"{c}/{i}.png": noise(i + 100 * (c == "b"), (8, 8)) for c in "ab" for i in range(50)})
    data = ("--dataset", "folder", "--data-root", "pets", "--test-share", "0.25")
    assert ganzoo("features", "train", *data, "--epochs", "1").code == 0
    result = ganzoo("compare", "tiny", *data, "--epochs", "1", "--quiet", "-o", "report.json")
    assert result.code == 0, result.err
    (told,) = (tmp_path / "runs" / "compare").glob("*/run.json")
    assert json.loads(told.read_text())["settings"]["data_options"] == {"test_share": 0.25}
    assert "--test-share 0.25" in (tmp_path / "report.json").read_text()
    none = ganzoo("compare", "runs/compare", "--dataset", "folder", "--test-share", "0.25")
    assert none.code == 2


def test_an_extractor_that_has_learnt_from_other_pictures_than_there_are_now_is_told(ganzoo, tmp_path, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    files: dict[str, bytes | str] = {f"{c}/{i}.png": noise(i + 9 * (c == "b"), (8, 8)) for c in "ab" for i in range(6)}
    write(tmp_path / "pets", files)
    data = ("--dataset", "folder", "--data-root", "pets")
    assert ganzoo("features", "train", *data, "--epochs", "1").code == 0
    measured = ("eval", "pets/a", *data, "--metrics", "fid", "--n", "6")
    assert "makes it anew" not in ganzoo(*measured).err
    (tmp_path / "pets" / "b").rename(tmp_path / "pets" / "c")
    told = ganzoo(*measured)
    assert "was trained on other images, labels or classes than these: `ganzoo features train" in told.err
    (tmp_path / "pets" / "c").rename(tmp_path / "pets" / "b")
    large = tmp_path / "large"  # Images of another size are looked at through the same extractor.
    write(large, {f"{i}.png": noise(i, (12, 12)) for i in range(6)})
    of_large = ("eval", "large", *data, "--metrics", "fid", "--n", "6")
    fits = ganzoo(*of_large)
    assert (fits.code, "makes it anew" in fits.err) == (0, False)
    write(tmp_path / "pets", {"b/0.png": noise(99, (8, 8))})
    assert "makes it anew" in ganzoo(*measured).err
    assert "makes it anew" in ganzoo(*of_large).err


def test_of_pictures_without_classes_it_is_not_advised_to_train_an_extractor(ganzoo, tmp_path, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "flat", {f"{i}.png": noise(i, (8, 8)) for i in range(6)})
    result = ganzoo("eval", "flat", "--dataset", "folder", "--data-root", "flat", "--metrics", "fid", "-n", 6)
    assert result.code == 2
    assert "it has no classes to train one by: name one with --features (" in result.err
    assert "features train" not in result.err


@pytest.mark.parametrize("name", ["labels.csv", "metadata.jsonl"])
def test_a_table_of_very_many_columns_is_refused_before_it_takes_memory(tmp_path, name):
    columns = [f"c{i}" for i in range(1001)]
    table = ",".join(["file", *columns]) + "\na.png,cat\n"
    if name.endswith("jsonl"):
        table = "\n".join(json.dumps({"file_name": "a.png", column: 1}) for column in columns)
    with pytest.raises(UsageError, match=f"{name} has 1,002 columns, more than 1,000"):
        read_pictures(write(tmp_path / "set", {"a.png": png(), name: table}))


# What was silent once


@pytest.mark.parametrize(
    "rows",
    ["p0.png,dog\np1.png,cat\np2.png,dog\np3.png,cat\n", "p0,dog\np1,cat\np2,dog\np3,cat\n"],
    ids=["names", "stems"],
)
def test_a_table_without_a_header_loses_no_picture_however_it_names_them(tmp_path, rows):
    root = write(tmp_path / "a", {f"images/p{i}.png": png() for i in range(4)} | {"labels.csv": rows})
    assert classes_of(load(root)) == {"cat": 2, "dog": 2}


@pytest.mark.parametrize("path", ["/home/me/pics/{}.png", "C:\\data\\{}.png", "{}.PNG", "old/{}.jpg"])
@pytest.mark.parametrize("classes", ["ab", "12"])
def test_counts_of_rows_and_classes_are_no_names_where_paths_are(tmp_path, path, classes):
    order = [7, 3, 0, 5, 1, 6, 2, 4]
    label = {i: classes[i % 3 == 0] for i in order}
    rows = "".join(f"{row},{path.format(i)},{label[i]}\n" for row, i in enumerate(order))
    pictures: dict[str, bytes | str] = {f"{i}.png": png(10 * i + 5) for i in order}
    for head in (",path,label", "id,filepath,label"):
        found = load(write(tmp_path / head[:2], pictures | {"table.csv": f"{head}\n{rows}"}), label_column="label")
        levels = {10 * i + 5: label[i] for i in order}
        of = dict(
            zip(found.images[:, 0, 0, 0].tolist(), [found.classes[k] for k in found.labels.tolist()], strict=True)
        )
        assert of == levels


def test_the_title_tells_which_of_two_columns_of_numbers_names_pictures(tmp_path):
    order = [7, 3, 0, 5, 1, 6, 2, 4]
    rows = "".join(f"{i},{i % 2}\n" for i in order)
    root = write(tmp_path / "a", {f"{i}.png": png(10 * i) for i in order} | {"table.csv": f"image_id,label\n{rows}"})
    data = load(root)
    assert [level // 10 % 2 for level in data.images[:, 0, 0, 0].tolist()] == data.labels.tolist()


def test_a_table_without_a_header_whose_first_picture_is_missing_says_so(tmp_path):
    rows = "gone.png,dog\np1.png,cat\np2.png,dog\np3.png,cat\n"
    root = write(tmp_path / "a", {f"images/p{i}.png": png() for i in range(1, 4)} | {"labels.csv": rows})
    with pytest.raises(UsageError, match=r"labels\.csv names pictures that are not there \(1\): gone\.png"):
        load(root)


@pytest.mark.parametrize("labelled", [True, False])
def test_tars_are_split_by_how_their_names_begin(tmp_path, capsys, labelled):
    def shard(name: str, level: int, count: int) -> None:
        files: dict[str, bytes | str] = {f"{i:04d}.png": png(level) for i in range(count)}
        packed(tmp_path / name, files | ({f"{i:04d}.cls": str(i % 2) for i in range(count)} if labelled else {}))

    shard("train-0000.tar", 10, 4)
    shard("train-0001.tar", 20, 4)
    shard("val-0000.tar", 30, 2)
    shard("extra-0000.tar", 40, 2)
    train, test = load(tmp_path), load(tmp_path, "test")
    assert sorted(train.images[:, 0, 0, 0].tolist()) == [10] * 4 + [20] * 4
    assert test.images[:, 0, 0, 0].tolist() == [30, 30]
    assert "extra-0000.tar are left out" in capsys.readouterr().err
    if labelled:
        assert classes_of(train) == {"0": 4, "1": 4}


def test_a_class_whose_training_pictures_are_all_broken_is_named(tmp_path):
    root = write(
        tmp_path / "a",
        {"train/a/0.png": png(), "train/b/0.png": "x", "test/a/1.png": png(), "test/b/1.png": png()},
    )
    with pytest.raises(UsageError, match=r"the training pictures of b in .* are all broken"):
        load(root, "test", skip_broken=True)


def test_parquet_keeps_its_classes_where_a_gap_made_floats_of_them(tmp_path, capsys):
    parquet(tmp_path / "a.parquet", [0.0, 1.0, 0.0, 1.0], score=[0.25, 1.0, 0.5, 2.0])
    assert classes_of(load(tmp_path / "a.parquet")) == {"0": 2, "1": 2}
    parquet(tmp_path / "b.parquet", [0.5, 1.0, 0.5, 1.0])
    assert load(tmp_path / "b.parquet").labels is None
    assert "neither text nor whole numbers are not used (beside label)" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"no column of text or whole numbers \(beside label\)"):
        load(tmp_path / "b.parquet", label_column="label")


def test_coloured_backgrounds_are_coloured_behind_grey_pictures_too(tmp_path):
    clear = io.BytesIO()
    Image.new("LA", (16, 16), (60, 0)).save(clear, "PNG")
    write(tmp_path, {"a.png": clear.getvalue(), "b.png": clear.getvalue()})
    assert load(tmp_path, background="#ff0000").images[0, :, 0, 0].tolist() == [255, 0, 0]
    assert load(tmp_path).images[0, :, 0, 0].tolist() == [255]


def test_a_picture_named_twice_in_dataset_json_is_refused(tmp_path):
    labels = json.dumps({"labels": [["a.png", 0], ["b.png", 1], ["a.png", 1]]})
    with pytest.raises(UsageError, match=r"names pictures twice \(1\): a.png"):
        load(write(tmp_path / "a", {"a.png": png(), "b.png": png(), "dataset.json": labels}))


def test_a_row_of_jsonl_without_a_name_is_told_by_its_number_and_text_may_hold_other_line_ends(tmp_path):
    told = '{"file_name": "a.png", "label": "x\u2028y"}\n{"file_name": "b.png", "label": "z"}\n'
    root = write(tmp_path / "a", {"a.png": png(), "b.png": png(), "metadata.jsonl": told})
    assert load(root, label_column="label").classes == ("x\u2028y", "z")
    (root / "metadata.jsonl").write_text(told + '{"label": "z"}\n', encoding="utf-8")
    with pytest.raises(UsageError, match="1 rows have no `file_name`, the first of them row 3"):
        load(root)


def test_pictures_smaller_than_any_size_that_can_be_asked_for_are_enlarged(tmp_path):
    write(tmp_path, {"a.png": png(size=(1, 1)), "b.png": png(size=(1, 1))})
    assert load(tmp_path).images.shape == (2, 3, 64, 64)


def test_what_is_not_finite_is_black(tmp_path):
    pixels = np.full((16, 16), 0.5, np.float32)
    pixels[0, :3] = np.inf, -np.inf, np.nan
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    assert load(tmp_path, white=1).images.flatten()[:4].tolist() == [0, 0, 0, 128]


@pytest.mark.parametrize("out", ["out", "out.zip"])
def test_classes_that_are_called_like_splits_stay_classes_when_converted(ganzoo, tmp_path, out):
    files: dict[str, bytes | str] = {f"p{i}.png": png() for i in range(4)}
    write(tmp_path / "a", files | {"labels.csv": "file,label\np0.png,train\np1.png,test\np2.png,a/b\np3.png,train\n"})
    result = ganzoo("data", "convert", "a", out)
    assert result.code == 0
    assert "cannot be those of folders (3): 'a/b' as 'a_b', 'test' as 'test_', 'train' as 'train_'" in result.err
    found = read_pictures(tmp_path / out)
    assert found.splits is None
    kept = {"a/b", "test", "train"} if out == "out.zip" else {"a_b", "test_", "train_"}
    assert set(found.labels or ()) == kept


def test_convert_decodes_as_a_run_does_and_says_what_it_says(ganzoo, tmp_path):
    deep = np.linspace(0, 4095, 256).reshape(16, 16).astype(np.uint16)
    (tmp_path / "a").mkdir()
    Image.fromarray(deep).save(tmp_path / "a" / "x.png")
    write(tmp_path / "a", {"y.png": "broken"})
    result = ganzoo("data", "convert", "a", "out", "--image-size", "16", "--skip-broken", "--json")
    assert "4,095 is taken for white" in result.err
    assert json.loads(result.out)["broken"] == ["y.png"]
    (made,) = (tmp_path / "out").glob("*.png")
    with Image.open(made) as picture:
        assert picture.getextrema() == ((0, 255),) * 3


def test_pictures_that_only_lack_their_white_are_copied_and_no_picture_loses_its_ending(ganzoo, tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.full((16, 16), 0.5, np.float32)).save(tmp_path / "a" / "x.tif")
    data = io.BytesIO()
    Image.new("RGB", (16, 16)).save(data, "WEBP")
    write(tmp_path / "a", {"y.png": data.getvalue()})
    assert ganzoo("data", "convert", "a", "out", "--skip-broken").code == 0
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".tif", ".webp"]


def test_notes_are_told_where_a_run_would_be_refused(ganzoo, tmp_path):
    write(tmp_path / "a", {"x.png": "broken"})
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "b")
    assert "links to folders (link, ...) are not followed" in ganzoo("data", "inspect", "a").out
