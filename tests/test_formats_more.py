"""Pictures as people keep them: what names which picture, what is left out, and what a run makes of rare ones."""

import io
import json
import re
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from ganzoo_plugins.folder import Folder
from PIL import Image

from ganzoo.data import DataRequest, open_dataset
from ganzoo.data.formats import read_pictures
from ganzoo.data.imagefiles import USUAL, Rule, eight_bits
from ganzoo.data.inspection import class_folders
from ganzoo.data.splits import by_words, folders_of, word_in
from ganzoo.data.tree import held_out
from ganzoo.errors import UsageError
from test_formats import _nothing_told, load, packed, write  # noqa: F401


def png(level=0, size=(16, 16), mode="RGB") -> bytes:
    data = io.BytesIO()
    Image.new(mode, size, level if mode != "RGB" else (level, 100, 200)).save(data, "PNG")
    return data.getvalue()


def parquet(path: Path, labels=None, first=0, bytes_last=False) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = len(labels or [0, 0])
    images: list[dict] = [{"bytes": png(first + i), "path": f"{i}.png"} for i in range(count)]
    if bytes_last:
        images = [{"path": row["path"], "bytes": row["bytes"]} for row in images]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images} | ({"label": labels} if labels else {})), path)
    return path


def reds(data) -> list[int]:
    return [int(image[0, 0, 0]) for image in data.images]


def pairs(data) -> dict[int, str]:
    """The class of each picture, which its red tells apart."""
    return {red: data.classes[label] for red, label in zip(reds(data), data.labels.tolist(), strict=True)}


SIX: dict[str, bytes | str] = {f"{i}.png": png(i) for i in range(6)}
PLAIN = {i: "ab"[i % 2] for i in range(6)}
"""The classes of those in the tables below."""


def table(*columns: str, name: str = "labels.csv", delimiter: str = ",", files=SIX, **values) -> dict[str, bytes | str]:
    """Six pictures and a table; columns are functions of the picture's number by their titles."""
    rows = [delimiter.join(str(values[c](i)) for c in columns) for i in range(6)]
    return {**files, name: "\n".join([delimiter.join(columns), *rows, ""])}


def label(i: int) -> str:
    return "ab"[i % 2]


# Which picture a row is of


def test_of_two_columns_that_name_pictures_the_one_with_a_usual_title_does_and_it_is_said(tmp_path, capsys):
    files = table("rank", "id", "label", rank=lambda i: 5 - i, id=lambda i: i, label=label)
    assert pairs(load(write(tmp_path, files))) == PLAIN
    assert "column 'label' of labels.csv, by its column 'id': a, b" in capsys.readouterr().err


def test_a_count_of_rows_names_no_pictures_where_another_column_does(tmp_path):
    files: dict[str, bytes | str] = {f"{i + 1}.png": png(i) for i in range(6)}
    files["l.csv"] = ",key,label\n" + "".join(f"{i},{i + 1},{label(i)}\n" for i in range(6))
    assert pairs(load(write(tmp_path, files))) == PLAIN


def test_two_columns_that_name_pictures_equally_well_are_refused(tmp_path):
    files = table("rank", "place", "label", rank=lambda i: 5 - i, place=lambda i: i, label=label)
    with pytest.raises(
        UsageError, match=r"several columns that may name the pictures \(rank, place\): call .*file_name"
    ):
        load(write(tmp_path, files))


@pytest.mark.parametrize(
    "name", ["/elsewhere/pets/{}.png", "C:\\me\\pets\\{}.png", "/{}.png", "pets/{}.png", "{}.PNG", "{}.jpg"]
)
def test_pictures_are_found_by_paths_of_another_machine_in_another_case_and_with_another_ending(tmp_path, name):
    files = table("file", "label", file=lambda i: name.format(i), label=label)
    assert pairs(load(write(tmp_path, files))) == PLAIN


def test_letters_that_are_written_in_two_ways_are_one(tmp_path):
    one, other = "\u00e9", "e\u0301"
    rows = f"file,label\n{other}.png,a\n0.png,b\n1.png,b\n"
    root = write(tmp_path / "a", {f"{one}.png": png(9), "0.png": png(0), "1.png": png(1), "labels.csv": rows})
    assert pairs(load(root)) == {9: "a", 0: "b", 1: "b"}
    root = write(tmp_path / "b", {f"{split}/{c}/1.png": png() for split, c in (("train", one), ("test", other))})
    assert load(root).classes == load(root, "test").classes == (one,)


def test_a_table_that_is_not_used_shows_what_it_names_and_what_it_should(tmp_path, capsys):
    load(write(tmp_path / "a", table("id", "label", id=lambda i: i + 100, label=label)))
    assert "('id' has '100', a picture is 0.png)" in capsys.readouterr().err
    load(write(tmp_path / "b", table("id", "label", id=lambda i: i + 4, label=label)))
    assert "('id' names 2 with 6 rows)" in capsys.readouterr().err


# How tables are written


def written(text: str, name: str = "labels.csv") -> dict[str, bytes | str]:
    return {**SIX, name: text}


ROWS = "".join(f"{i}.png,{label(i)}\n" for i in range(6))


@pytest.mark.parametrize(
    "files",
    [
        table("file", "label", delimiter="|", file=lambda i: f"{i}.png", label=label),
        written("sep=;\r\nfile;label\r\n" + ROWS.replace(",", ";")),
        written('file,"kind; of; thing"\n' + ROWS),
        written("file,label,,\n" + ROWS.replace("\n", ",,\n")),
        written("# made by me\nfile,label\n" + ROWS),
        {**SIX, "labels.csv": ("file,label\n" + ROWS).encode("utf-16")},
        written("".join(json.dumps({"file": f"{i}.png", "label": label(i)}) + "\n" for i in range(6)), "labels.jsonl"),
    ],
    ids=["bars", "excel", "title", "empty columns", "comment", "utf-16", "jsonl"],
)
def test_tables_are_read_however_programs_write_them(tmp_path, files):
    assert pairs(load(write(tmp_path, files))) == PLAIN


def test_text_that_is_no_utf_8_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(UsageError, match="is no UTF-8: save it as UTF-8"):
        load(write(tmp_path, {**SIX, "labels.csv": ("file,label\n" + ROWS.replace("a", "\u00e9")).encode("latin-1")}))


# What is known of a picture


