"""`ganzoo bench MODEL...`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganzoo.commands.options import Number, OfData, data_given, echo_json, json_option

if TYPE_CHECKING:
    from ganzoo.speed.bench import Result


class Sizes(click.ParamType):
    """Whole numbers from 1 up, separated by commas."""

    name = "sizes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            sizes = tuple(int(part) for part in value.split(","))
        except ValueError:
            sizes = ()
        if not sizes or min(sizes) < 1:
            self.fail(f"{value!r} is not a list of batch sizes such as 64,256,1024", param, ctx)
        return sizes


@click.command(name="bench", cls=OfData, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--preset", help="Measure the models as this preset makes them, instead of their defaults.")
@click.option("--batch-size", "sizes", type=Sizes(), default="64", show_default=True, help="One line for each.")
@click.option("--dataset", default="mnist", show_default=True, help="Data set, by name (`ganzoo list datasets`).")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where the data set's files are.")
@click.option("--source", help="Make a source of each image, as `ganzoo run` does: smaller:4, grey, edges or hole.")
@click.option("--image-size", type=click.IntRange(8, 1024), help="Side of the images; default: the data's own.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option(
    "--precision", type=click.Choice(["auto", "fp32", "tf32", "bf16"]), default="auto", show_default=True,
    help="Arithmetic of the networks; auto: tf32 on GPUs that have it, else fp32.",
)  # fmt: skip
@click.option(
    "--engine", type=click.Choice(["auto", "eager", "graph", "compile"]), default="auto", show_default=True,
    help="How steps are run.",
)  # fmt: skip
@click.option(
    "--seconds", type=Number(min=0, min_open=True), default=10.0, show_default=True,
    help="Time for each line: the model, the tutorials' loop and the roofline in turn. Setting up comes on top.",
)  # fmt: skip
@json_option
def command(
    models: tuple[str, ...], preset: str | None, sizes: tuple[int, ...], seconds: float, as_json: bool, **values: Any
) -> None:
    """Measure how fast MODEL trains: medians over short segments, in turn with the loop that tutorials write.

    \b
    images/s   real images seen each second of training, without setting up
    tutorial   how many times the tutorials' loop, at the same batch size, in the same minute;
               with * where that loop trains another network than the model's
    roofline   share of the step that its matrix products would take by themselves
    set-up     opening the data, building the model, the first steps
    memory     most that the process, or the GPU, held
    mode       how steps were run; beneath a line, why they are not recorded on a GPU

    \b
    ganzoo bench cgan --preset tutorial
    ganzoo bench cgan dcgan --batch-size 64,256,1024 --json
    """
    from ganzoo.plugins import registry
    from ganzoo.preparing import refuse_idle_root
    from ganzoo.settings import resolve
    from ganzoo.speed.bench import measure

    plugins = registry().check()
    own = data_given(values)
    given = {name: value for name, value in values.items() if value is not None} | {"loggers": (), "data_options": own}
    classes = [plugins.get("models", model) for model in models]
    # All of them first, so that a mistake in the last does not cost the time of the others.
    plans = [resolve(cls, given | {"batch_size": size}, preset) for cls in classes for size in sizes]
    refuse_idle_root(plans[0], given, plugins)
    width = max(len(_named(plan.model.name, plan.preset)) for plan in plans)
    results: list[Any] = []
    for plan in plans:
        result = measure(plan, plugins, seconds)
        if not as_json and not results:  # Not before something stands below it.
            click.secho(f"{'model':{width}}  {_HEAD}", bold=True)
        results.append(result.to_json())
        if not as_json:
            click.echo(f"{_named(result.model, result.preset):{width}}  {_line(result)}")
            if result.mode == "eager" and result.device.startswith("cuda"):
                click.echo(f"{'':{width}}  {result.mode_why}")
    if as_json:
        echo_json(results)


_HEAD = f"{'batch':>6} {'images/s':>10} {'tutorial':>9} {'roofline':>9} {'set-up':>8} {'memory':>8}  mode"


def _named(model: str, preset: str | None) -> str:
    return f"{model} ({preset})" if preset else model


def _line(result: "Result") -> str:
    ratio = f"{result.ratio_to_tutorial_loop:.2f}x{' ' if result.same_network else '*'}"
    return (
        f"{result.batch_size:6} {result.images_per_second:10,.0f} {ratio:>9} {result.roofline_share:9.0%} "
        f"{result.setup_seconds:6.1f} s {result.peak_memory_bytes / 2**20:4,.0f} MiB  {result.mode}, {result.device}"
    )
