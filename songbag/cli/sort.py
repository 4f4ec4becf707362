"""Commands that change a user's files by what a model answers, and the one that undoes them."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from songbag.cli.options import (
    MODEL,
    OUTPUT,
    PATH,
    audio_file_options,
    command,
    exit_code,
    option,
)
from songbag.cli.predict import open_inputs, require_model_first
from songbag.console import Console, visible
from songbag.errors import SettingsError

if TYPE_CHECKING:
    from songbag.collection.sort_files import Action, Sorted, Step

_SHOWN = 4  # files named of a folder in a dry run


@command
@click.argument("model", type=MODEL)
@click.argument("songs", nargs=-1, required=True)
@option("--into", "folder", required=True, type=PATH, section=OUTPUT,
        help="Folder that gets a folder for each label.")  # fmt: skip
@option("--move", is_flag=True, section=OUTPUT, help="Move the files; only shown without --yes.")
@option("--link", is_flag=True, section=OUTPUT,
        help="Hard links, symbolic ones where those are not possible.")  # fmt: skip
@option("--yes", is_flag=True, section=OUTPUT, help="With --move: do it.")
@option("--dry-run", is_flag=True, section=OUTPUT, help="Show what would be done.")
@option("--precision", type=click.FloatRange(0, 1, min_open=True, max_open=True), section=OUTPUT,
        help="A label only where so large a share is right, e.g. 0.9.")  # fmt: skip
@option("--below", type=click.FloatRange(0, 1), section=OUTPUT,
        help="No label below this confidence, e.g. 0.6.")  # fmt: skip
@audio_file_options
@click.pass_context
def sort(ctx: click.Context, /, model: Path, songs: tuple[str, ...], **options: Any) -> None:
    """Copy SONGS into a folder for each label that MODEL gives them.

    Songs without a label, too unsure (--precision, --below) or unknown to MODEL go to the folder
    _unsure. A song that cannot be read stays where it is and is listed, and the exit code
    is 1. No file is overwritten: another file of the same name gets a number, and what is
    there already is left, so a command that was stopped is given again.

    With several labels a song goes to the folder of each. --move shows what it would do,
    and --yes does it. Every change stands in songbag.journal in the folder, and
    songbag undo FOLDER takes it back.
    """
    from songbag.collection.answers import refuse_urls, require_whole_files
    from songbag.data.audio_dataset import AudioDataset
    from songbag.inference.model_file import load_model
    from songbag.tasks.predict import Withholding
    from songbag.tasks.sort import Sorting

    require_model_first(model, songs)
    refuse_urls(songs, "songbag sort")
    loaded, console = load_model(model), Console(options["quiet"])
    action, rules = _action(options), Withholding.of(loaded, options["precision"])
    if options["below"] is not None:
        rules = replace(rules, confidence=options["below"])
    dataset = open_inputs(ctx, songs, options | {"remote": False, "cluster": None})
    require_whole_files(dataset, "songbag sort")
    assert isinstance(dataset, AudioDataset)
    for remark in dataset.remarks:
        console.say(remark)
    sorting = Sorting(loaded, dataset, options["folder"], action, rules, console)
    problems: dict[str, str] = {}
    if options["dry_run"] or (action == "move" and not options["yes"]):
        steps, failures = sorting.plan()
        _show_plan(steps, action, options["folder"])
    else:
        result, failures = sorting.carry_out()
        _show_result(result, action, options["folder"])
        problems = result.problems
    for reason in (*failures.values(), *problems.values()):
        click.echo(visible(f"stays: {reason}"), err=True)
    ctx.exit(max(exit_code(len(failures), len(dataset.songs)), int(bool(problems))))


@command
@click.argument("place", type=PATH)
@click.pass_context
def undo(ctx: click.Context, place: Path) -> None:
    """Take back what songbag sort or songbag predict --write-field did.

    PLACE is the folder of songbag sort --into, or the journal of --write-field. Files go
    back to where they were, copies and links are removed, tags get their old values. What
    you changed since stays and is listed, and the exit code is 1; a copy whose original is
    gone stays too.
    """
    from songbag.collection.undo import undo as undo_journal

    restored, problems = undo_journal(place)
    click.echo(f"{restored} changes were undone")
    for problem in problems:
        click.echo(visible(f"not undone: {problem}"), err=True)
    ctx.exit(1 if problems else 0)


def _action(options: dict[str, Any]) -> "Action":
    """Return what is done with the files; refuse options that contradict each other."""
    if options["move"] and options["link"]:
        raise SettingsError("--move and --link: give one of them, or none to copy.")
    if options["yes"] and (options["dry_run"] or not options["move"]):
        raise SettingsError("--yes is for --move, and not with --dry-run; leave one of them out.")
    if options["precision"] is not None and options["below"] is not None:
        raise SettingsError("--precision and --below both say which labels are unsure; give one.")
    return "move" if options["move"] else "link" if options["link"] else "copy"


def _show_plan(steps: "Sequence[Step]", action: "Action", folder: Path) -> None:
    """Print the counts of a dry run, and the first files of each folder."""
    by_folder: dict[str, list[Step]] = defaultdict(list)
    for step in steps:
        by_folder[step.target.parent.name].append(step)
    for name, of_folder in sorted(by_folder.items()):
        todo = [step for step in of_folder if not step.there]
        there = len(of_folder) - len(todo)
        files = ", ".join(step.target.name for step in todo[:_SHOWN])
        more = f" and {len(todo) - _SHOWN} more" if len(todo) > _SHOWN else ""
        notes = f" ({there} there already)" if there else ""
        click.echo(visible(f"{folder / name}: would {action} {len(todo)}{notes}  {files}{more}"))
    click.echo("nothing was changed" + ("; --yes moves the files" if action == "move" else ""))


def _show_result(result: "Sorted", action: "Action", folder: Path) -> None:
    past = {"copy": "copied", "move": "moved", "link": "linked"}[action]
    done = Counter(step.target.parent.name for step in result.done)
    there = Counter(step.target.parent.name for step in result.there)
    for name in sorted({*done, *there}):
        more = f", {there[name]} there already" if there[name] else ""
        click.echo(visible(f"{folder / name}: {done[name]} {past}{more}"))
    for step in (step for step in result.done if step.renamed):
        click.echo(visible(f"{step.source}: its name was taken; it is {step.target}"))
    if result.symbolic:
        click.echo(f"{result.symbolic} links are symbolic: hard links are not possible here")
    if result.done:
        click.echo(visible(f"undo with: songbag undo {folder}"))