@pytest.mark.parametrize("name", ["labels.csv", "metadata.jsonl"])
def test_whole_numbers_that_became_floats_are_classes_in_the_order_of_numbers(tmp_path, name):
    values = [1.0, 2.0, 10.0]
    files = table("file", "label", file=lambda i: f"{i}.png", label=lambda i: values[i % 3])
    if name.endswith("jsonl"):
        rows = [{"file_name": f"{i}.png", "label": values[i % 3]} for i in range(6)]
        files = {**SIX, name: "".join(json.dumps(row) + "\n" for row in rows)}
    data = load(write(tmp_path, files))
    assert data.classes == ("1", "2", "10")
    assert data.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_minus_one_among_numbers_is_a_class_and_is_told(tmp_path, capsys):
    numbers = ("-1", "10", "2")
    files = table("file", "label", file=lambda i: f"{i}.png", label=lambda i: numbers[i % 3])
    assert load(write(tmp_path, files)).classes == ("-1", "2", "10")
    assert "-1 is a class in column 'label' of labels.csv: leave it empty where" in capsys.readouterr().err


def test_letters_of_classes_that_are_written_in_two_ways_are_one_class(tmp_path):
    ways = [normalize(form, "é") for form in ("NFC", "NFD")]
    files = table("file", "label", file=lambda i: f"{i}.png", label=lambda i: [*ways, "b"][i % 3])
    assert load(write(tmp_path / "a", files)).classes == ("b", ways[0])
    shard: dict[str, bytes | str] = {}
    for i, name in enumerate((*ways, "b")):
        shard |= {f"{i}.png": png(i), f"{i}.cls": name}
    assert load(packed(tmp_path / "b.tar", shard)).classes == ("b", ways[0])


def test_cls_files_that_hold_floats_or_no_value_are_read_as_tables_are(tmp_path):
    values = ("1", "2.0", "10", "NaN")
    shard: dict[str, bytes | str] = {f"{i}.png": png(i) for i in range(4)}
    path = packed(tmp_path / "a.tar", shard | {f"{i}.cls": value for i, value in enumerate(values)})
    with pytest.raises(UsageError, match=r"1 of 4 pictures .* \(3\.png, where NaN is none\)"):
        load(path)
    assert load(path, skip_unlabelled=True).classes == ("1", "2", "10")


@pytest.mark.parametrize(
    ("titles", "numbers", "told"),
    [
        (["cat", "cat", "dog"], [0, 1, 2], "for several are called cat: numbers are"),
        (["é", "e\u0301", "dog"], [0, 1, 2], "for several are called é: numbers are"),
        (["cat", "2"], [0, 1, 2], "for class 2 has none: numbers are"),
    ],
)
def test_names_of_classes_that_would_make_one_of_two_are_not_used(tmp_path, capsys, titles, numbers, told):
    value = {"labels": [[f"{n}.png", n] for n in numbers], "classes": titles}
    root = write(tmp_path, {**{f"{n}.png": png(n) for n in numbers}, "dataset.json": json.dumps(value)})
    data = load(root)
    assert (data.classes, data.labels.tolist()) == (("0", "1", "2"), numbers)
    assert f"names of classes in {root / 'dataset.json'} are not used, {told}" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["NaN", "None", "NA", ""])
def test_what_programs_write_for_no_value_is_no_class(tmp_path, missing):
    root = write(
        tmp_path, table("file", "label", file=lambda i: f"{i}.png", label=lambda i: missing if i > 3 else label(i))
    )
    with pytest.raises(UsageError, match=r"2 of 6 pictures .*\(4\.png, 5\.png" + (f".* {missing} is" * bool(missing))):
        load(root)
    assert len(load(root, skip_unlabelled=True)) == 4


def test_none_in_small_letters_may_be_a_class(tmp_path):
    files = table("file", "label", file=lambda i: f"{i}.png", label=lambda i: ("none", "mask")[i % 2])
    assert load(write(tmp_path, files)).classes == ("mask", "none")


def test_lists_and_objects_are_no_classes(tmp_path, capsys):
    rows = [{"file_name": f"{i}.png", "one_hot": [i % 2, 1], "label": label(i)} for i in range(6)]
    root = write(tmp_path / "a", {**SIX, "metadata.jsonl": "".join(json.dumps(row) + "\n" for row in rows)})
    assert pairs(load(root)) == PLAIN
    with pytest.raises(UsageError, match="it holds lists or objects, no classes"):
        load(root, label_column="one_hot")
    rows = [{"file_name": f"{i}.png", "objects": {"bbox": []}} for i in range(6)]
    root = write(tmp_path / "b", {**SIX, "metadata.jsonl": "".join(json.dumps(row) + "\n" for row in rows)})
    assert load(root).labels is None
    assert "(objects) looks like classes: pictures have none of it" in capsys.readouterr().err


def test_a_column_of_splits_splits_and_is_no_class(tmp_path, capsys):
    split = ["train", "train", "train", "train", "TEST", "val"]
    files = table("file", "label", "split", file=lambda i: f"{i}.png", label=label, split=lambda i: split[i])
    root = write(tmp_path, files)
    assert pairs(load(root)) == {i: label(i) for i in range(4)}
    test = load(root, "test")
    assert pairs(test) == {4: "a"}
    assert test.split == ""
    told = capsys.readouterr().err
    assert "splits are those of column 'split' of labels.csv: train 4, test 1" in told
    assert "1 pictures of the splits val are left out" in told
    assert len(load(root, label_column="none")) == 4


@pytest.mark.parametrize("other", ["", "extra"])
def test_rows_of_no_known_split_are_left_out_of_both_and_counted(tmp_path, capsys, other):
    split = ["train", "train", "test", "test", other, other]
    files = table("file", "label", "split", file=lambda i: f"{i}.png", label=label, split=lambda i: split[i])
    root = write(tmp_path, files)
    assert pairs(load(root)) == {i: label(i) for i in (0, 1)}
    assert pairs(load(root, "test")) == {i: label(i) for i in (2, 3)}
    assert f"2 pictures of the splits {other or repr('')} are left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("title", "values", "told"),
    [
        ("partition", "000112", "splits nothing, for it holds 0, 1, 2: write train and test there"),
        ("is_train", ["True", "False"] * 3, "splits nothing, for it holds False, True: write train and test there"),
        ("split", ["train", "extra"] * 3, "splits nothing, for it holds extra, train: write train and test there"),
        ("usage", ["train", "test"] * 3, "holds names of splits and splits nothing: call it `split`"),
    ],
)
def test_a_column_that_seems_to_split_and_does_not_is_told(tmp_path, capsys, title, values, told):
    files = table("file", "label", title, file=lambda i: f"{i}.png", label=label, **{title: lambda i: values[i]})
    root = write(tmp_path, files)
    assert len(load(root, label_column="label")) == 6
    assert f"column '{title}' of labels.csv {told}" in capsys.readouterr().err
    load(root, label_column=title)
    assert "splits nothing" not in capsys.readouterr().err


