"""`ganzoo export RUN`."""

from pathlib import Path

import click

from ganzoo.commands.options import Explained, RunPath, checkpoint_option, echo_json, json_option
from ganzoo.errors import UsageError

FORMATS = ("safetensors", "pt2", "onnx")


@click.command(name="export", cls=Explained, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", type=RunPath())
@click.option(
    "--format", "kind", type=click.Choice(FORMATS), help="What to write.  [default: the ending of --out, else pt2]"
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The file to write.  [default: RUN/MODEL.FORMAT]")
@checkpoint_option
@json_option
def command(run: Path, kind: str | None, out: Path | None, checkpoint: str | None, as_json: bool) -> None:
    """Write RUN's averaged generator as one file for other programs.

    safetensors holds the weights and, in its header, what ganzoo needs to rebuild the model; pt2 is a program for
    `torch.export.load`; onnx is for onnxruntime and others (`pip install 'ganzoo[onnx]'`). Any batch size goes in.
    For image-to-image models, the program takes sources of any height and width, if the model does.
    A model's options of drawing, where it has any, are exported at their defaults.
    The file is read back and must give the original's images on random inputs before it is kept.

    \b
    ganzoo export runs/mine --format pt2
    ganzoo export runs/mine --format onnx -o digits.onnx
    """
    from ganzoo.files import check_place, output
    from ganzoo.plugins import registry
    from ganzoo.runs.export import export
    from ganzoo.runs.hub import beside
    from ganzoo.runs.sampler import load

    ending = out.suffix.removeprefix(".").lower() if out else kind or "pt2"
    if kind is None:
        if ending not in FORMATS:
            raise UsageError(f"{out}: end the name in .{', .'.join(FORMATS)}, or say --format")
        kind = ending
    if ending != kind and ending in FORMATS:
        raise UsageError(f"{out}: --format {kind} is not what its ending says: end the name in .{kind}")
    plugins = registry().check()
    if out is not None:
        output(out, ["*"])
    sampler = load(run, "cpu", plugins, checkpoint=checkpoint)
    gan = sampler.gan
    name = f"{gan.name}.{kind}"
    target = output(out or beside(run, name), [name])
    check_place(target)
    result = export(gan, kind, target, plugins, sampler.step)
    if as_json:
        echo_json(result)
        return
    takes = ", ".join(f"{i['name']} {i['dtype']} ({', '.join(map(str, i['shape']))})" for i in result["inputs"])
    click.echo(f"{result['file']} ({result['bytes']:,} bytes)")
    click.echo(f"takes:   {takes}")
    click.echo(
        f"checked: {result['images_checked']} random images, largest difference {result['largest_difference']:.1e} "
        f"(allowed {result['tolerance']:g})"
    )
