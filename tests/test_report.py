"""Reports: what is read, what may be compared, what is said of it, and in which form."""

import contextlib
import json
import re
import shlex
import shutil
from html import unescape
from importlib.resources import files
from pathlib import Path

import pytest

from conftest import TINY
from ganzoo.errors import GanzooError, UsageError
from ganzoo.plugins import registry
from ganzoo.report.benchmarks import read_benchmarks
from ganzoo.report.build import FORMAT, build
from ganzoo.report.charts import throughput_charts
from ganzoo.report.html import LISTED, PICTURED, page
from ganzoo.report.lines import MEASURES, difference, value_of
from ganzoo.report.markdown import escaped, markdown
from ganzoo.report.named import sort_out
from ganzoo.report.pictures import data_uri, share
from ganzoo.report.show import show, shown_number

PROTOCOL = {
    "format": 1, "dataset": "small-digits", "split": "test", "reference_images": 500, "reference_sha256": "ab" * 32,
    "shape": [1, 8, 8], "n": 1000, "extractor": "look", "extractor_sha256": "10" * 32, "resize": "none",
}  # fmt: skip
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A finished run, made once."""
    from ganzoo.launch import start
    from ganzoo.settings import resolve

    folder = tmp_path_factory.mktemp("report") / "run"
    plan = resolve(
        registry().get("models", TINY[0]),
        {"dataset": "small-digits", "batch_size": 32, "loggers": (), "steps": 2, "sample_interval": 1000},
    )
    start(plan, registry(), folder)
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """Make a run directory: a copy of the trained one with other numbers."""

    def make(name, fid=None, seed=0, protocol=None, settings=None, options=None, curve=(), **changes) -> Path:
        folder = tmp_path / name
        shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("checkpoints", "samples"))
        info = json.loads((folder / "run.json").read_text())
        protocol = PROTOCOL | (protocol or {})
        info["settings"] |= {"seed": seed, **(settings or {})}
        info["options"] |= options or {}
        info |= {"evaluation": protocol, **changes}
        (folder / "run.json").write_text(json.dumps(info))
        if curve:
            rest = {"images_per_second": 100.0, "discriminator_loss": 1.5, "generator_loss": 0.5}
            lines = [{"step": 10 * i, "epoch": i, "seconds": s, "fid": f, **rest} for i, (s, f) in enumerate(curve)]
            (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if fid is not None:
            confusion = [[10 * (i == j) + (i == 3 and j == 5) for j in range(10)] for i in range(10)]
            result = {"protocol": protocol, "metrics": {"fid": fid, "accuracy": 0.9}, "settings": {"fid": {}},
                      "confusion": confusion, "step": 2}  # fmt: skip
            (folder / "eval.json").write_text(json.dumps(result))
        return folder

    return make


# Lines


def test_runs_that_differ_in_the_seed_alone_are_one_line_with_mean_and_spread(run):
    report = build([run("a", 4.0, seed=0), run("b", 6.0, seed=1), run("c", 9.0, seed=0, options={"lr": 0.1})])
    names = [line.name for line in report.lines]
    assert names == ["tiny, lr 0.0002", "tiny, lr 0.1"]
    value = report.lines[0].values["fid"]
    assert (value.mean, round(value.spread, 3)) == (5.0, 1.414)
    assert report.lines[1].values["fid"].spread is None
    assert report.lines[0].differs == {"lr": 0.0002}


def test_a_second_run_of_one_seed_is_a_line_of_its_own(run):
    report = build([run("a", 4.0), run("b", 6.0)])
    assert [line.name for line in report.lines] == ["tiny (a)", "tiny (b)"]


def test_a_run_on_other_hardware_is_another_line(run):
    report = build([run("a", 4.0), run("b", 6.0, seed=1, machine={"device_name": "other"})])
    assert len(report.lines) == 2
    assert any("different hardware" in caution for caution in report.cautions)


def test_a_strangers_shape_of_training_images_is_told_as_far_as_it_is_one(run):
    data = {"name": ["x"], "shape": [[], 28, {}, 28], "count": {}}
    report = build([run("a", 4.0, data=data), run("b", 6.0)])
    assert report.lines[0].runs[0].trained_on == (None, (28, 28), None)
    assert len(report.lines) == 2


def test_which_card_of_a_machine_and_where_its_data_lay_make_no_line(run):
    runs = [
        run(f"a{i}", 4.0 + i, seed=i, settings={"device": f"cuda:{i}", "data_root": f"/data/{i}"}) for i in range(2)
    ]
    (line,) = build(runs).lines
    assert line.seeds == [0, 1]
    assert [("--device cuda:1" in r.command, "--data-root /data/1" in r.command) for r in line.runs] == [
        (False, False), (True, True),
    ]  # fmt: skip


def test_how_auto_took_the_steps_makes_no_line_and_what_was_asked_for_does(run):
    made = [
        run(used, 4.0, seed=i, settings={"engine": "auto"}, machine={"device_name": "cpu", "engine": used})
        for i, used in enumerate(("graph", "eager"))
    ]
    asked = run("asked", 4.0, seed=2, settings={"engine": "eager"}, machine={"device_name": "cpu", "engine": "eager"})
    report = build([*made, asked])
    assert [(line.name, line.seeds) for line in report.lines] == [
        ("tiny, engine auto", [0, 1]), ("tiny, engine eager", [2]),
    ]  # fmt: skip


def test_a_run_of_two_processes_is_another_line_and_its_command_says_so(run):
    machine = {"device_name": "cpu", "processes": 2}
    report = build([run("a", 4.0, machine={"device_name": "cpu"}), run("b", 5.0, seed=1, machine=machine)])
    assert len(report.lines) == 2
    assert "--nproc" not in report.lines[0].runs[0].command
    assert "--nproc 2 " in report.lines[1].runs[0].command


def test_a_preset_is_part_of_a_lines_name(run):
    runs = [run("a", 4.0), run("b", 6.0, preset="short", options={"lr": 0.1, "batch_size": 16})]
    report = build(runs)
    assert [line.name for line in report.lines] == ["tiny", "tiny:short"]
    assert report.to_json()["groups"][0]["lines"][1]["model"] == "tiny"


def test_options_that_only_some_lines_have_are_among_those_that_differ(run):
    report = build([run("a", 4.0), run("b", 6.0, model="plain", options={"clip": 0.01})])
    assert report.lines[1].differs == {"clip": 0.01}
    section = page(report, registry()).partition('<table class="options">')[2].partition("</table>")[0]
    assert '<th scope="col">model</th><th scope="col">clip</th>' in section
    assert '<th scope="row">tiny</th><td>–</td>' in section
    assert '<th scope="row">plain</th><td>0.01</td>' in section


def test_many_options_of_few_lines_stand_option_by_option(run):
    report = build([run("a", 4.0), run("b", 6.0, model="plain", options={"clip": 0.01, "lr": 0.1, "latent_dim": 9})])
    section = page(report, registry()).partition('<table class="options">')[2].partition("</table>")[0]
    assert '<th scope="col">option</th><th scope="col">tiny</th><th scope="col">plain</th>' in section
    assert '<th scope="row">clip</th><td>–</td><td>0.01</td>' in section
    assert '<th scope="row">latent-<wbr>dim</th>' in section


def test_where_many_options_differ_those_of_one_model_alone_are_folded(run):
    own = {f"own_{i}": i for i in range(LISTED)}
    html = page(build([run("a", 4.0), run("b", 6.0, model="plain", options={"lr": 0.1, **own})]), registry())
    section = html.partition('<table class="options">')[2].partition("</table>")[0]
    assert "lr" in section
    assert "own-" not in section.replace("<wbr>", "")
    assert f"<summary>{LISTED} options of one model alone</summary>" in html
    assert "<dt>plain</dt><dd>own-0 0, own-1 1, " in html


def test_what_version_0_1_had_no_option_for_makes_a_line_and_is_repeated(run, ganzoo):
    other = {"augment": ["ada:target=0.5,speed=100", "diffaugment"], "balance": True, "mirror": True}
    old = json.loads((run("old", 5.0, seed=1) / "run.json").read_text())
    for key in (*other, "regularise"):
        del old["settings"][key]
    Path("old/run.json").write_text(json.dumps(old))
    report = build([run("a", 4.0), Path("old"), run("b", 6.0, settings=other)])
    first, second = report.lines
    assert [record.folder.name for record in first.runs] == ["a", "old"]
    told = {"augment": "ada:target=0.5,speed=100, diffaugment", "balance": True, "mirror": True}
    assert {key: second.options[key] for key in other} == told
    words = shlex.split(second.runs[0].command)
    again = ganzoo(*words[1:], "--dry-run", "--json")
    assert again.code == 0, again.err
    settings = json.loads(again.out)["settings"]
    assert {key: settings[key] for key in other} == other


def test_what_an_evaluation_cautions_of_is_in_the_report(run):
    folder = run("a", 4.0)
    result = json.loads((folder / "eval.json").read_text())
    (folder / "eval.json").write_text(json.dumps(result | {"cautions": ["FID of 9 images says\x1b[2J little"]}))
    assert f"{folder}: FID of 9 images says\ufffd[2J little" in build([folder]).cautions


# Who may be compared


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"extractor_sha256": "ff" * 32}, "extractor_sha256 is"),
        ({"n": 500}, "n is 500 and 1000"),
        ({"split": "train"}, "split is train and test"),
    ],
)
def test_runs_measured_otherwise_stand_apart_with_the_reason(run, change, reason):
    report = build([run("odd", 1.0, protocol=change), run("a", 4.0), run("b", 6.0, seed=1)])
    assert [len(group.runs) for group in report.groups] == [2, 1]
    assert reason in report.groups[1].apart
    assert "1.00" not in report.verdict[0]


def test_runs_trained_on_other_data_stand_apart(run):
    data = {"name": "unlabelled", "shape": [1, 8, 8], "count": 500, "classes": [], "attributes": []}
    report = build([run("a", 4.0), run("b", 1.0, seed=1, data=data)])
    assert (
        report.groups[1].apart
        == "trained on unlabelled (500 images of 1 x 8 x 8), not on small-digits (500 images of 1 x 8 x 8)"
    )


def test_a_run_without_an_evaluation_has_dashes_and_no_zero(run):
    report = build([run("a", 4.0), run("b", options={"lr": 0.1})])
    assert len(report.groups) == 1
    assert show(MEASURES[0], report.lines[1].values.get("fid")) == "–"
    assert f"not evaluated: {report.lines[1].runs[0].folder}. The same command with `--eval` measures them first." in (
        report.cautions
    )
    assert "| – | tiny, lr 0.1 | 1 | – |" in markdown(report)
    assert report.to_json()["groups"][0]["lines"][1]["values"].get("fid") is None


def test_the_evaluation_of_the_last_step_stands_in_for_a_missing_eval_json(run):
    folder = run("a", curve=[(1, 90.0), (2, 40.0)])
    (folder / "status.json").write_text(json.dumps({"status": "finished", "step": 10, "seconds": 2.0, "epoch": 1}))
    assert build([folder]).lines[0].values["fid"].mean == 40.0


def test_what_is_not_a_finite_number_is_missing(run):
    folder = run("a", 4.0)
    (folder / "status.json").write_text(
        '{"status": "finished", "seconds": 1e999, "epoch": true, "peak_memory_bytes": "x"}'
    )
    assert not {"seconds", "epochs", "memory"} & build([folder]).lines[0].values.keys()


def test_a_run_that_ended_before_its_budget_is_no_other_seed_of_one_that_did_not(run):
    folders = [run(name, 4.0 + i, seed=i) for i, name in enumerate("abc")]
    for folder in folders[1:]:
        (folder / "status.json").write_text('{"status": "stopped", "step": 1}')
    report = build(folders)
    assert [line.name for line in report.lines] == ["tiny", "tiny, training ended at 50 %"]
    assert [line.seeds for line in report.lines] == [[0], [1, 2]]
    killed = run("d", 4.0, settings={"max_time": 100.0}, steps=None, curve=[(10, 9.0), (25, 4.0)])
    (killed / "status.json").unlink()
    assert build([killed]).lines[0].options["training ended"] == "at 25 %"
    assert "training did not finish (status: stopped): its command trains to the whole budget" in str(report.cautions)
    assert "--seeds" not in " ".join(report.verdict)


def test_an_evaluation_of_an_earlier_step_is_told(run):
    folder = run("a", 4.0)
    (folder / "status.json").write_text('{"status": "finished", "step": 900}')
    assert any("measured at step 2, trained to step 900" in c for c in build([folder]).cautions)


# The verdict


def test_with_one_seed_each_nothing_is_best_and_the_verdict_says_why(run):
    report = build([run("a", 4.0), run("b", 6.0, options={"lr": 0.1})])
    assert report.verdict[0] == (
        "None is surely best: tiny, lr 0.0002 has the lowest FID, 4.00 (1 seed), against 6.00 (1 seed) for "
        "tiny, lr 0.1, the next best of 2."
    )
    assert "Each of the two has a FID on one seed" in report.verdict[1]
    assert report.best is None
    assert not any(v.best for line in report.lines for v in line.values.values())


def test_a_lead_beyond_the_spread_is_best(run):
    runs = [run(f"a{s}", 4.0 + s / 10, seed=s) for s in range(3)]
    runs += [run(f"b{s}", 8.0 + s / 10, seed=s, options={"lr": 0.1}) for s in range(3)]
    report = build(runs)
    assert report.best == "tiny, lr 0.0002"
    assert report.verdict[0].startswith("tiny, lr 0.0002 is best: FID 4.10 ± 0.10 (3 seeds), against 8.10")
    assert report.lines[0].values["fid"].best
    assert not report.lines[1].values["fid"].best
    assert "The lead of 4.00 (95 % interval 3.77 to 4.23) is more than the spread" in report.verdict[1]
    assert "**4.10 ± 0.10**" in markdown(report)


def test_a_lead_within_the_spread_is_not_best(run):
    runs = [run(f"a{s}", 4.0 + s, seed=s) for s in range(3)]
    runs += [run(f"b{s}", 4.5 + s, seed=s, options={"lr": 0.1}) for s in range(3)]
    report = build(runs)
    assert report.best is None
    first, second = report.verdict
    assert first == (
        "tiny, lr 0.0002 and tiny, lr 0.1 share first place: FID 5.00 ± 1.00 and 5.50 ± 1.00 (3 seeds); seeds do not "
        "tell them apart."
    )
    assert second.startswith("The lead of 0.50 (95 % interval -1.77 to 2.77) is no more than the spread over seeds")


def test_those_who_share_first_place_are_named_with_the_next_that_is_surely_behind(run):
    runs = [run(f"a{s}", 4.0 + s / 10, seed=s) for s in range(3)]
    runs += [run(f"b{s}", 4.05 + s / 10, seed=s, options={"lr": 0.1}) for s in range(3)]
    runs += [run(f"c{s}", 6.0 + s / 10, seed=s, options={"lr": 0.2}) for s in range(3)]
    runs += [run("d", 9.0, options={"lr": 0.3})]
    first, _, third, last = build(runs).verdict
    assert first.startswith(
        "tiny, lr 0.0002 and tiny, lr 0.1 share first place: FID 4.10 ± 0.10 and 4.15 ± 0.10 (3 seeds)"
    )
    assert third == "The next, tiny, lr 0.2, is 2.00 behind (95 % interval 1.77 to 2.23)."
    assert last == "Whether tiny, lr 0.3 is behind cannot be told from its seeds."


def test_one_whose_lead_is_unknown_shares_no_first_place(run):
    runs = [run(f"a{s}", 4.0 + s / 10, seed=s) for s in range(3)]
    runs += [run(f"b{s}", 4.05 + s / 10, seed=s, options={"lr": 0.1}) for s in range(3)]
    runs += [run("c", 9.0, options={"lr": 0.2})]
    runs += [run(f"d{s}", 10.0 + s / 10, seed=s, options={"lr": 0.3}) for s in range(3)]
    first, _, third, last = build(runs).verdict
    assert first.startswith("tiny, lr 0.0002 and tiny, lr 0.1 share first place: FID 4.10 ± 0.10 and 4.15 ± 0.10")
    assert third.startswith("The next, tiny, lr 0.3, is 6.00 behind")
    assert last == "Whether tiny, lr 0.2 is behind cannot be told from its seeds."


def test_one_of_unknown_lead_between_them_does_not_hide_who_shares_first_place(run):
    runs = [run(f"a{s}", 4.0 + s / 10, seed=s) for s in range(3)]
    runs += [run(f"b{s}", 4.02 + s / 10, seed=s, options={"lr": 0.1}) for s in range(3)]
    runs += [run("c", 4.13, options={"lr": 0.2})]
    runs += [run(f"d{s}", 4.06 + s / 10, seed=s, options={"lr": 0.3}) for s in range(3)]
    first, _, last = build(runs).verdict
    assert first.startswith("tiny, lr 0.0002, tiny, lr 0.1 and tiny, lr 0.3 share first place")
    assert last == "Whether tiny, lr 0.2 is behind cannot be told from its seeds."


def test_a_line_that_lacks_a_seeds_fid_is_ranked_by_those_it_has_and_never_best(run):
    runs = [run(f"a{s}", 8.0 + s / 10, seed=s) for s in range(3)]
    runs += [run(f"b{s}", 1.0 + s / 10 if s < 2 else None, seed=s, options={"lr": 0.1}) for s in range(3)]
    report = build(runs)
    assert report.best is None
    assert report.verdict[0].startswith(
        "None is surely best: tiny, lr 0.1 has the lowest FID, 1.05 ± 0.07 (2 of 3 seeds), against 8.10"
    )
    assert "tiny, lr 0.1 has a FID on 2 of 3 seeds only" in report.verdict[1]
    assert not any(line.values["fid"].best for line in report.lines)


def test_a_line_that_lacks_a_seeds_fid_can_be_beaten(run):
    runs = [run(f"a{s}", 1.0 + s / 10, seed=s) for s in range(3)]
    runs += [run(f"b{s}", 8.0 + s / 10 if s < 2 else None, seed=s, options={"lr": 0.1}) for s in range(3)]
    report = build(runs)
    assert report.best == "tiny, lr 0.0002"
    assert "against 8.05 ± 0.07 (2 of 3 seeds) for tiny, lr 0.1" in report.verdict[0]


def test_lines_with_the_same_fid_are_both_named(run):
    report = build([run("a", 4.0), run("b", 4.0, options={"lr": 0.1})])
    assert report.verdict == ["None is best: tiny, lr 0.0002 and tiny, lr 0.1 have the same FID, 4.00 (1 seed)."]


def test_a_third_line_of_one_seed_keeps_a_lead_from_being_sure(run):
    runs = [run(f"a{s}", 4.0 + s / 10, seed=s) for s in range(3)]
    runs += [run(f"b{s}", 8.0 + s / 10, seed=s, options={"lr": 0.1}) for s in range(3)]
    report = build([*runs, run("c", 9.0, options={"lr": 0.2})])
    assert report.best is None
    assert report.verdict[1].endswith("but whether the one over tiny, lr 0.2 is cannot be told from its seeds.")


def test_a_third_line_of_which_seeds_failed_is_told_of_beside_the_claim(run):
    runs = [run(f"{name}{s}", fid + s / 10, seed=s, options={"lr": lr}) for name, fid, lr in (("a", 4.0, 0.1),
            ("b", 8.0, 0.2)) for s in range(3)]  # fmt: skip
    runs += [run(f"c{s}", 9.0 + s / 10 if s < 2 else None, seed=s, options={"lr": 0.3}) for s in range(3)]
    report = build(runs)
    assert report.best == "tiny, lr 0.1"
    assert report.verdict[2:] == ["tiny, lr 0.3 has a FID on some seeds only."]


def test_seeds_that_lie_apart_share_no_first_place_however_few_they_are(run):
    runs = [run(f"a{s}", 5.0 + s, seed=s) for s in range(2)]
    runs += [run(f"b{s}", 60.0 + 30 * s, seed=s, options={"lr": 0.1}) for s in range(2)]
    report = build(runs)
    assert report.verdict[0].startswith(
        "None is surely best: tiny, lr 0.0002 has the lowest FID, 5.50 ± 0.71 (2 seeds)"
    )
    assert report.verdict[1].startswith(
        "Each seed of tiny, lr 0.0002 is below each of tiny, lr 0.1, but they are too few to be sure of the lead of 69."
    )
    assert report.verdict[1].endswith(" --seeds 0-2`.")


def test_differences_are_those_of_welchs_test():
    found = difference(value_of([1.0, 2.0, 3.0], 3), value_of([11.0, 12.0, 13.0], 3))
    assert (found.amount, found.sure) == (10.0, True)
    # t = 2.776 at 4 degrees of freedom, standard error sqrt(2 / 3).
    assert (found.low, found.high) == pytest.approx((10 - 2.776 * 0.8165, 10 + 2.776 * 0.8165), abs=1e-3)
    assert difference(value_of([1.0], 1), value_of([2.0, 3.0], 2)).sure is None


def test_time_to_a_threshold_counts_only_when_every_seed_reached_it(run):
    runs = [run("a", 4.0, seed=0, curve=[(10, 90), (20, 18), (30, 8)])]
    runs += [run("b", 6.0, seed=1, curve=[(10, 80), (22, 19), (30, 12)])]
    group = build(runs).groups[0]
    assert group.thresholds == [10, 20, 50]
    values = group.lines[0].values
    assert values["seconds_to_fid_20"].values == [20, 22]
    assert values["seconds_to_fid_10"].note == "1 of 2 seeds"
    measure = next(m for m in group.measures if m.key == "seconds_to_fid_10")
    assert show(measure, values["seconds_to_fid_10"]) == "1 of 2 seeds"  # Their mean would look too good.
    assert '<td data-value="">1 of 2 seeds</td>' in page(build(runs), registry())


def test_the_best_fid_in_training_stands_beside_the_last_and_is_never_marked(run):
    runs = [run("a", 9.0, seed=0, curve=[(10, 90), (20, 4), (30, 9)])]
    runs += [run("b", 8.0, seed=1, curve=[(10, 80), (22, 5), (30, 8)])]
    runs += [run(f"c{seed}", 90.0 + seed, seed=seed, options={"lr": 0.1}, curve=[(1, 80 + seed)]) for seed in (0, 1)]
    report = build(runs)
    best, other = report.lines
    assert (best.values["best_fid"].values, best.values["best_fid_step"].values) == ([4, 5], [10, 10])
    assert (other.values["best_fid"].mean, best.values["best_fid"].best) == (80.5, False)
    head = next(line for line in markdown(report).splitlines() if "best FID" in line)
    assert "| best FID in training | step of the best FID |" in head
    assert "best_fid" not in build([run("d", 4.0)]).lines[0].values


def test_a_run_whose_measuring_failed_is_not_told_to_be_measured(run):
    runs = [run("a", 4.0), run("b", options={"lr": 0.1})]
    report = build(runs, failed=[f"{runs[1]}: it has no best checkpoint"])
    assert not any("not evaluated" in caution for caution in report.cautions)
    assert any("not evaluated" in caution for caution in build(runs).cautions)


def test_what_all_seeds_have_alike_has_no_interval(run):
    folders = [run("a", 4.0, seed=0), run("a2", 5.0, seed=1)]
    html = page(build(folders), registry())
    assert re.findall(r"<small>([\d.,]+) to \1</small>", html) == []


# Forms


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (None, ".2f", "–"), (4.126, ".2f", "4.13"), (0.5, ".1%", "50.0 %"), (31.6, "seconds", "32 s"),
        (3000, "seconds", "50 min"), (3 * 2**20, "bytes", "3 MiB"), (12345.6, ",.0f", "12,346"),
        (9000, "seconds", "2.5 h"), (0.00123456, ".2f", "0.00123"), (-1e-7, ".2f", "-1e-07"), (1e99, ".2f", "1e+99"),
        (0.0, ".2f", "0.00"),
    ],
)  # fmt: skip
def test_numbers_are_shown_as_people_write_them(value, form, text):
    assert shown_number(value, form) == text


def test_a_spread_has_as_many_places_as_its_mean_unless_it_would_be_nought():
    shown = [show(MEASURES[0], value_of(values, 2)) for values in ([5.0, 5.1], [5.0, 5.0], [5.0, 5.001], [0.01, 0.03])]
    assert shown == ["5.05 ± 0.07", "5.00 ± 0.00", "5.00 ± 0.000707", "0.02 ± 0.01"]


def test_the_json_is_versioned_and_holds_what_the_page_says(run, ganzoo):
    a, b = run("a", 4.0), run("b", 6.0, seed=1)
    result = ganzoo("compare", a, b, "-o", "r.json", "-o", "r.md", "--json")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert told == json.loads(Path("r.json").read_text())
    assert (told["kind"], told["format"]) == ("ganzoo report", 1)
    line = told["groups"][0]["lines"][0]
    assert line["values"]["fid"]["values"] == [4.0, 6.0]
    assert [r["seed"] for r in line["runs"]] == [0, 1]
    assert line["runs"][1]["repeat"].startswith("ganzoo run tiny --dataset small-digits --steps 2 ")
    assert "| tiny | 2 | 5.00 ± 1.41 |" in Path("r.md").read_text()


def fault(value, schema: dict, root: dict, where: str = "report") -> str | None:
    """The first place where a value is not as a schema says, by the keywords that ours uses."""
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": int | float, "boolean": bool,
             "null": type(None)}  # fmt: skip
    known = {"$schema", "$id", "$ref", "$defs", "title", "description", "type", "required", "properties", "const",
             "enum", "additionalProperties", "items", "minItems", "maxItems"}  # fmt: skip
    assert schema.keys() <= known, f"{where}: this test does not know {schema.keys() - known}"
    if "$ref" in schema:
        return fault(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, where)
    allowed = schema.get("type", list(kinds))
    allowed = [allowed] if isinstance(allowed, str) else allowed
    if not any(isinstance(value, kinds[k]) and (not isinstance(value, bool) or k == "boolean") for k in allowed):
        return f"{where} is no {' or '.join(allowed)}"
    if value not in schema.get("enum", [schema.get("const", value)]):
        return f"{where} is {value!r}"
    parts = []
    if isinstance(value, dict):
        if missing := set(schema.get("required", ())) - value.keys():
            return f"{where} lacks {missing}"
        other = schema.get("additionalProperties", {})
        parts = [(v, schema.get("properties", {}).get(k, other), f"{where}.{k}") for k, v in value.items()]
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return f"{where} has {len(value)} items"
        parts = [(v, schema.get("items", {}), f"{where}[{i}]") for i, v in enumerate(value)]
    return next(filter(None, (fault(v, s, root, w) for v, s, w in parts)), None)


def test_the_json_is_as_its_schema_says(run, tmp_path):
    schema = json.loads(files("ganzoo.report").joinpath("report.schema.json").read_text())
    assert schema["properties"]["format"]["const"] == FORMAT
    (tmp_path / "bench.json").write_text(json.dumps(REAL))
    folders = [run("a", 4.0, curve=[(1, 90.0), (2, 40.0)]), run("b", 6.0, seed=1), run("c", 5.0, protocol={"n": 9}),
               run("d", options={"lr": 0.1})]  # fmt: skip
    told = build(folders, [tmp_path / "bench.json"], failed=["e: no"]).to_json()
    assert fault(told, schema, schema) is None
    run_of = told["groups"][0]["lines"][0]["runs"][0]
    schema["properties"] |= {"format": {"const": 2}}
    assert fault(told, schema, schema) == "report.format is 1"
    del run_of["repeat"]
    del schema["properties"]["format"]
    assert "lacks {'repeat'}" in fault(told, schema, schema)


def test_the_command_of_a_line_repeats_the_run(run, ganzoo):
    words = shlex.split(build([run("a", 4.0)]).lines[0].runs[0].command)
    assert words[-2:] == ["--out", str(Path("a-again").absolute())]
    again = ganzoo(*words[1:], "--dry-run", "--json")
    assert again.code == 0, again.err
    mine, theirs = (json.loads(text) for text in (again.out, Path("a/run.json").read_text()))
    assert mine["options"] == theirs["options"]
    assert {k: v for k, v in mine["settings"].items() if k not in ("sample_interval", "loggers")} == {
        k: v for k, v in theirs["settings"].items() if k not in ("sample_interval", "loggers")
    }


def test_the_commands_train_and_measure_the_same_again(ganzoo):
    assert ganzoo("run", *TINY, "--steps", 3, "--seed", 5, "--out", "mine", "--quiet").code == 0
    how = ("--n", 60, "--split", "train", "--seed", 7, "--features", "look", "--metrics", "fid,kid")
    assert ganzoo("eval", "mine", *how).code == 0
    (line,) = build([Path("mine")]).lines
    for command in (line.runs[0].command, line.runs[0].measuring):
        result = ganzoo(*shlex.split(command)[1:])
        assert result.code == 0, result.err
    mine, again = (json.loads(Path(f, "eval.json").read_text()) for f in ("mine", "mine-again"))
    for part in ("protocol", "metrics", "settings", "seed"):
        assert mine[part] == again[part]


def test_names_with_markup_are_shown_as_text(run):
    folder = run(f"x{EVIL.replace('/', '')}", 4.0, model=EVIL, settings={"seed": EVIL}, preset=EVIL)
    report = build([folder, run("b", 5.0)])
    html = page(report, registry())
    assert EVIL not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert html.count("<script") == 2
    assert "<script" not in markdown(report).partition("```")[0]


def test_the_page_shows_the_pictures_or_says_why_not(run):
    folder = run("a", 4.0)
    html = page(build([folder]), registry())
    assert html.count('src="data:image/png;base64,') == 1
    (folder / "generator.safetensors").write_bytes(b"damaged")
    html = page(build([folder]), registry())
    assert "No picture: " in html
    assert "generator.safetensors is damaged" in html


def test_the_page_forbids_every_request(run):
    html = page(build([run("a", 4.0)]), registry())
    assert "default-src &#39;none&#39;; img-src data:" in html
    assert "http" not in html.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_markdown_escapes_what_would_be_markup():
    assert escaped("a|b <i> *c* [d](e) `f`\nnext & on") == "a\\|b &lt;i> \\*c\\* \\[d\\](e) \\`f\\` next &amp; on"


def test_markdown_keeps_the_spaces_around_commands(run):
    assert " The same command with `--eval` measures them first." in markdown(build([run("a", 4.0), run("b")]))


def test_of_runs_that_a_program_handed_something_over_for_no_command_is_told_that_cannot_work(run):
    data = run("a", settings={"dataset": "given"})
    made = run("b", settings={"dataset": "given"}, plugin={"package": "(not installed)", "module": "__main__.Mine"})
    report = build([data, made])
    (caution,) = [line for line in report.cautions if "not evaluated" in line]
    calls = f"`ganzoo.evaluate('{data}', dataset=IMAGES)` and `ganzoo.evaluate(ganzoo.load('{made}', model=Mine), "
    assert caution == f"not evaluated: {data}, {made}. In Python {calls}dataset=IMAGES)` measure them."
    assert report.to_json()["verdict"]["sentences"][-1].startswith("In Python `ganzoo.evaluate(")
    runs = [of["runs"][0] for group in report.to_json()["groups"] for of in group["lines"]]
    assert [r["repeat"] for r in runs] == [None, None]
    assert "trained on data that a program handed over: no command repeats it" in runs[0]["notes"]
    shown = page(report, registry()) + markdown(report)
    assert "a program handed over its data, so no command trains it anew" in shown
    assert "--eval`" not in shown
    assert "--eval</code>" not in shown
    assert "$ ganzoo run" not in shown


def small(path: str, **parts) -> None:
    """Change a JSON file of a run."""
    value = json.loads(Path(path).read_text()) | parts
    Path(path).write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("file", "parts"),
    [
        ("run.json", {"data": {"name": "small-digits", "shape": 5, "classes": 5, "count": "x"}}),
        ("run.json", {"options": {"lr": float("nan"), "deep": [float("inf")]}, "machine": {"threads": float("nan")}}),
        ("run.json", {"model": "half \ud800 a character", "preset": "\udc00", "versions": {"\ud800": "\ud800"}}),
        ("run.json", {"settings": [], "options": 3, "machine": "x", "versions": 1, "parameters": {"generator": []}}),
        ("eval.json", {"settings": {"fid": 5}}),
        ("eval.json", {"settings": {"fid": []}}),
        ("eval.json", {"metrics": {"fid": 1e308, "kid": "x", "is": 10**400}}),
        ("eval.json", {"protocol": PROTOCOL | {"extractor_sha256": 5}}),
        ("eval.json", {"protocol": PROTOCOL | {"shape": "abc", "resize": float("nan"), "split": [{}]}}),
        ("eval.json", {"confusion": [[float("nan")]], "step": [], "seed": {}}),
        ("status.json", {"status": {}, "seconds": 10**400, "step": "x"}),
    ],
)
def test_one_run_with_nonsense_among_others_never_loses_the_page(run, ganzoo, file, parts):
    others = {"options": {"lr": 0.5}}
    folders = [run("good", 4.0), run("bad", 5.0, seed=1, **others), run("worse", 5.0, seed=2, **others)]
    for folder in folders[1:]:
        small(folder / file, **parts)
    result = ganzoo("compare", *folders, "-o", "r.html", "-o", "r.json", "-o", "r.md")
    assert result.code in (0, 1), result.err
    assert "shows where" not in result.err
    told = json.loads(Path("r.json").read_text(), parse_constant=pytest.fail)
    text = unescape(Path("r.html").read_text(encoding="utf-8"))
    assert "4.00" in text
    assert len(told["failed"]) == (2 if result.code else 0)
    assert all(reason in text for reason in told["failed"])


def test_a_damaged_run_among_others_is_left_out_with_the_reason(run, ganzoo):
    folders = [run("a", 4.0), run("b", 5.0, seed=1)]
    (folders[1] / "eval.json").write_text("{")
    result = ganzoo("compare", *folders, "-o", "r.html")
    assert result.code == 1
    assert result.err.startswith("error: the report is written, but not whole: left out: ")
    assert "b/eval.json is not valid JSON" in result.err
    assert "b/eval.json is not valid JSON" in Path("r.html").read_text()


def test_two_hundred_runs_make_a_page_that_can_be_sent(run):
    folders = [run(f"r{i}", 4.0 + i, options={"lr": 0.1 + i}, curve=[(s, 90 / s) for s in range(1, 40)])
               for i in range(200)]  # fmt: skip
    html = page(build(folders), registry())
    assert html.count('src="data:image/') == PICTURED
    assert "And 100 more models, of lower rank, of which no pictures are drawn." in html
    assert html.count('<th scope="row" data-value="tiny, lr') == 2 * 200  # In both tables.
    assert len(html.encode()) < 15_000_000


@pytest.mark.parametrize("lossless", [True, False])
def test_a_picture_fits_its_share_of_the_page_whatever_it_shows(lossless):
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 256, (10 * 130, 6 * 130, 3), dtype=np.uint8)
    uri = data_uri(noise, lossless, share(50))
    assert 0.3 * share(50) < len(uri) <= share(50)
    assert 50 * share(50) + 50 * share(50) < 15_000_000


# Mistakes


def test_a_model_whose_name_a_folder_has_is_a_model(tmp_path):
    for name in ("tiny", "runs/b", "runs/a", "runs/none", "c.json"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("runs/a", "runs/b", "c.json"):
        (tmp_path / name / "run.json").write_text("{}")
    with contextlib.chdir(tmp_path):
        named = sort_out(["tiny", "tiny:short", "runs", "runs/a", "c.json", "x.json"], ["tiny"])
        assert named.models == ["tiny", "tiny:short"]
        assert named.benchmarks == [Path("x.json")]
        assert named.runs == [Path("runs/a"), Path("c.json")]
        assert named.notes == ["runs is a folder of runs: its 2 are compared"]
        assert named.folders([Path("c.json")]) == [Path("runs/a"), Path("c.json"), Path("runs/b")]


def test_a_folder_of_runs_and_a_report_among_runs_stand_in_no_ones_way(run, ganzoo):
    folder = run("runs", 4.0).parent
    (folder / "all").mkdir()
    shutil.move(folder / "runs", folder / "all" / "a")
    assert ganzoo("compare", "all", "-o", "all/report.html", "-o", "all/report.json").code == 0
    result = ganzoo("compare", "all/a", "all/report.html", "all/report.json", "-o", "r.html")
    assert result.code == 0
    assert "note: all/report.json is a report of ganzoo's: passed over" in result.err


def test_what_is_no_report_is_not_written_over(run, ganzoo):
    folder = run("a", 4.0)
    Path("report.html").write_text("mine")
    result = ganzoo("compare", folder)
    assert (result.code, Path("report.html").read_text()) == (2, "mine")
    assert result.err == "error: report.html is there and is no report of ganzoo's: name the file to write by -o\n"
    before = (folder / "run.json").read_text()
    result = ganzoo("compare", folder, "-o", folder / "run.json")
    assert (result.code, (folder / "run.json").read_text()) == (2, before)
    assert "run.json is a file of the run in" in result.err
    for _ in range(2):
        assert ganzoo("compare", folder, "-o", folder / "report.html").code == 0
    Path("report.html").unlink()
    assert [ganzoo("compare", folder).code for _ in range(2)] == [0, 0]


def test_a_folder_that_is_no_run_is_refused(ganzoo, tmp_path):
    (tmp_path / "x").mkdir()
    result = ganzoo("compare", "x", "-o", "r.html")
    assert (result.code, result.err) == (2, "error: x is not a run directory: it has no run.json\n")
    assert not Path("r.html").exists()


def test_a_file_of_another_kind_is_refused_before_any_work(ganzoo):
    result = ganzoo("compare", "x", "-o", "r.pdf")
    assert (result.code, result.err) == (2, "error: r.pdf: end the name in .html, .md, .csv, .json\n")


def test_nothing_to_compare_is_refused(ganzoo):
    assert "name at least one run directory" in ganzoo("compare").err


def test_a_run_named_twice_is_refused(run):
    folder = run("a", 4.0)
    with pytest.raises(UsageError, match="named twice"):
        build([folder, folder / ".." / "a"])


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not valid JSON"), ("{}", "not a result of `ganzoo eval`"), ("[]", "not a result"),
     ('{"protocol": {}, "metrics": {}, "settings": {}}', "its protocol is not complete")],
)  # fmt: skip
def test_a_damaged_eval_json_is_told_in_one_line(run, ganzoo, text, message):
    folder = run("a")
    (folder / "eval.json").write_text(text)
    result = ganzoo("compare", folder)
    assert result.code == 1
    assert message in result.err
    assert result.err.count("\n") == 1


# Benchmarks


def benchmark_file(path: Path, machine: str, **extra) -> Path:
    entries = [
        {"name": f"test_training_steps[cpu-cgan-None-{size}]",
         "params": {"batch_size": size, "model": "cgan", "device": "cpu"},
         "extra_info": {"images_per_second": 1000.0 + size, **extra}, "stats": {"median": 0.1}}
        for size in (64, 256)
    ]  # fmt: skip
    entries.append({"name": "test_tutorial_loop", "params": None, "extra_info": {}, "stats": {}})
    path.write_text(
        json.dumps({"machine_info": {"cpu": {"brand_raw": machine}}, "datetime": "x", "benchmarks": entries})
    )
    return path


def test_benchmarks_of_several_machines_join_the_report(ganzoo, tmp_path, run):
    files = [
        benchmark_file(tmp_path / "a.json", "Epyc", ratio_to_tutorial_loop=2.1, roofline_share=0.5),
        benchmark_file(tmp_path / "b.json", EVIL),
    ]
    result = ganzoo("compare", run("run", 4.0), "--benchmarks", *files, "-o", "r.html", "-o", "r.md")
    assert result.code == 0, result.err
    html = Path("r.html").read_text()
    assert EVIL not in html
    assert "Throughput on Epyc" in html
    assert "| Epyc | cgan cpu | 64 | 1,064 | 2.10 | 50.0 % |" in Path("r.md").read_text()


def test_what_a_benchmark_does_not_say_is_missing(tmp_path):
    rows = read_benchmarks([benchmark_file(tmp_path / "a.json", "Epyc")])[0].rows
    assert [(r.model, r.batch_size, r.images_per_second) for r in rows] == [
        ("cgan", 64, 1064), ("cgan", 256, 1256), (None, None, None)
    ]  # fmt: skip
    assert rows[0].ratio_to_tutorial_loop is None


REAL = {
    "ganzoo": [{"device": "cpu", "device_name": "Epyc 9", "threads": 2, "torch": "2.9"}],
    "machine_info": {"cpu": {"brand_raw": "Epyc", "count": 2}, "system": "Linux", "python_version": "3.12.1"},
    "commit_info": {"id": "0123456789abcdef", "dirty": True}, "datetime": "2026-01-02", "version": "5.2",
    "benchmarks": [
        {"name": f"test_training[{size}-cgan-tutorial-cpu]", "fullname": "benchmarks/test_throughput.py::test_training",
         "params": {"batch_size": size, "device": "cpu", "recipe": ["cgan", "tutorial"]}, "stats": {"median": 1.0},
         "extra_info": {"model": "cgan", "preset": "tutorial", "batch_size": size, "device": "cpu",
                        "images_per_second": 2000.0, "tutorial_images_per_second": 1000.0,
                        "ratio_to_tutorial_loop": 2.0, "roofline_share": 0.5, "matrix_rate": 1e11,
                        "operations_per_image": 1e7}}
        for size in (64, 256)
    ],
}  # fmt: skip


def test_the_yardsticks_are_drawn_dashed_beside_the_models(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(REAL))
    (chart,) = throughput_charts(read_benchmarks([tmp_path / "a.json"])[0].rows)
    assert chart["title"] == "Throughput on Epyc 9, 2 threads"
    assert [(s["name"], s["points"], bool(s["dash"])) for s in chart["series"]] == [
        ("cgan tutorial cpu", [[64, 256], [2000, 2000]], False),
        ("cgan tutorial cpu: roofline", [[64, 256], [4000, 4000]], True),
        ("the tutorials' loop", [[64, 256], [1000, 1000]], True),
    ]


def test_many_models_have_a_chart_each(tmp_path):
    content = json.loads(json.dumps(REAL))
    for i in range(6):
        entry = json.loads(json.dumps(content["benchmarks"][0]))
        entry["extra_info"]["model"] = f"m{i}"
        content["benchmarks"].append(entry)
    (tmp_path / "a.json").write_text(json.dumps(content))
    titles = [c["title"] for c in throughput_charts(read_benchmarks([tmp_path / "a.json"])[0].rows)]
    assert titles == [f"Throughput on Epyc 9, 2 threads: {name}" for name in ("cgan", *(f"m{i}" for i in range(6)))]


def test_benchmarks_alone_tell_hardware_versions_commit_and_command(ganzoo):
    Path("a.json").write_text(json.dumps(REAL))
    result = ganzoo("compare", "--benchmarks", "a.json", "-o", "r.html", "-o", "r.md", "-o", "r.json")
    assert result.code == 0, result.err
    html, text = Path("r.html").read_text(), Path("r.md").read_text()
    command = (
        "pytest benchmarks/test_throughput.py --benchmark-only --models cgan --batch-sizes 64,256 "
        "--benchmark-json again.json"
    )
    for told in ("Epyc 9", "3.12.1", "0123456789ab, with changes", "2026-01-02", command):
        assert told in html
        assert told in text
    assert "How it was made" in html
    (file,) = json.loads(Path("r.json").read_text())["benchmark_files"]
    assert (file["command"], file["facts"]["cpus"]) == (command, "2")


def test_what_ganzoo_bench_prints_is_a_benchmark_too(ganzoo):
    result = ganzoo("bench", "tiny", "--dataset", "small-digits", "--seconds", "0.01", "--device", "cpu", "--json")
    assert result.code == 0, result.err
    Path("b.json").write_text(result.out)
    (file,) = read_benchmarks([Path("b.json")])
    (row,) = json.loads(result.out)
    assert file.command == (
        "ganzoo bench tiny --batch-size 64 --dataset small-digits --device cpu --precision fp32 "
        f"--engine {row['mode']} --json"
    )
    assert file.rows[0].machine == row["device_name"]
    assert file.rows[0].tutorial_images_per_second > 0
    assert ganzoo("compare", "b.json", "-o", "r.html").code == 0


BENCH = {
    "model": "dcgan", "preset": None, "dataset": "mnist", "batch_size": 64, "device": "cuda:0", "precision": "fp32",
    "mode": "eager", "images_per_second": 1000.0, "tutorial_images_per_second": 500.0,
}  # fmt: skip


def bench_rows(path: Path, *rows: dict) -> list:
    path.write_text(json.dumps([BENCH | row for row in rows]))
    return read_benchmarks([path])[0].rows


def test_throughputs_of_other_machines_data_and_arithmetic_are_other_curves(tmp_path):
    other = {"precision": "bf16", "mode": "graph", "dataset": "emoji", "image_size": 64, "images_per_second": 9000.0}
    rows = [*bench_rows(tmp_path / "a.json", {}, other), *bench_rows(tmp_path / "b.json", {"images_per_second": 3.0})]
    first, second = throughput_charts(rows)
    curves = [(s["name"], s["points"]) for s in first["series"]]
    assert curves[:2] == [
        ("dcgan mnist fp32 eager cuda:0", [[64], [1000]]), ("dcgan emoji 64 x 64 bf16 graph cuda:0", [[64], [9000]]),
    ]  # fmt: skip
    assert second["title"] == f"Throughput on cuda:0 of {tmp_path / 'b.json'}"
    named = [bench_rows(tmp_path / f"{name}.json", {"device_name": "H200"})[0].machine for name in "cd"]
    assert named == ["H200", "H200"]


def test_the_command_of_a_bench_says_all_that_was_chosen(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([BENCH | {"image_size": 64, "data_root": "/data", "mode": "graph"}]))
    assert read_benchmarks([tmp_path / "a.json"])[0].command == (
        "ganzoo bench dcgan --batch-size 64 --dataset mnist --data-root /data --device cuda:0 --image-size 64 "
        "--precision fp32 --engine graph --json"
    )


def test_a_batch_size_that_is_none_is_left_out_of_the_charts(tmp_path):
    rows = bench_rows(tmp_path / "a.json", {"batch_size": -64}, {"batch_size": 0}, {})
    assert [row.batch_size for row in rows] == [None, None, 64]
    assert page(build([], [tmp_path / "a.json"]), registry())


def test_a_file_that_is_no_benchmark_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(GanzooError, match="not a file of pytest-benchmark"):
        read_benchmarks([tmp_path / "x.json"])