def test_a_table_of_splits_alone_leaves_folders_their_classes(tmp_path):
    files: dict[str, bytes | str] = {f"{c}/{i}.png": png(i) for c in "ab" for i in range(4)}
    rows = "".join(f"{name},{'test' if '3' in name else 'train'}\n" for name in files)
    root = write(tmp_path, {**files, "splits.csv": "file,split\n" + rows})
    assert load(root).classes == ("a", "b")
    assert (len(load(root)), len(load(root, "test"))) == (6, 2)


def test_folders_tell_the_split_before_a_column_does(tmp_path, capsys):
    files: dict[str, bytes | str] = {
        f"{s}/{i}.png": png(i) for s, n in (("train", "012"), ("test", "34")) for i in map(int, n)
    }
    rows = "".join(f"{name},{'ab'[i % 2]},train\n" for i, name in enumerate(files))
    root = write(tmp_path, {**files, "t.csv": "file,label,split\n" + rows.replace("train\n", "test\n", 1)})
    assert (len(load(root)), len(load(root, "test"))) == (3, 2)
    assert "splits in column 'split' of t.csv are not used" in capsys.readouterr().err


def test_a_column_of_one_value_does_not_replace_class_folders(tmp_path, capsys):
    files: dict[str, bytes | str] = {f"{label(i)}/{i}.png": png(i) for i in range(6)}
    rows = "".join(f"{name},CC0\n" for name in files)
    root = write(tmp_path, {**files, "licence.csv": "file,licence\n" + rows})
    assert load(root).classes == ("a", "b")
    assert "licence.csv (licence) looks like classes: pictures have none of it" in capsys.readouterr().err
    assert load(root, label_column="licence").classes == ("CC0",)
    assert "folders are no classes" in capsys.readouterr().err


def test_dataset_json_of_another_kind_is_refused_with_what_is_wanted(tmp_path):
    def told(labels) -> dict[str, bytes | str]:
        return {**SIX, "dataset.json": json.dumps({"labels": labels})}

    with pytest.raises(UsageError, match=r"its labels are a list of \[file, number\], not \{'0\.png': 1\}"):
        load(write(tmp_path / "a", told({"0.png": 1})))
    with pytest.raises(UsageError, match=r"the label of 0\.png is \[0, 1\], no class: a whole number is wanted"):
        load(write(tmp_path / "b", told([["0.png", [0, 1]]])))
    assert load(write(tmp_path / "c", told([[f"{i}.png", float(i % 2)] for i in range(6)]))).classes == ("0", "1")


# What is left out


def test_files_that_are_not_read_are_counted_and_folders_of_them_named(tmp_path, capsys):
    files: dict[str, bytes | str] = {"cat/1.png": png(), "dog/1.png": png(), "bird/1.tga": "x", "bird/2.tga": "x"}
    root = write(tmp_path, {**files, "cat/notes.txt": "x", "cat/plain": png(), ".hidden": "x", "Thumbs.db": "x"})
    (root / "fish").mkdir()
    assert load(root).classes == ("cat", "dog")
    told = capsys.readouterr().err
    assert "files that are not used: 2 .tga, 1 .txt, 1 without ending\n" in told
    assert "folders without pictures are no classes (2): bird, fish\n" in told


def test_metadata_parquet_beside_pictures_is_said_not_to_be_read(tmp_path, capsys):
    load(write(tmp_path, {**SIX, "metadata.parquet": "PAR1"}))
    assert "metadata.parquet is not read: save it as metadata.csv\n" in capsys.readouterr().err


def test_split_folders_that_hold_one_folder_of_classes_are_told_apart_from_classes(tmp_path):
    root = write(tmp_path, {f"{s}_set/{s}_set/{c}/1.png": png() for s in ("training", "test") for c in "ab"})
    with pytest.raises(UsageError, match=r"not in .*: test_set; if its classes lie in it, move them up"):
        load(root)


@pytest.mark.parametrize("first", [",0", "index,0"])
def test_a_title_that_is_the_name_of_a_picture_is_a_title(tmp_path, first):
    root = write(tmp_path, {**SIX, "labels.csv": "\n".join([first, *(f"{i}.png,{label(i)}" for i in range(6))])})
    assert pairs(load(root)) == PLAIN


def test_an_empty_name_in_a_table_is_seen(tmp_path):
    root = write(tmp_path, {**SIX, "labels.csv": "file,label\n0.png,a\n1.png,b\n,a\n"})
    with pytest.raises(UsageError, match=r"names pictures that are not there \(1\): ''"):
        load(root)


def test_a_class_without_pictures_in_one_split_is_told(tmp_path, capsys):
    files: dict[str, bytes | str] = {f"{s}/{c}/1.png": png() for s in ("train", "test") for c in "ab"}
    load(write(tmp_path, {**files, "train/c/1.tga": "x"}))
    assert "folders without pictures are no classes (1): train/c" in capsys.readouterr().err


def test_where_there_are_no_pictures_the_message_says_what_there_is(tmp_path):
    with pytest.raises(UsageError, match=r"no images in .*; there are 2 \.tga"):
        load(write(tmp_path, {"a.tga": "x", "b.tga": "x"}))


def test_a_few_pictures_beside_parquet_are_not_the_set(tmp_path, capsys):
    for split in ("train", "test"):
        parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet", [0, 1, 0, 1])
    write(tmp_path, {"assets/thumbnail.png": png()})
    assert (len(load(tmp_path)), len(load(tmp_path, "test"))) == (4, 4)
    assert "assets/thumbnail.png are left out" in capsys.readouterr().err


def test_parquet_beside_many_pictures_is_said_not_to_be_used(tmp_path, capsys):
    write(tmp_path, {f"{i}.png": png(i) for i in range(20)})
    parquet(tmp_path / "features.parquet", [0, 1])
    assert len(load(tmp_path)) == 20
    assert "files that are not used: 1 .parquet" in capsys.readouterr().err


def test_a_few_pictures_beside_tars_are_not_the_set(tmp_path, capsys):
    packed(
        tmp_path / "0.tar",
        {f"{i}.{kind}": data for i in range(4) for kind, data in (("png", png(i)), ("cls", label(i)))},
    )
    write(tmp_path, {"preview.png": png()})
    assert len(load(tmp_path)) == 4
    assert "beside 0.tar, preview.png are left out" in capsys.readouterr().err


