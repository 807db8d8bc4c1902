"""`--balance`: each class comes equally often, exactly, from any position on, in every process and streamed."""

import json
from itertools import islice

import pytest
import torch

from conftest import TINY
from ganzoo.data import Attribute, ImageSet, Loader
from ganzoo.data.balance import Balanced
from ganzoo.errors import UsageError
from ganzoo_test_plugins import Streamed

CPU = torch.device("cpu")
COUNTS = [30, 7, 1]
LABELS = torch.arange(3).repeat_interleave(torch.tensor(COUNTS))


def balanced(seed=0):
    return Balanced(LABELS, ("a", "b", "c"), seed)


def uneven():
    """Images that say their index in every pixel; class b has few, c has one."""
    images = torch.arange(38, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    return ImageSet(images, LABELS, ("a", "b", "c"))


def taken(batches):
    return [((b.x[:, 0, 0, 0] + 1) * 127.5).round().int().tolist() for b in batches]


@pytest.mark.parametrize("size", [1, 2, 32, 36, 38])
def test_classes_differ_by_one_image_at_most_over_any_number_of_epochs(size):
    seen = torch.zeros(3, dtype=torch.int64)
    for epoch in range(20):
        seen += LABELS[balanced().order(epoch, size)].bincount(minlength=3)
        assert seen.sum() == size * (epoch + 1)
        assert seen.max() - seen.min() <= 1


def test_images_of_a_class_differ_by_one_appearance_at_most_over_any_number_of_epochs():
    seen = torch.zeros(38, dtype=torch.int64)
    for epoch in range(20):
        seen += balanced().order(epoch, 36).bincount(minlength=38)
        for c in range(3):
            of_class = seen[c == LABELS]
            assert of_class.max() - of_class.min() <= 1


def test_an_order_is_shuffled_and_follows_from_seed_and_epoch_alone():
    orders = [balanced(seed).order(epoch, 36).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert balanced().order(1, 36).tolist() == orders[1]
    classes = LABELS[orders[0]].tolist()
    assert classes != sorted(classes)
    assert balanced().times(36) == [0.4, 12 / 7, 12.0]


def test_a_class_without_images_is_refused_by_name():
    with pytest.raises(UsageError, match="--balance: class 'd' has no training images"):
        Balanced(LABELS, ("a", "b", "c", "d"), 0)


@pytest.mark.parametrize("position", [1, 8, 9, 10, 23])
def test_batches_go_on_from_any_position(position):
    whole = taken(islice(Loader(uneven(), 4, 5, CPU, balance=True).batches(), 30))
    rest = taken(islice(Loader(uneven(), 4, 5, CPU, balance=True).batches(position), 30 - position))
    assert rest == whole[position:]


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_batches_are_those_in_memory(workers):
    data = uneven()
    streamed = ImageSet(Streamed(data.images), data.labels, data.classes)
    one, other = (Loader(part, 4, 5, CPU, workers=workers, balance=True).batches(3) for part in (data, streamed))
    for a, b in islice(zip(one, other, strict=False), 20):
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.y, b.y)


def test_processes_share_the_batches_of_one():
    whole = Loader(uneven(), 6, 5, CPU, balance=True).batches(7)
    parts = [Loader(uneven(), 6, 5, CPU, share=(rank, 3), balance=True).batches(7) for rank in range(3)]
    for batch in islice(whole, 15):
        assert torch.equal(torch.cat([next(part).x for part in parts]), batch.x)


def test_classes_in_condition_vectors_are_balanced_and_attributes_alone_are_none():
    data = uneven()
    one_hot = torch.nn.functional.one_hot(LABELS, 3).float()
    vectors = torch.cat([one_hot, torch.rand(38, 1)], dim=1)
    thick = (Attribute("thick"),)
    given = Loader(ImageSet(data.images, vectors, data.classes, thick), 4, 5, CPU, balance=True)
    assert taken(islice(given.batches(), 9)) == taken(islice(Loader(data, 4, 5, CPU, balance=True).batches(), 9))
    for without in (ImageSet(data.images), ImageSet(data.images, vectors[:, 3:], (), thick)):
        with pytest.raises(UsageError, match="--balance is for data with classes, and these have none"):
            Loader(without, 4, 5, CPU, balance=True)


def test_a_run_records_it_draws_fakes_uniformly_and_goes_on_as_if_it_had_not_stopped(ganzoo, tmp_path):
    from safetensors.torch import load_file

    run = ("run", *TINY, "--balance", "--quiet", "--steps")
    for name, steps, engine in (("whole", 40, "eager"), ("recorded", 40, "graph"), ("halves", 23, "eager")):
        assert ganzoo(*run, steps, "--engine", engine, "--out", name).code == 0
    assert ganzoo("resume", "halves", "--steps", 40, "--quiet").code == 0
    whole, *others = (load_file(f"{name}/generator.safetensors") for name in ("whole", "recorded", "halves"))
    for other in others:
        assert all(torch.equal(whole[key], other[key]) for key in whole)
    info = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert info["settings"]["balance"] is True
    assert info["data"]["counts"] == []
    assert ganzoo(*run, 40, "--no-balance", "--out", "plain").code == 0
    plain = load_file("plain/generator.safetensors")
    assert not all(torch.equal(whole[key], plain[key]) for key in whole)
    assert json.loads((tmp_path / "plain" / "run.json").read_text())["data"]["counts"]


def test_data_without_classes_is_one_line(ganzoo):
    result = ganzoo("run", "plain", "--dataset", "unlabelled", "--balance")
    assert result.code == 2
    assert result.err == "error: --balance is for data with classes, and these have none\n"


def folder_of(root, counts):
    from PIL import Image

    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (i, 255 - i, 9)).save(root / name / f"{i}.png")
    return root


def test_a_class_with_one_picture_works_with_a_note(ganzoo, tmp_path):
    root = folder_of(tmp_path / "pets", {"cat": 30, "dog": 1})
    run = ("run", "tiny", "--dataset", "folder", "--data-root", root, "--batch-size", 4, "--loggers", "none", "--quiet")
    result = ganzoo(*run, "--balance", "--steps", 10, "--out", "r")
    assert result.code == 0
    told = "--balance: class 'dog' has 1 training image, and each is shown 14 times an epoch"
    assert result.err.count(told) == 1
    assert "shown" not in ganzoo(*run, "--steps", 10, "--out", "plain").err


def test_inspect_mentions_it_where_classes_are_far_from_equal(ganzoo, tmp_path):
    uneven, even = (folder_of(tmp_path / n, {"cat": k, "dog": 4}) for n, k in (("uneven", 44), ("even", 36)))
    told = ganzoo("data", "inspect", uneven).out
    assert "the largest class is 11 times the smallest: --balance shows each equally often" in told
    assert "--balance" not in ganzoo("data", "inspect", even).out
