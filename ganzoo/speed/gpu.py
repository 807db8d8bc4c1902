"""`make gpu`: what a GPU does with every model, in one table and never more than eight minutes.

    python -m ganzoo.speed.gpu --out benchmarks/results/gpu

It is measured in a process of its own, line by line, the most wanted first. What is not done when the time is up is
left out by name, and the process is ended, whatever it does. Images are made up: speed does not depend on them.
"""

import gc
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
import torch

from ganzoo.data import ImageSet, Loader
from ganzoo.errors import GanzooError, UsageError, one_line
from ganzoo.files import whole, write_json
from ganzoo.gan import GAN
from ganzoo.plugins import Registry, registry
from ganzoo.settings import resolve
from ganzoo.speed.bench import measure
from ganzoo.super_resolution import SuperResolution
from ganzoo.training.building import build
from ganzoo.training.engine import choose, choose_device, seed_everything
from ganzoo.training.modes import settle
from ganzoo.training.trainer import Trainer

MOST_SECONDS = 480.0
"""Of the whole command."""
MARGIN = 15.0
"""Seconds of these that are kept for ending what runs, and for writing."""
CLASSES = tuple("0123456789")
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Suite:
    """What is to be measured."""

    device: str = "cuda"
    models: tuple[str, ...] = ()
    """Empty: all."""
    side: int = 32
    """Of the images of all models."""
    batches: tuple[int, ...] = (64, 256, 1024)
    sides: tuple[int, ...] = (64, 256)
    """Of the images of `stylegan2`, in each precision."""
    precisions: tuple[str, ...] = ("fp32", "tf32", "bf16")
    batch: int = 32
    """Of that `stylegan2`."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of models by name, besides their defaults."""
    seconds: float = 0.7
    """For each figure, setting up not counted."""
    tutorial: bool = True
    """Whether the tutorials' loop is measured beside."""
    resumed: str = "sngan"
    """The model whose recorded steps are resumed."""

    @staticmethod
    def of(text: str) -> "Suite":
        """The inverse of `json.dumps(asdict(suite))`."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(text).items()}
        return Suite(**values)


@dataclass(frozen=True)
class Line:
    """A line of the table: what was measured, at most two figures, and what to know of them."""

    what: str
    figures: Mapping[str, float]
    note: str = ""
    """Why a figure is not there: what was not recorded, or could not be measured."""

    def __str__(self) -> str:
        figures = "   ".join(f"{name} {shown(value)}" for name, value in self.figures.items())
        return f"{self.what:28} {figures}{'   ' if figures and self.note else ''}{self.note}".rstrip()


def shown(value: float) -> str:
    """Thousands apart; below 100 three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


Task = tuple[str, Callable[[], Line]]


def tasks(suite: Suite, plugins: Registry) -> Iterator[Task]:
    """Every line of the table, by name, the most wanted first."""
    models = [plugins.get("models", name) for name in suite.models or plugins.names("models")]

    def table(batch: int) -> Iterator[Task]:
        for model in models:
            name = f"{model.name}, batch {batch}"
            yield name, partial(speeds, suite, name, model, batch, suite.side)

    if suite.tutorial:
        yield "tutorials' loop", partial(against_tutorial, suite, plugins)
    yield "resumed", partial(resuming, suite, plugins.get("models", suite.resumed))
    yield from table(suite.batches[0])
    style = plugins.get("models", "stylegan2")
    paper = {k: v for k, v in style.presets["paper256"].items() if k in style.Options.model_fields}
    for side in suite.sides:
        for precision in suite.precisions:
            name = f"stylegan2 {side} x {side}, {precision}"
            yield name, partial(speeds, suite, name, style, suite.batch, side, precision, paper)
    for batch in suite.batches[1:]:
        yield from table(batch)


def trainer(
    suite: Suite, model: type[GAN], batch: int, side: int, precision: str = "auto", options: Mapping[str, Any] = NOTHING
) -> Trainer:
    """A training of `model` on made-up images with classes, or with sources where it translates.

    Raises:
        UsageError, GanzooError: the device, the precision, or the model for such images cannot be had.
    """
    engine = choose(suite.device, precision)
    shape, count = (3, side, side), max(batch, 512)
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, *shape), dtype=torch.uint8, generator=draw)
    labels = torch.arange(count) % len(CLASSES)
    data = ImageSet(pixels, labels, CLASSES)
    if model.translates:
        small = issubclass(model, SuperResolution)
        data = replace(data, sources=pixels[:, :, ::4, ::4].contiguous() if small else pixels.flip(0))
        data = model.sourced(data)
    chosen = model.Options(**{**options, **suite.options.get(model.name, {}), "batch_size": batch})
    seed_everything(0)
    try:
        gan = build(model, data.spec("made-up"), chosen)
    except UsageError:
        if not (model.translates and model.supervised):
            raise
        data = replace(data, paired=False, source_labels=labels.flip(0))  # It learns from classes of other images.
        gan = build(model, data.spec("made-up"), chosen)
    loader = Loader(data, batch, 0, engine.device, sources=gan.translates, labelled=gan.labelled())
    return Trainer(gan, loader, engine, steps=10**6)