def test_labels_that_lie_elsewhere_are_said_not_to_be_used(tmp_path, capsys):
    files: dict[str, bytes | str] = {f"{c}/{i}.png": png() for c in ("ax", "bx") for i in range(2)}
    load(write(tmp_path / "a", {**files, "ax/metadata.csv": "file_name,label\n0.png,q\n"}))
    assert "not used are ax/metadata.csv" in capsys.readouterr().err
    files = {f"images/{i}.png": png() for i in range(2)}
    load(write(tmp_path / "b", {**files, "notes/labels.csv": "file,label\n0.png,q\n"}))
    assert "not used are notes/labels.csv" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["data", "one/data"])
@pytest.mark.parametrize("name", ["metadata.csv", "labels.jsonl", "dataset.json"])
def test_labels_within_the_one_folder_around_all_pictures_are_used(tmp_path, capsys, folder, name):
    text = {
        "metadata.csv": "file_name,label\n" + ROWS,
        "labels.jsonl": "".join(json.dumps({"file": f"{i}.png", "label": label(i)}) + "\n" for i in range(6)),
        "dataset.json": json.dumps({"labels": [[f"{i}.png", i % 2] for i in range(6)]}),
    }[name]
    root = write(tmp_path, {f"{folder}/{file}": data for file, data in {**SIX, name: text}.items()})
    write(root, {"README.md": "x"})
    data = load(root)
    assert data.labels.tolist() == [0, 1, 0, 1, 0, 1]
    told = capsys.readouterr().err
    assert f"what is in {folder}/, the folder around all pictures, is taken for the set" in told
    assert "files that are not used: 1 .md" in told


# Splits


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "dev"),
        ("train", "eval"),
        ("train", "holdout"),
        ("train_images", "test_images"),
        ("trainset", "testset"),
        ("train2017", "val2017"),
        ("trainImages", "testImages"),
        ("images/train2017", "images/val2017"),
        ("pets/train", "pets/test"),
        ("pets/pets/Train", "pets/pets/Val"),
    ],
)
def test_splits_are_found_by_their_words_also_one_folder_down(tmp_path, train, test):
    files: dict[str, bytes | str] = {f"{s}/{c}/{i}.png": png(i) for s in (train, test) for c in "ab" for i in (1, 2)}
    root = write(tmp_path, files)
    assert load(root).classes == load(root, "test").classes == ("a", "b")
    assert load(root, "test").split == ""


def test_folders_that_are_named_like_splits_and_are_none_are_told(tmp_path, capsys):
    files: dict[str, bytes | str] = {f"{c}/{s}/1.png": png() for c in ("cat", "dog") for s in ("train", "test")}
    assert load(write(tmp_path / "a", files)).classes == ("cat", "dog")
    told = capsys.readouterr().err
    assert (
        f"folders test, train in {tmp_path / 'a' / 'cat'}, {tmp_path / 'a' / 'dog'} are not taken for splits\n" in told
    )
    load(write(tmp_path / "b", {f"{s}/1.png": png() for s in ("cat/train", "cat/test", "dog")}))
    assert f"--data-root {tmp_path / 'b' / 'cat'} would" in capsys.readouterr().err
    load(write(tmp_path / "c", {f"{s}/1.png": png() for s in ("test", "val")}))
    assert "folders test, val in" in capsys.readouterr().err


@pytest.mark.parametrize("names", [("train", "test1"), ("train_photos", "test_shots"), ("training2", "val")])
def test_classes_that_begin_like_splits_are_told_with_what_to_do(tmp_path, capsys, names):
    assert load(write(tmp_path, {f"{name}/1.png": png() for name in names})).classes == tuple(sorted(names))
    told = f"folders {', '.join(sorted(names))} in {tmp_path} are not taken for splits: call them train and test if"
    assert told in capsys.readouterr().err


def test_classes_whose_names_hold_no_word_for_tests_are_not_told(tmp_path, capsys):
    assert load(write(tmp_path, {f"{name}/1.png": png() for name in ("train_x", "car_x", "contest2")})).classes
    assert "splits" not in capsys.readouterr().err


def test_a_word_of_a_split_is_a_whole_word():
    assert [word_in(name) for name in ("trains", "trainA", "contest", "train_", "restrain-2")] == [None] * 5
    assert word_in("Train_Images").kind == "train"  # type: ignore[union-attr]
    assert folders_of(["train-a", "test-b", "x"]) == {}
    assert by_words(["a/train/0.tar", "a/val/0.tar", "x.tar"]) == (
        {"a/train/0.tar": "train", "a/val/0.tar": "test"},
        ["x.tar"],
    )
    assert by_words(["train/validation-0.parquet", "train/train-0.parquet"])[0]["train/validation-0.parquet"] == "test"


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train/part-0-a", "test/part-0-b"),
        ("train/0000", "test/0000"),
        ("mnist-train", "mnist-test"),
        ("train-0", "dev-0"),
        ("default/train/0", "default/validation/0"),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "tar"])
def test_parquet_and_tars_are_split_by_any_word_of_their_paths(tmp_path, train, test, kind):
    for name, first in ((train, 0), (test, 100)):
        path = tmp_path / f"{name}.{kind}"
        if kind == "parquet":
            parquet(path, first=first)
        else:
            packed(path, {"0.png": png(first), "1.png": png(first + 1)})
    assert reds(load(tmp_path)) == [0, 1]
    assert reds(load(tmp_path, "test")) == [100, 101]
    assert len(set(read_pictures(tmp_path).names)) == 4


def test_a_file_for_tests_beside_others_that_say_nothing_is_told(tmp_path, capsys):
    for name in ("a", "test"):
        packed(tmp_path / f"{name}.tar", {f"{name}.png": png()})
    assert len(load(tmp_path)) == 2
    assert "test.tar are no test split, for none is named as the training split" in capsys.readouterr().err


# Archives in a folder


def test_labels_stay_with_the_pictures_of_their_own_tar(tmp_path):
    packed(tmp_path / "a.tar", {"1.png": png(1), "2.png": png(2), "2.cls": "p"})
    packed(tmp_path / "b.tar", {"1.png": png(11), "1.cls": "q", "3.png": png(13), "3.cls": "p"})
    with pytest.raises(UsageError, match=r"1 of 4 pictures .*\(1\.png\)"):
        load(tmp_path)
    assert pairs(load(tmp_path, skip_unlabelled=True)) == {2: "p", 11: "q", 13: "p"}


