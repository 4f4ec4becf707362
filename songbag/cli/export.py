"""The command that takes a model elsewhere: export. It needs onnx, not torch."""

from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("-q", "--quiet", is_flag=True, help="No messages, no progress.")
def export(model: Path, output: Path, quiet: bool) -> None:
    """Write MODEL as one ONNX file OUTPUT, for wherever ONNX Runtime runs.

    The graph takes a mono waveform at the model's sample rate and gives the song's
    probabilities and every window's: features, windows, network, pooling and calibration
    are all inside. It is compared with the library first; if they disagree, nothing is
    written.
    """
    from songbag.console import Console
    from songbag.inference.model_file import load_model
    from songbag.tasks.export import export_model

    written = export_model(load_model(model), output, Console(quiet))
    size = f"{written.bytes / 1e6:.1f} MB"
    click.echo(f"graph   {written.path}  ({size}; within {written.difference:.0e} of the library)")