def rate(training: Trainer, seconds: float) -> float:
    """Real images a second; steps that come before are not counted."""
    training.advance(10)
    training.advance(10)
    training.engine.synchronize()
    begun, seen, now = time.perf_counter(), training.images(), 0.0
    while now < seconds:
        training.advance(10)
        training.engine.synchronize()
        now = time.perf_counter() - begun
    return (training.images() - seen) / now


def speeds(
    suite: Suite, what: str, model: type[GAN], batch: int, side: int, precision: str = "auto",
    options: Mapping[str, Any] = NOTHING,
) -> Line:  # fmt: skip
    """Images a second of plain steps and of recorded ones; why there are none of the latter."""
    training = trainer(suite, model, batch, side, precision, options)
    figures = {"plain": rate(training, suite.seconds)}
    try:
        settle(training, "graph")
        figures["recorded"] = rate(training, suite.seconds)
    except (GanzooError, RuntimeError) as error:
        return Line(what, figures, f"not recorded: {one_line(error).removeprefix('--engine graph: ')}")
    finally:
        training.feed(None)
        training.recorded = None
    return Line(what, figures)


def against_tutorial(suite: Suite, plugins: Registry) -> Line:
    """The tutorials' own network and data at a batch of 64, beside the tutorials' loop."""
    plan = resolve(plugins.get("models", "cgan"), {"device": suite.device, "loggers": ()}, "tutorial")
    found = measure(plan, plugins, 3 * suite.seconds)
    figures = {"images/s": found.images_per_second, "x tutorials' loop": found.ratio_to_tutorial_loop}
    note = "" if found.mode == "graph" else f"not recorded: {found.mode_why}"
    return Line("cgan (tutorial), batch 64", figures, note)


def resuming(suite: Suite, model: type[GAN], steps: int = 10) -> Line:
    """Recorded steps that are stopped half way and resumed, beside those that are not: how far apart weights end."""

    def begun(state: dict[str, Any] | None = None) -> Trainer:
        training = trainer(suite, model, suite.batches[0], suite.side)
        if state is not None:
            training.load_state_dict(state)
        settle(training, "graph")
        return training

    def until(training: Trainer, step: int) -> Trainer:
        while training.step < step:
            training.advance(step - training.step)
        return training

    def weights(training: Trainer) -> torch.Tensor:
        return torch.cat([p.detach().double().flatten() for ps in training.parameters.values() for p in ps])

    straight = begun()
    before = weights(straight)
    moved = weights(until(straight, 2 * steps)) - before
    kept = until(begun(), steps).state_dict()
    apart = weights(until(begun(kept), 2 * steps)) - before - moved
    figures = {"apart at most": apart.abs().max().item(), "moved at most": moved.abs().max().item()}
    return Line(f"{model.name} resumed, recorded", figures)