def test_labels_stay_with_the_pictures_of_three_shards_of_one_name(tmp_path):
    for k in range(3):
        shard: dict[str, bytes | str] = {f"{i}.png": png(10 * k + i) for i in range(2)}
        packed(tmp_path / f"part{k}" / "r-0.tar", shard | {f"{i}.cls": f"{k}{i}" for i in range(2)})
    assert pairs(load(tmp_path)) == {10 * k + i: f"{k}{i}" for k in range(3) for i in range(2)}


def test_two_archives_with_a_file_of_labels_each_are_refused(tmp_path):
    for name in "ab":
        packed(tmp_path / f"{name}.tar", {"0.png": png(), "dataset.json": '{"labels": [["0.png", 0]]}'})
    with pytest.raises(UsageError, match=r"two archives hold '0\.png', and dataset\.json in b\.tar tells"):
        load(tmp_path, skip_unlabelled=True)


def test_a_table_in_one_of_two_tars_with_equal_names_is_refused(tmp_path):
    packed(tmp_path / "a.tar", {"0.png": png(1), "1.png": png(2)})
    packed(tmp_path / "b.tar", {"0.png": png(3), "1.png": png(4), "labels.csv": "file,label\n0.png,x\n1.png,y\n"})
    with pytest.raises(UsageError, match=r"two archives hold '0\.png', and labels\.csv in b\.tar tells"):
        load(tmp_path)
    other = write(tmp_path / "other", {})
    packed(other / "a.tar", {"0.png": png(1), "1.png": png(2)})
    packed(other / "b.tar", {"2.png": png(3), "labels.csv": "file,label\n0.png,x\n1.png,y\n2.png,x\n"})
    assert pairs(load(other)) == {1: "x", 2: "y", 3: "x"}


def test_a_zip_beside_tars_and_what_lies_beside_parquet_are_said_not_to_be_used(tmp_path, capsys):
    packed(write(tmp_path / "a", {}) / "0.tar", SIX)
    packed(tmp_path / "a/more.zip", {"x.png": png(99)})
    write(tmp_path / "a", {f"page{i}.png": png(50 + i) for i in range(2)})
    assert reds(load(tmp_path / "a")) == [0, 1, 2, 3, 4, 5]
    assert "files that are not used: 1 .zip" in capsys.readouterr().err
    parquet(tmp_path / "b/rows.parquet")
    write(tmp_path / "b", {"labels.csv": "file,label\n0.png,a\n", "0.tar": "no tar"})
    assert len(load(tmp_path / "b")) == 2
    assert "files that are not used: 1 .tar, 1 .csv" in capsys.readouterr().err


def test_links_in_several_tars_are_counted(tmp_path, capsys):
    for name in "ab":
        with tarfile.open(packed(tmp_path / f"{name}.tar", {f"{name}.png": png()}), "a") as archive:
            link = tarfile.TarInfo(f"link-{name}.png")
            link.type, link.linkname = tarfile.SYMTYPE, f"{name}.png"
            archive.addfile(link)
    assert len(load(tmp_path)) == 2
    assert "2 links or devices" in capsys.readouterr().err


def test_a_folder_of_logs_named_like_a_split_is_none(tmp_path):
    files = {f"{split}/{c}/{i}.png": png(i) for split in ("train", "test") for c in "ab" for i in range(2)}
    root = write(tmp_path, {**files, "training/events.log": "1"})
    assert len(load(root)) == 4
    assert load(root).classes == ("a", "b")


def test_a_folder_of_logs_beside_training_pictures_alone_is_none(tmp_path):
    files = {f"train/{c}/{i}.png": png(i) for c in "ab" for i in range(2)}
    assert len(load(write(tmp_path / "a", {**files, "training/events.log": "1"}))) == 4
    classes = {f"{c}/{i}.png": png(i) for c in ("train_x", "car_x") for i in range(2)}
    assert load(write(tmp_path / "b", {**classes, "test_x/readme.txt": "1"})).classes == ("car_x", "train_x")


def test_a_run_in_the_folder_that_it_was_trained_on_is_passed_over(tmp_path, capsys):
    root = write(
        tmp_path, {**SIX, "r/run.json": "{}", "r/status.json": "{}", "r/real.png": png(9), "r/samples/1.png": png(9)}
    )
    assert reds(load(root)) == [0, 1, 2, 3, 4, 5]
    assert f"run directories are passed over: {root / 'r'}" in capsys.readouterr().err


def test_only_a_table_that_tells_classes_has_a_say(tmp_path):
    files = table("file", "label", file=lambda i: f"{i}.png", label=label)
    captions = "file,caption\n" + "".join(f"{i}.png,picture of {i}\n" for i in range(6))
    assert pairs(load(write(tmp_path, {**files, "captions.csv": captions}))) == PLAIN


def test_files_that_are_nobodys_do_not_set_archives_apart(tmp_path):
    rows = "file,label\n" + "".join(f"{i}.png,{label(i)}\n" for i in range(6))
    packed(tmp_path / "a.tar", {f"{i}.png": png(i) for i in range(3)} | {"README.md": "1"})
    packed(tmp_path / "b.tar", {f"{i}.png": png(i) for i in range(3, 6)} | {"README.md": "2", "labels.csv": rows})
    assert pairs(load(tmp_path)) == PLAIN


def test_classes_of_a_folder_that_is_left_out_are_left_out_with_it(tmp_path):
    files = {
        f"{s}/{i}.{k}": v
        for s in ("train", "test", "extra")
        for i in range(2)
        for k, v in (("png", png(i)), ("cls", label(i)))
    }
    assert pairs(load(write(tmp_path, files))) == {0: "a", 1: "b"}


def test_lines_of_comment_before_a_table_are_no_rows(tmp_path):
    files = table("file", "label", file=lambda i: f"{i}.png", label=label)
    text = "# exported\n# by a tool\n" + str(files["labels.csv"])
    assert pairs(load(write(tmp_path, {**files, "labels.csv": text}))) == PLAIN


def test_classes_named_like_what_systems_leave_behind_keep_their_pictures(ganzoo, tmp_path):
    names = ("__MACOSX", "Thumbs.db")
    write(tmp_path / "a", table("file", "label", file=lambda i: f"{i}.png", label=lambda i: names[i % 2]))
    assert ganzoo("data", "convert", "a", "b").code == 0
    assert load(tmp_path / "b").classes == ("Thumbs.db_", "__MACOSX_")


def test_folders_of_classes_that_a_reader_would_take_for_splits_get_numbers(tmp_path):
    files = table(
        "file", "label", file=lambda i: f"{i}.png", label=lambda i: ("train_x", "training_x", "test_x")[i % 3]
    )
    found = read_pictures(write(tmp_path, files))
    assert class_folders(found) == {"test_x": "00000", "train_x": "00001", "training_x": "00002"}


