"""Options of drawing: a model's become options of every command that draws, and part of what a score depends on."""

import json
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

import click
import numpy as np
import pytest
import torch
from pydantic import BaseModel, Field, model_validator

import ganzoo as zoo
from conftest import TINY, arrays, run_here
from ganzoo import DataSpec, apart
from ganzoo.cli import COMMANDS, cli
from ganzoo.commands.options import OfRun
from ganzoo.demo.asking import asked
from ganzoo.demo.controls import controls
from ganzoo.demo.player import Player
from ganzoo.demo.server import render
from ganzoo.errors import UsageError
from ganzoo.files import read_json
from ganzoo.kit.cases import Case
from ganzoo.kit.checks import explained
from ganzoo.metrics.protocol import comparable, describe
from ganzoo.plugins import Plugin, Registry
from ganzoo.report.build import build as report
from ganzoo.runs.sampler import Sampler
from ganzoo.sampling import TAKEN, drawing, sampling_fields, used
from ganzoo.training.building import build
from ganzoo_test_plugins import Plain, Tiny, Truncated
from test_demo import get, player_of, serve

DIGITS = DataSpec("small-digits", (1, 8, 8), 500, tuple("0123456789"))
MODEL = ("truncated", *TINY[1:])


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A trained run, made once, for tests that do not write in it."""
    folder = tmp_path_factory.mktemp("sampling") / "r"
    run_here("run", *MODEL, "--steps", 2, "--out", folder, cwd=folder.parent)
    return folder


@pytest.fixture
def gan() -> zoo.GAN:
    torch.manual_seed(0)
    return build(Truncated, DIGITS, Truncated.Options()).eval().requires_grad_(False)


# What a model's options of drawing are


def test_fields_of_every_models_options_are_no_options_of_drawing():
    class Old(Tiny):
        class Sampling(zoo.Options):
            truncation: float = Field(1.0, description="Scale.")

    assert list(sampling_fields(Old)) == ["truncation"]
    assert list(sampling_fields(Tiny)) == []
    model = build(Old, DIGITS, Old.Options())
    assert used(drawing(model, {"truncation": 0.5})) == {"truncation": 0.5}
    with pytest.raises(UsageError, match="has no option of drawing named 'lr'"):
        drawing(model, {"lr": 0.1})


def test_a_view_draws_otherwise_and_the_model_stays_as_it_is(gan):
    z, y = gan.sample_latent(4), gan.sample_labels(4)
    before = gan.generate(z, y)
    view = drawing(gan, {"truncation": 0.5})
    assert torch.equal(view.generate(z, y), gan.generator(z * 0.5, y))
    assert torch.equal(gan.generate(z, y), before)
    assert view.generator is gan.generator
    again = drawing(view, {"invert": True})
    assert (used(again)["truncation"], used(again)["invert"], used(gan)["truncation"]) == (0.5, True, 1.0)


def test_two_threads_draw_each_in_its_own_way(gan):
    sampler = Sampler(gan)
    expected = {t: sampler.sample(8, truncation=t) for t in (0.1, 1.5)}
    found: dict[float, list[torch.Tensor]] = {t: [] for t in expected}
    lock = threading.Lock()

    def draw(t: float) -> None:
        for _ in range(20):
            with lock:  # Of random numbers, not of options.
                found[t].append(sampler.sample(8, truncation=t))

    threads = [threading.Thread(target=draw, args=(t,)) for t in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(images, expected[t]) for t in expected for images in found[t])
    assert gan.sampling.truncation == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"truncatoin": 1},
            "model 'truncated' has no option of drawing named 'truncatoin': did you mean 'truncation'?",
        ),
        ({"truncation": 3}, "--truncation: input should be less than or equal to 2, not 3"),
        ({"order": "sorted"}, "--order: input should be 'as-drawn' or 'reversed', not 'sorted'"),
    ],
)
def test_from_python_a_bad_option_is_one_line(made, options, message):
    sampler = zoo.load(made)
    with pytest.raises(UsageError) as error:
        sampler.sample(2, **options)
    assert str(error.value) == message


def test_a_model_without_options_of_drawing_says_so():
    with pytest.raises(UsageError, match="model 'tiny' has no option of drawing named 'truncation': it has none"):
        Sampler(build(Tiny, DIGITS, Tiny.Options())).sample(2, truncation=1)


# Commands


def images_of(path: Path) -> np.ndarray:
    return arrays(path)["images"]


def test_sample_takes_them_wherever_they_stand_and_draws_as_python_does(ganzoo, made, tmp_path):
    assert ganzoo("sample", made, "--truncation", 0.5, "-n", 8, "-o", "a.npz").code == 0
    assert ganzoo("sample", "--truncation", 0.5, "--invert", made, "-n", 8, "-o", "b.npz").code == 0
    assert ganzoo("sample", made, "-n", 8, "-o", "c.npz").code == 0
    a, b, c = (images_of(tmp_path / f"{name}.npz").astype(int) for name in "abc")
    assert abs(a + b - 255).max() <= 1  # Of a half, either neighbour.
    assert (a != c).any()
    assert np.array_equal(a, zoo.data.to_uint8(zoo.load(made).sample(8, truncation=0.5)).numpy())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--truncatoin", "0.7"), "Did you mean"),
        (("--truncation", "7"), "Invalid value for '--truncation': 7.0 is not in the range 0<=x<=2."),
        (("--shift", "4"), "Invalid value for '--shift': 4 is not in the range -4<x<4."),
        (("--order", "sorted"), "'sorted' is not one of 'as-drawn', 'reversed'."),
    ],
)
@pytest.mark.parametrize("command", ["sample", "eval", "demo"])
def test_a_bad_option_is_one_line(ganzoo, made, command, options, message):
    result = ganzoo(command, made, *options)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert message in result.err


def test_where_no_run_is_named_an_unknown_option_says_what_is_missing(ganzoo, made):
    for place in ("nowhere", "x.npz"):
        result = ganzoo("eval", place, "--truncation", 1)
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert "a run's model may have it, and no run directory is named" in result.err
    told = "nowhere is not a run directory: there is no such folder"
    assert told in ganzoo("sample", "nowhere").err
    assert told in ganzoo("resume", "nowhere").err


def test_an_option_of_drawing_for_a_model_that_has_none_is_told_so_with_the_help_of_the_run(ganzoo):
    assert ganzoo("run", *TINY, "--steps", 1, "--quiet", "-o", "r").code == 0
    result = ganzoo("sample", "r", "--truncation", 0.7)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "--truncation" in result.err  # Which versions of click quote, and others do not.
    assert "(model 'tiny' has no options of drawing)" in result.err
    assert "(see `ganzoo sample r --help`)" in result.err


def test_a_damaged_run_is_told_as_without_options(ganzoo, tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "config.json").write_text('{"model": "no-such"}')
    result = ganzoo("sample", "r", "--help")
    assert (result.code, "--truncation" in result.out) == (0, False)
    (tmp_path / "r" / "config.json").write_text("{")
    assert ganzoo("sample", "r").code != 0


@pytest.mark.parametrize("command", ["sample", "eval", "demo"])
def test_help_of_a_run_lists_its_models_own_options(ganzoo, made, command):
    general, own = ganzoo(command, "--help").out, ganzoo(command, made, "--help").out
    assert "--truncation" not in general
    assert "Options of drawing, of the model 'truncated':" in own
    shown = " ".join(own.split())
    assert "--truncation NUMBER Scale of the latents. [>= 0, <= 2; default: 1.0]" in shown
    assert "--order NAME Order of the latent's numbers. [as-drawn | reversed; default: as-drawn]" in shown
    assert "--invert / --no-invert Dark for bright. [default: false]" in shown
    assert "--gain NUMBER Factor of the pixels; default: none. [> 0]" in shown
    assert "--truncation" not in ganzoo(command, "--help").out  # What one run has is not kept for the next.


@pytest.mark.parametrize("command", ["sample", "eval", "demo"])
def test_general_help_imports_neither_torch_nor_pydantic(command):
    code = (
        "import sys; from ganzoo.cli import cli; "
        f"cli.main(['{command}', '--help'], standalone_mode=False); "
        "sys.exit(bool({'torch', 'pydantic'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_info_shows_them(ganzoo):
    shown = " ".join(ganzoo("info", "truncated").out.split())
    assert "options of drawing" in shown
    assert "truncation 1.0 Scale of the latents. (number >= 0, <= 2)" in shown
    value = json.loads(ganzoo("info", "truncated", "--json").out)
    assert value["sampling"]["shift"]["bounds"] == ["> -4", "< 4"]
    assert "options of drawing" not in ganzoo("info", "tiny").out


# Names


def flags_of(command: click.Command) -> set[str]:
    flags = {p.name for p in command.params} | {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)}
    return {str(flag).lstrip("-").replace("-", "_") for flag in flags}


def test_every_name_that_a_command_or_method_has_is_taken():
    context = click.Context(cli)
    commands = [cli.get_command(context, name) for name in COMMANDS]
    names = set().union(*(flags_of(command) for command in commands if isinstance(command, OfRun)))
    parameters = [p for function in (Sampler.sample, Player.draw) for p in function.__code__.co_varnames]
    del parameters[function_end(Sampler.sample) :]
    names |= set(parameters)
    assert {name for name in names if len(name) > 1 or name == "n"} - {"sampling"} <= TAKEN


def function_end(function: types.FunctionType) -> int:
    code = function.__code__
    return code.co_argcount + code.co_kwonlyargcount


def plugin_with(model: type[zoo.GAN]) -> Plugin:
    module = types.ModuleType("made")
    module.register_models = zoo.hookimpl(lambda register: register(model))
    module.register_models.__name__ = "register_models"
    plugin = Plugin("made", "p", "1", "m")
    Registry().add(plugin, module)
    return plugin


class NoModel:
    truncation = 1.0


class NoDefault(zoo.Sampling):
    truncation: float = Field(description="Scale.")


class Clashing(zoo.Sampling):
    label: int = Field(0, description="Which.")


class HalfClashing(zoo.Sampling):
    browser: bool = Field(True, description="Its flag would be --no-browser.")


class Lists(zoo.Sampling):
    layers: list[int] = Field([1], description="Which.")


class Undescribed(zoo.Sampling):
    truncation: float = 1.0


@pytest.mark.parametrize(
    ("sampling", "reason"),
    [
        (NoModel, "Sampling must be a subclass of ganzoo.Sampling, not"),
        (3, "Sampling must be a subclass of ganzoo.Sampling, not 3"),
        (NoDefault, "Sampling.truncation has no default, with which training would draw"),
        (Clashing, "Sampling.label has the name of an option of `ganzoo sample`, `eval` or `demo`: choose another"),
        (HalfClashing, "Sampling.browser has the name of an option"),
        (Lists, "Sampling.layers takes what no command can give"),
    ],
)
def test_options_that_no_command_could_have_make_a_plugin_broken(sampling, reason):
    plugin = plugin_with(type("Made", (Tiny,), {"__doc__": "Made.", "name": "made", "Sampling": sampling}))
    assert reason in (plugin.broken or "")
    assert len((plugin.broken or "").splitlines()) == 1


def options_with(kind: object, value: object = ...) -> type[zoo.Options]:
    given = {"__annotations__": {"d": kind}, "d": Field(value, description="Dimensions.")}
    return type("Options", (Tiny.Options,), given)


class Switched(Tiny.Options):
    no_mirror: bool = Field(False, description="Its flag would switch mirror off.")


class Twice(Tiny.Options):
    deep: bool = Field(False, description="Deep.")
    no_deep: int = Field(0, description="Shallow.")


class Aliased(Tiny.Options):
    depth: int = Field(1, alias="deep", description="Depth.")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (options_with(int), "Options.d has no default"),
        (options_with(list[int], [3]), "Options.d takes what no command can give: bool, int, float"),
        (options_with(int | Literal["auto"], "auto"), "Options.d takes what no command can give"),
        (options_with(dict, {}), "Options.d takes what no command can give"),
        (options_with(type, int), "Options.d takes what no command can give"),
        (options_with(tuple[dict, ...], ()), "Options.d takes what no command can give"),
        (Aliased, "Options.depth has an alias"),
        (Switched, "Options.no_mirror has the name of an option of every run"),
        (Twice, "Options.no_deep is how one switches 'deep' off"),
    ],
)
def test_options_of_a_model_that_no_command_could_have_make_a_plugin_broken(options, reason):
    plugin = plugin_with(type("Made", (Tiny,), {"__doc__": "Made.", "name": "made", "Options": options}))
    assert reason in (plugin.broken or "")
    assert len((plugin.broken or "").splitlines()) == 1


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 3),
        (int | None, None),
        (str, ""),
        (tuple[int, ...], (1, 2)),
        (tuple[float, float], (1.0, 2.0)),
        (tuple[Literal["x", "y"], ...], ()),
        (float | int, 1.0),
        (Path, Path()),
        (Literal["a", 1], "a"),
    ],
)
def test_options_of_usual_kinds_are_taken(kind, value):
    made = type("Made", (Tiny,), {"__doc__": "Made.", "name": "made", "Options": options_with(kind, value)})
    assert plugin_with(made).broken is None


def test_the_kit_finds_a_default_that_its_option_refuses():
    made = type("Made", (Tiny,), {"__doc__": "Made.", "Options": options_with(Annotated[int, Field(ge=1)], 0)})
    assert "a default is none that its option takes: --d: input should be greater" in str(
        explained(Case(made, DIGITS, {}))
    )


def test_what_is_wrong_with_options_together_is_told_in_their_authors_words(ganzoo, monkeypatch):
    class Together(Tiny.Options):
        @model_validator(mode="after")
        def odd(self):
            raise ValueError("width and depth do not fit")

    monkeypatch.setattr(Tiny, "Options", Together)
    result = ganzoo("run", "tiny", "--dataset", "small-digits", "--dry-run")
    assert (result.code, result.err.strip()) == (2, "error: width and depth do not fit")


def test_any_pydantic_model_will_do():
    plain = type("Any", (BaseModel,), {"__annotations__": {"t": float}, "t": Field(1.0, description="Scale.")})
    assert plugin_with(type("Made", (Tiny,), {"__doc__": "Made.", "name": "made", "Sampling": plain})).broken is None


def test_the_kit_asks_for_a_description():
    made = type("Made", (Tiny,), {"__doc__": "Made.", "Sampling": Undescribed})
    assert explained(Case(made, DIGITS, {})) == "option 'truncation' of Sampling has no description"
    assert explained(Case(Truncated, DIGITS, {})) is None


# Scores

QUICK = ("--metrics", "fid", "--n", 100)


def test_a_score_says_how_its_samples_were_drawn(ganzoo, made, tmp_path):
    def measured(*options: object) -> dict:
        result = ganzoo("eval", made, *QUICK, "--json", "-o", "x.json", *options)
        assert result.code == 0, result.err
        return json.loads(result.out)

    usual, half = measured(), measured("--truncation", 0.5)
    everything = {"truncation": 1.0, "shift": 0, "order": "as-drawn", "invert": False, "gain": None}
    assert usual["protocol"]["sampling"] == usual["protocol"]["sampling_defaults"] == everything
    assert half["protocol"]["sampling"] == everything | {"truncation": 0.5}
    assert usual["metrics"] != half["metrics"]
    assert ", truncation 0.5, shift 0, " in describe(half["protocol"])
    with pytest.raises(UsageError, match=r"sampling is truncation 1.0, .* and truncation 0.5, "):
        comparable(usual, half)
    without = {**usual, "protocol": {k: v for k, v in usual["protocol"].items() if not k.startswith("sampling")}}
    comparable(without, usual)
    comparable(usual, without)
    for one, other in ((without, half), (half, without)):
        with pytest.raises(UsageError, match=r"sampling is .*without options"):
            comparable(one, other)


def test_a_model_without_options_has_none_in_its_protocol(ganzoo):
    ganzoo("run", *TINY, "--steps", 1, "--out", "r")
    protocol = json.loads(ganzoo("eval", "r", *QUICK, "--json").out)["protocol"]
    assert not {"sampling", "sampling_defaults"} & protocol.keys()


def test_compare_measures_the_models_that_have_the_option_with_it(ganzoo, tmp_path, monkeypatch):
    monkeypatch.setattr("ganzoo.provide.train_apart", apart.train)  # Drawing is asked of the runs, not of their making.
    monkeypatch.setattr("ganzoo.runs.measuring.MEASURED", 100)
    monkeypatch.setattr("ganzoo.metrics.training.N", 100)
    command = ("compare", "truncated", "plain", *("--dataset", "small-digits", "--steps", 2, "--quiet", "--json"))
    assert ganzoo(*command, "--sampling", "truncation=0.5").code == 0
    folders = {p.name.split("-")[0]: p for p in (tmp_path / "runs" / "compare").iterdir() if p.is_dir()}
    drawn = {name: read_json(folder / "eval.json")["protocol"] for name, folder in folders.items()}
    assert drawn["truncated"]["sampling"]["truncation"] == 0.5
    assert "sampling" not in drawn["plain"]
    found = report(list(folders.values()))
    assert len(found.groups) == 2
    assert "measured otherwise: sampling is" in found.groups[1].apart
    commands = " ".join(run.measuring for group in found.groups for run in group.runs)
    assert "--truncation 0.5 --shift 0 --order as-drawn --no-invert" in commands

    kept = (folders["plain"] / "eval.json").stat().st_mtime_ns
    assert ganzoo(*command).code == 0  # The same runs, measured by the defaults.
    assert read_json(folders["truncated"] / "eval.json")["protocol"]["sampling"]["truncation"] == 1.0
    assert (folders["plain"] / "eval.json").stat().st_mtime_ns == kept
    assert len(report(list(folders.values())).groups) == 1


@pytest.mark.parametrize(
    ("what", "sampling", "message"),
    [
        (
            ("truncated",),
            "truncatoin=1",
            "--sampling truncatoin: no model here has such an option of drawing: did you mean",
        ),
        (
            ("plain",),
            "truncation=1",
            "--sampling truncation: no model here has such an option of drawing: they have none",
        ),
        (("truncated",), "truncation=9", "--truncation: input should be less than or equal to 2, not '9'"),
        (("truncated",), "truncation", "--sampling truncation: write NAME=VALUE"),
        ((), "truncation=1", "--sampling is for models that are to be trained, and none is named"),
    ],
)
def test_compare_refuses_an_option_that_no_model_takes(ganzoo, tmp_path, what, sampling, message):
    result = ganzoo("compare", *what, "--sampling", sampling, "--dataset", "small-digits", "--steps", 1)
    if not what:
        result = ganzoo("compare", "--sampling", sampling)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert message in result.err
    assert not (tmp_path / "runs").exists()


# The demo


def test_the_demo_has_a_control_for_each_option(gan):
    made = {control["name"]: control for control in controls(drawing(gan, {"truncation": 0.7}))}
    assert {name: control["kind"] for name, control in made.items()} == {
        "truncation": "slider", "shift": "slider", "order": "choice", "invert": "check", "gain": "text",
    }  # fmt: skip
    assert [made["truncation"][key] for key in ("low", "high", "step", "value")] == [0, 2, "any", 0.7]
    assert [made["shift"][key] for key in ("low", "high", "step", "value")] == [-3, 3, 1, 0]
    assert made["order"]["choices"] == ["as-drawn", "reversed"]
    html = render(Player(Sampler(gan), {"truncation": 0.7}).facts())
    assert (
        'title="Scale of the latents.">truncation</label><input type="range" id="o0" data-option="truncation" '
        'min="0.0" max="2.0" step="any" value="0.7">'
    ) in html
    assert 'type="checkbox" id="o3" data-option="invert">' in html
    assert """<option value='"as-drawn"' selected>as-drawn</option>""" in html
    assert 'type="text" id="o4" data-option="gain" value=""' in html
    assert "Drawing" not in render(player_of(Plain).facts())


def test_the_demo_draws_by_them_and_starts_from_those_of_the_command(gan):
    player, half = Player(Sampler(gan)), Player(Sampler(gan), {"truncation": 0.5})
    assert player.draw(3, 4, 2, sampling={"truncation": 0.5}) == half.draw(3, 4, 2) != player.draw(3, 4, 2)
    assert half.draw(3, 4, 2, sampling={"truncation": 1}) == player.draw(3, 4, 2)
    with pytest.raises(UsageError, match="--truncation"):
        Player(Sampler(gan), {"truncation": 5})


def test_the_page_asks_for_options_and_bad_ones_are_refused_in_one_line(gan):
    server = serve(Player(Sampler(gan)), 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        path = "/image.png?sampling="
        usual, inverted = (get(server, path + quote(text)) for text in ("{}", '{"invert": true, "gain": "0.5"}'))
        assert usual[0] == inverted[0] == 200
        assert usual[1] != inverted[1]
        for text in ('{"truncation": 3}', '{"truncation": NaN}', '{"order": []}', '{"lr": 1}', "[]", "{", "5",
                     '{"gain": 0}', '{"gain": "' + "1" * 9000 + '"}'):  # fmt: skip
            status, body, _ = get(server, path + quote(text))
            assert (status, len(body.decode().splitlines())) == (400, 1), text
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert asked("sampling=" + quote('{"a": 1}'))["sampling"] == {"a": 1}


def test_loading_a_run_moves_nobodys_random_numbers(made):
    before = torch.get_rng_state()
    zoo.load(made)
    assert torch.equal(torch.get_rng_state(), before)