def work(suite: Suite, until: float, plugins: Registry, tell: Callable[[dict[str, Any]], None]) -> None:
    """Take one task after the other until the clock says `until`; tell what begins, and every line."""
    tell({"machine": choose(suite.device).describe()})
    for name, task in tasks(suite, plugins):
        if time.time() > until:
            break
        tell({"begun": name})
        try:
            line = task()
        except Exception as error:  # One that cannot be had costs none of the others: memory, shapes, a plugin's fault.
            line = Line(name, {}, f"not measured: {one_line(error)[:200]}")
        tell({"name": name, "line": asdict(line)})
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def run(suite: Suite, seconds: float, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Have all measured in a process of its own, which is ended when the time is up; keep and give what it found.

    Raises:
        UsageError: there is no such device.
        GanzooError: nothing could be measured, or kept.
    """
    until = time.time() + seconds
    choose_device(suite.device)
    plugins = registry().check()
    waiting = [name for name, _ in tasks(suite, plugins)]
    report: dict[str, Any] = {"machine": {}, "suite": asdict(suite), "lines": [], "left_out": []}
    command = [sys.executable, "-m", "ganzoo.speed.gpu", "--work", json.dumps(asdict(suite)), "--until", str(until)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    doing = ""
    with closing(_Told(child)) as told:
        while (message := told.next(until - time.time())) is not None:
            report["machine"] |= message.get("machine", {})
            doing = message.get("begun", doing)
            if "line" in message:
                doing = ""
                waiting.remove(message["name"])
                line = Line(**message["line"])
                report["lines"].append(asdict(line))
                say(str(line))
    report["left_out"] = waiting
    report["seconds"] = round(seconds - (until - time.time()), 1)
    if not report["lines"]:
        raise GanzooError(f"nothing was measured in {seconds:g} s: {told.complaint or 'the device is too slow'}")
    if waiting:
        say(f"left out, for the time was up: {', '.join(waiting)}" + (f" (in the midst of {doing})" if doing else ""))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out.with_suffix(".json"), report)
        with whole(out.with_suffix(".md")) as file:
            file.write(markdown(report).encode())
    except OSError as error:
        raise GanzooError(f"{out}: cannot be written: {error.strerror or error}") from error
    return report


class _Told:
    """What the measuring process says, message by message. Closed, it is ended."""

    def __init__(self, child: "subprocess.Popen[str]"):
        self._child = child
        self._lines: queue.Queue[str] = queue.Queue()
        self.complaint = ""
        self._errors: list[str] = []
        self._threads = [threading.Thread(target=hear, daemon=True) for hear in (self._read, self._listen)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._lines.put(line)
        self._lines.put("")  # It has ended.

    def _listen(self) -> None:
        assert self._child.stderr is not None
        for line in self._child.stderr:
            self._errors = [*self._errors[-20:], line.strip()]

    def next(self, seconds: float) -> dict[str, Any] | None:
        """The next message, or None: it has ended, or nothing came in so many seconds."""
        while True:
            try:
                line = self._lines.get(timeout=max(seconds, 0))
            except queue.Empty:
                return None
            if not line:
                return None
            with suppress(json.JSONDecodeError):  # Whatever a library prints.
                message = json.loads(line)
                if isinstance(message, dict):
                    return message

    def close(self) -> None:
        self._child.kill()
        self._child.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()
        self.complaint = next((line for line in reversed(self._errors) if line), "")


def markdown(report: Mapping[str, Any]) -> str:
    """The same as a page: the machine, a table of two figures a line, what was not recorded and why."""
    machine = report["machine"]
    about = ", ".join(f"{machine[key]}" for key in ("device_name", "platform") if key in machine)
    precision = f"precision {machine.get('precision')} unless a line says another"
    lines = [f"{about}; torch {machine.get('torch')}; {precision}.", "", "| | | |", "| --- | ---: | ---: |"]
    for line in report["lines"]:
        cells = [f"{name} {shown(value)}" for name, value in line["figures"].items()]
        lines.append(f"| {line['what']} | {' | '.join([*cells, '', ''][:2])} |")
    noted = [f"- {line['what']}: {line['note']}" for line in report["lines"] if line["note"]]
    left = [f"- left out, for the time was up: {', '.join(report['left_out'])}"] if report["left_out"] else []
    return "\n".join([*lines, "", *noted, *left]).rstrip() + "\n"


@click.command(name="gpu")
@click.option("--device", default="cuda", show_default=True, help="cuda, cuda:N or cpu.")
@click.option("--seconds", type=click.FloatRange(1, MOST_SECONDS), default=MOST_SECONDS, help="Most that it may take.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/gpu"), help="OUT.json, OUT.md")
@click.option("--suite", "given", default="{}", help="Parts of the suite, as JSON.")
@click.option("--work", "work_on", hidden=True, help="Measure this suite, and tell of it on stdout.")
@click.option("--until", type=float, default=0.0, hidden=True)
def command(device: str, seconds: float, out: Path, given: str, work_on: str | None, until: float) -> None:
    """Measure what a GPU does with every model: images a second, plain and recorded, in at most eight minutes."""
    if work_on is not None:
        work(Suite.of(work_on), until, registry().check(), lambda m: print(json.dumps(m), flush=True))
        return
    try:
        suite = Suite.of(json.dumps({**json.loads(given), "device": device}))
    except (TypeError, ValueError) as error:
        raise UsageError(f"--suite is not one: {one_line(error)}") from error
    run(suite, seconds - min(MARGIN, seconds / 10), out, click.echo)


def main() -> None:
    """The command, its mistakes in one line."""
    try:
        command.main(standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
        sys.exit(2)
    except GanzooError as error:
        click.echo(f"error: {one_line(error)}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