def test_an_empty_test_folder_is_a_mistake_and_says_so(tmp_path):
    root = write(tmp_path, {f"train/{i}.png": png(i) for i in range(3)})
    (root / "test").mkdir()
    with pytest.raises(UsageError, match=r"no images in .*test"):
        load(root, split="test")


def test_a_table_of_an_excel_that_speaks_of_tabs_is_read(tmp_path):
    files = table("file", "label", file=lambda i: f"{i}.png", label=label, delimiter="\t")
    text = "sep=\t\n" + files["labels.csv"]
    assert pairs(load(write(tmp_path, {**files, "labels.csv": text}))) == PLAIN


def test_a_tar_for_each_class_keeps_its_folder(tmp_path, capsys):
    packed(tmp_path / "a" / "cat.tar", {f"cat/{i}.png": png(i) for i in range(2)})
    packed(tmp_path / "a" / "dog.tar", {f"dog/{i}.png": png(i) for i in range(2)} | {"cat/7.png": png(7)})
    assert load(tmp_path / "a").classes == ("cat", "dog")
    for name in ("n01", "n02"):
        packed(tmp_path / "b" / f"{name}.tar", {f"{name}_{i}.png": png(i) for i in range(2)})
    capsys.readouterr()
    assert load(tmp_path / "b").labels is None
    assert "classes are not told by the names of archives" in capsys.readouterr().err


def test_zips_in_a_folder_are_one_set_with_their_splits(tmp_path):
    for split in ("train", "test"):
        packed(tmp_path / f"{split}.zip", {f"{c}/{i}.png": png(i) for c in "ab" for i in range(2)})
    assert load(tmp_path).classes == ("a", "b")
    assert (len(load(tmp_path)), len(load(tmp_path, "test"))) == (4, 4)


def test_names_in_a_zip_that_are_utf_8_without_saying_so_are_read_as_such(tmp_path):
    path = packed(tmp_path / "a.zip", {"K\u00e4tze/1.png": png(1), "b/1.png": png(2)})
    unsaid = bytearray(path.read_bytes())
    for start, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # The flag that says it, beside the member and in the list.
        place = unsaid.index(start)
        unsaid[place + at + 1] &= ~0x08 & 0xFF
    path.write_bytes(unsaid)
    assert zipfile.ZipFile(path).namelist()[0] != "K\u00e4tze/1.png"
    assert load(path).classes == ("K\u00e4tze", "b")


def test_the_folder_around_everything_in_an_archive_is_told(tmp_path, capsys):
    path = packed(tmp_path / "a.zip", {f"p/train/cat/{i}.png": png(i) for i in range(2)})
    assert load(path).labels is None
    assert "the folder around everything, p/train/cat, is passed over" in capsys.readouterr().err


# npz and Parquet


@pytest.mark.parametrize("name", ["label", "y", "targets"])
def test_labels_of_an_npz_may_have_another_name_and_other_arrays_are_told(tmp_path, capsys, name):
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1) * np.ones((4, 16, 16, 3), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, names=np.array(["x"] * 4), **{name: [0, 1, 0, 1]})
    assert load(tmp_path / "a.npz").labels.tolist() == [0, 1, 0, 1]
    told = capsys.readouterr().err
    assert f"are those of its array `{name}`" in told
    assert "not used (1): names" in told
    np.savez(tmp_path / "b.npz", images=images, **{name: [0.5, 1, 0, 1]})
    assert load(tmp_path / "b.npz").labels is None
    assert f"not used (1): {name}" in capsys.readouterr().err


def test_minus_one_in_an_npz_is_no_label(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 16, 16), np.uint8), labels=[0, -1, 1, 0])
    with pytest.raises(UsageError, match=r"1 of 4 pictures .*-1 is none.*--skip-unlabelled"):
        load(tmp_path / "a.npz")
    assert load(tmp_path / "a.npz", skip_unlabelled=True).labels.tolist() == [0, 1, 0]


def test_fields_of_parquets_images_may_be_in_any_order(tmp_path):
    assert reds(load(parquet(tmp_path / "a.parquet", [0, 1], bytes_last=True))) == [0, 1]


def test_a_parquet_row_without_bytes_is_a_broken_picture(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [{"bytes": None if i == 1 else png(i), "path": ""} for i in range(4)]
    pq.write_table(pa.table({"image": images, "label": [0, 1, 0, 1]}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=r"row 2 of .*a\.parquet .*--skip-broken"):
        load(tmp_path / "a.parquet")
    assert reds(load(tmp_path / "a.parquet", skip_broken=True)) == [0, 2, 3]


def test_a_parquet_file_without_the_others_labels_is_one_of_pictures_without(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1])
    parquet(tmp_path / "test.parquet")
    with pytest.raises(UsageError, match=r"2 of 4 pictures in .* have no label .*test/00000000"):
        load(tmp_path)
    assert load(tmp_path, skip_unlabelled=True).labels.tolist() == [0, 1]


# Pixels


def chunked(parts) -> bytes:
    """A PNG of its chunks, (kind, data) each."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def deep(values) -> bytes:
    """A PNG of 16 bits in each channel of numbers (H, W, C)."""
    h, w, c = values.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    head = struct.pack(">IIBBBBB", w, h, 16, {1: 0, 2: 4, 3: 2, 4: 6}[c], 0, 0, 0)
    return chunked(((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")))


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("most", [255, 1023, 4095])
def test_values_far_below_16_bits_are_noticed_in_several_channels(tmp_path, capsys, channels, most):
    values = np.random.default_rng(0).integers(0, most + 1, (16, 16, channels))
    values[0, 0] = most
    colours = channels - 1 | 1
    if channels > colours:
        values[..., -1] = 65535
    write(tmp_path, {"a.png": deep(values)})
    expected = np.broadcast_to((values[..., :colours] * 255 / most + 0.5).astype(np.uint8), (16, 16, colours))
    for options in ({}, {"white": most}):
        data = load(tmp_path, **options)
        assert data.images.shape[1] == colours
        assert np.abs(data.images[0].permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1
    assert f"{most:,} is taken for white" in capsys.readouterr().err


def test_full_16_bits_in_several_channels_are_not_scaled_and_the_camera_is_honoured(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (16, 16, 3))
    write(tmp_path / "a", {"a.png": deep(values)})
    assert (load(tmp_path / "a").images[0].permute(1, 2, 0).numpy() == values >> 8).all()
    turned = deep(values // 16)
    exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    body = b"eXIf" + exif
    at = turned.index(b"IDAT") - 4
    turned = turned[:at] + struct.pack(">I", len(exif)) + body + struct.pack(">I", zlib.crc32(body)) + turned[at:]
    write(tmp_path / "b", {"a.png": turned})
    found = load(tmp_path / "b").images[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(found - np.rot90(values // 16 * 255 / 4095, -1)).max() <= 1


def tiff(planes: "list[np.ndarray]", photometric: int, *extra: tuple[int, int]) -> bytes:
    """An uncompressed TIFF of 16 bits, 16 x 16 pixels, of one array (H, W, C) or, in planes, several (H, W)."""
    data = b"".join(plane.astype("<u2").tobytes() for plane in planes)
    channels = len(planes) if len(planes) > 1 else planes[0].shape[2]
    tags: list[tuple[int, int, list[int]]] = [
        (256, 3, [16]), (257, 3, [16]), (258, 3, [16] * channels), (259, 3, [1]), (262, 3, [photometric]), (273, 4, []),
        (277, 3, [channels]), (278, 3, [16]), (279, 4, [len(data) // len(planes)] * len(planes)),
        (284, 3, [2 if len(planes) > 1 else 1]), *((tag, 3, [value]) for tag, value in extra),
    ]  # fmt: skip
    at, entries, lists = 8 + 2 + 12 * len(tags) + 4, b"", b""
    first = at + 100
    for tag, kind, told in tags:
        values = [first + i * (len(data) // len(planes)) for i in range(len(planes))] if tag == 273 else told
        packed = struct.pack(f"<{len(values)}{'HI'[kind - 3]}", *values)
        if len(packed) > 4:
            lists, packed = lists + packed, struct.pack("<I", at + len(lists))
        entries += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + lists.ljust(100, b"\0") + data


def pixels_of(root, **options):
    """Of the first picture, (H, W, C)."""
    return load(root, **options).images[0].permute(1, 2, 0).numpy().astype(int)


def test_deep_tiffs_are_scaled_too(tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, (16, 16, 3))
    values[0, 0] = 4095
    write(tmp_path, {"a.tif": tiff([values], 2)})
    assert np.abs(pixels_of(tmp_path) - values * (255 / 4095)).max() <= 1


def test_a_fourth_channel_that_is_no_transparency_leaves_all_16_bits(tmp_path, capsys):
    values = np.random.default_rng(0).integers(0, 4096, (16, 16, 4))
    values[0, 0], values[..., 3] = 4095, 60_000
    write(tmp_path, {"a.tif": tiff([values], 2, (338, 0))})
    for options in ({}, {"white": 4095}):
        assert np.abs(pixels_of(tmp_path, **options) - values[..., :3] * (255 / 4095)).max() <= 1
    assert "4,095 is taken for white" in capsys.readouterr().err


def test_pictures_of_12_bits_beside_those_of_16_are_told(tmp_path, capsys):
    values = np.random.default_rng(0).integers(0, 4096, (4, 16, 16, 3))
    write(tmp_path, {f"{i}.tif": tiff([values[i] * (16 if i else 1)], 2) for i in range(4)})
    pixels_of(tmp_path)
    assert "1 of 4 pictures of 16 bits hold no value above 4,095, as those of 12 bits do" in capsys.readouterr().err
    pixels_of(tmp_path, white=65535)
    assert "16 bits" not in capsys.readouterr().err


def test_a_table_in_utf_16_that_is_not_marked_is_told_as_what_it_is(tmp_path):
    for encoding in ("utf-16-le", "utf-16-be"):
        write(tmp_path, {**SIX, "labels.csv": ("file,label\n" + ROWS).encode(encoding)})
        with pytest.raises(UsageError, match=r"labels\.csv cannot be read, for it holds zero bytes: save it as UTF-8"):
            load(tmp_path)


def test_colours_multiplied_by_their_transparency_are_scaled_by_white(tmp_path):
    values = np.full((16, 16, 4), 3000)
    values[..., 3] = 65_535
    write(tmp_path, {"a.tif": tiff([values], 2, (338, 1))})
    assert np.unique(pixels_of(tmp_path)).tolist() == [round(3000 * 255 / 4095)]


def test_16_bits_of_ink_are_as_bright_as_8_and_white_reaches_them(tmp_path, capsys):
    values = np.zeros((16, 16, 4))
    values[..., 3] = 55_535
    write(tmp_path, {"a.tif": tiff([values], 5)})
    assert np.unique(pixels_of(tmp_path)).tolist() == [255 - (55_535 >> 8)]
    assert np.unique(pixels_of(tmp_path, white=20_000)).tolist() == [128]
    assert "is not used" not in capsys.readouterr().err


def test_16_bits_in_planes_are_refused_with_what_to_do(tmp_path):
    write(tmp_path, {"a.tif": tiff([np.full((16, 16), level) for level in (60_000, 30_000, 1000)], 2)})
    with pytest.raises(UsageError, match=r"a\.tif cannot be read: its channels lie in planes .* or as PNG"):
        load(tmp_path)


@pytest.mark.parametrize("white", [None, 65_535])
def test_16_bits_whose_0_is_white_are_no_negative(tmp_path, white):
    values = np.linspace(0, 65_535, 256).round().reshape(16, 16, 1)
    write(tmp_path, {"a.tif": tiff([values], 0)})
    assert np.abs(pixels_of(tmp_path, white=white) - (255 - values / 257)).max() <= 1


def with_key(data: bytes, *key: int) -> bytes:
    """A PNG in which one value, grey or in colour, is transparent."""
    told = b"tRNS" + struct.pack(f">{len(key)}H", *key)
    at = data.index(b"IDAT") - 4
    return data[:at] + struct.pack(">I", len(told) - 4) + told + struct.pack(">I", zlib.crc32(told)) + data[at:]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("white", [None, 65_535])
def test_the_value_that_is_transparent_in_a_png_of_16_bits_is(tmp_path, channels, white):
    values = np.full((16, 16, channels), 40_000)
    values[:, :8] = 1234
    write(tmp_path, {"a.png": with_key(deep(values), *[1234] * channels)})
    assert np.unique(pixels_of(tmp_path, white=white)).tolist() == [round(40_000 / 257), 255]
    background = load(tmp_path, background="#00ff00", white=white).images[0, :, 0, 0]
    assert background.tolist() == [0, 255, 0]


@pytest.mark.parametrize(("bits", "times"), [(1, 255), (2, 85), (4, 17)])
def test_the_grey_that_is_transparent_in_a_png_of_few_bits_is(tmp_path, bits, times):
    line = b"\0" + bytes([int(f"{1:0{bits}b}" * (8 // bits), 2)] * (16 * bits // 8))  # All pixels are 1.
    head = struct.pack(">IIBBBBB", 16, 16, bits, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(line * 16)), (b"IEND", b""))
    write(tmp_path, {"a.png": with_key(chunked(parts), 1), "b.png": chunked(parts)})
    assert load(tmp_path).images[:, 0, 0, 0].tolist() == [255, times]
    assert load(tmp_path, background="#00ff00").images[0, :, 0, 0].tolist() == [0, 255, 0]


def test_bits_are_told_of_both_splits(tmp_path):
    grey = io.BytesIO()
    Image.fromarray(np.full((16, 16), 4095, np.uint16)).save(grey, "PNG")
    write(tmp_path, {"train/a.png": png(100, mode="L"), "test/a.png": grey.getvalue()})
    assert load(tmp_path, "test").images.unique().tolist() == [255]


def test_white_that_reaches_no_picture_is_said_not_to_be_used(tmp_path, capsys):
    load(write(tmp_path, {"a.png": png()}), white=4095)
    assert "--white 4095 is not used: no picture has more than 8 bits" in capsys.readouterr().err


MANY: dict[str, bytes | str] = {f"{i:04}.png": png(100, mode="L") for i in range(600)}


def noticed(kind: str) -> bytes:
    data = io.BytesIO()
    if kind == "bits":
        Image.fromarray(np.full((16, 16), 4095, np.uint16)).save(data, "PNG")
    elif kind == "transparent":
        Image.new("LA", (16, 16), (0, 0)).save(data, "PNG")
    else:
        return png(255, size=(9, 9) if kind == "size" else (16, 16))
    return data.getvalue()


@pytest.mark.parametrize("kind", ["colour", "size", "bits", "transparent"])
def test_one_picture_of_many_is_not_overlooked(tmp_path, capsys, kind):
    data = load(write(tmp_path, {**MANY, "0001.png": noticed(kind)}), test_share=0)
    told = capsys.readouterr().err
    if kind == "size":
        assert data.images.shape[2:] == (64, 64)
        assert "the smallest side: 9 pixels" in told
    elif kind == "colour":
        assert data.images.shape[1] == 3
    elif kind == "bits":
        assert data.images[1].unique().tolist() == [255]
        assert "4,095 is taken for white" in told
    else:
        assert "transparent pixels are laid on white" in told


def test_a_run_of_version_0_1_0_keeps_the_size_and_colour_it_was_given(tmp_path, capsys):
    write(tmp_path, {**MANY, "0001.png": noticed("size")})
    data = open_dataset(Folder(), DataRequest(root=tmp_path, options=None))  # As a run says that recorded no options.
    assert data.images.shape == (600, 1, 16, 16)
    assert "as in version 0.1.0, and others differ" in capsys.readouterr().err


def test_grey_that_is_told_of_a_part_is_said_to_be(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ganzoo.data.imagefiles.survey.__defaults__", (4,))
    grey = io.BytesIO()
    Image.new("RGB", (16, 16), (9, 9, 9)).save(grey, "PNG")
    assert load(write(tmp_path, {f"{i}.png": grey.getvalue() for i in range(12)})).images.shape[1] == 1
    assert "and not at 8 others: --channels 3 if some of them show any" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["tif", "gif", "png"])
def test_pictures_with_several_frames_are_counted(ganzoo, tmp_path, ending):
    frames = [Image.new("RGB", (16, 16), (i * 50, 0, 0)) for i in range(3)]
    (tmp_path / "a").mkdir()
    frames[0].save(tmp_path / "a" / f"a.{ending}", save_all=True, append_images=frames[1:])
    write(tmp_path / "a", {"b.png": png()})
    result = ganzoo("data", "inspect", "a")
    assert "1 with several frames" in result.out
    assert "of 1 pictures with several frames or pages the first is taken" in result.err


def test_a_link_that_leads_nowhere_is_said_to_be_one(tmp_path):
    write(tmp_path, {"a.png": png()})
    (tmp_path / "b.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(UsageError, match=r"b\.png is not there, or a link that leads nowhere"):
        load(tmp_path)


# Commands


def test_inspect_counts_copies_that_a_run_would_hold_out_of_training(ganzoo, tmp_path):
    names = [f"{i}.png" for i in range(200)]
    out = next(name for name in names if held_out(name) < 0.1)
    kept = next(name for name in names if held_out(name) >= 0.1)
    files: dict[str, bytes | str] = {name: png(i) for i, name in enumerate(names)}
    write(tmp_path / "pets", files | {out: png(255), kept: png(255)})
    told = json.loads(ganzoo("data", "inspect", "pets", "--json").out)
    assert told["duplicates"]["in_both_splits"] == 1
    told = json.loads(ganzoo("data", "inspect", "pets", "--json", "--test-share", "0").out)
    assert told["duplicates"]["in_both_splits"] == 0


@pytest.mark.parametrize("out", ["pets/out", "pets/a/b.zip"])
def test_convert_writes_nothing_among_the_pictures_it_reads(ganzoo, tmp_path, out):
    write(tmp_path / "pets", {"a/1.png": png(), "b/1.png": png()})
    result = ganzoo("data", "convert", "pets", out)
    assert result.code == 2
    assert f"{out} lies in pets" in result.err
    assert not (tmp_path / out).exists()


def test_a_class_whose_name_holds_a_comma_can_be_asked_for():
    from ganzoo.commands.choices import parse_labels

    assert parse_labels("a,b", ("a,b", "c")) == ["a,b"]
    assert parse_labels("a,b,c", ("a", "b", "c", "a,b")) == ["a", "b", "c"]


def test_what_systems_leave_in_folders_is_no_class(tmp_path):
    files: dict[str, bytes | str] = {"cat/1.png": png(), "dog/1.png": png(), "@eaDir/cat/1.png": png()}
    assert load(write(tmp_path, files)).classes == ("cat", "dog")
    assert "@eaDir" in load(tmp_path, layout="folders").classes  # As before.


@pytest.mark.parametrize(
    ("rule", "hint"), [(USUAL, ": save it with"), (Rule(), ": say it with --white (255, say), or save")]
)
def test_only_where_white_can_be_told_is_one_told_to_tell_it(rule, hint):
    picture = Image.fromarray(np.linspace(0, 9, 16, dtype=np.float32).reshape(4, 4))
    with pytest.raises(UsageError, match=f"nobody says which is white{re.escape(hint)}"):
        eight_bits(picture, 3, rule)
