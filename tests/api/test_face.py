"""Songbag in a notebook: short lists, short texts, plots, and all that the commands can."""

import inspect
import logging
import re
import types

import matplotlib
import numpy as np
import pandas
import pytest
import torch

import songbag
from songbag.console import Console
from songbag.errors import TrainingError

matplotlib.use("Agg")


def bags_of(songs=24, windows=4, seed=0):
    rng = np.random.default_rng(seed)
    ids = np.repeat([f"song {n:02d}" for n in range(songs)], windows)
    label = np.repeat(np.arange(songs) % 2, windows)
    features = rng.normal(size=(len(ids), 4)) + 3.0 * label[:, None]
    return songbag.bags_from_arrays(features, np.array(["drift", "gallop"])[label], ids)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    path = tmp_path_factory.mktemp("face") / "genre.songbag"
    return songbag.train(bags_of(), path, quiet=True)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    return songbag.compare(
        bags_of(), folder, poolings=["mean_logit", "max"], seeds=1, folds=2, epochs=2, quiet=True
    )


def test_what_is_for_people_is_listed_and_documented():
    assert [name for name in dir(songbag) if not name.startswith("_")] == sorted(songbag.__all__)
    for name in songbag.__all__:
        part = getattr(songbag, name)
        assert inspect.getdoc(part), name
    assert "train" in songbag.__doc__


def test_texts_are_three_lines_and_tables_have_no_script(result, compared):
    crossed = songbag.crossval(bags_of(), folds=2, quiet=True)
    judged = songbag.evaluate(result.model, bags_of(seed=1), quiet=True, everything=True)
    for shown in (result, result.model, compared, crossed, judged):
        text, page = repr(shown), shown._repr_html_()
        assert len(text.splitlines()) == 3, text
        assert len(text) < 600
        assert "<table>" in page
        assert "<script" not in page
    assert re.search(r"accuracy +\d\.\d{3}.* on 5 songs; windows", repr(result))
    assert "genre.songbag, 2 labels: drift, gallop" in repr(result.model)


def test_a_stranger_s_name_is_no_html(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat(["<script>alert(1)</script>", "b"], 12)
    bags = songbag.bags_from_arrays(rng.normal(size=(24, 3)), labels, [f"s{n}" for n in range(24)])
    page = songbag.train(bags, quiet=True)._repr_html_()
    assert "<script>" not in page


def test_plots_are_axes_with_what_they_say(result, compared):
    axes = result.plot_confusion()
    assert [text.get_text() for text in axes.get_xticklabels()] == ["drift", "gallop"]
    drawn = [int(text.get_text()) for text in axes.texts]
    assert sum(drawn) == len(result.predictions)
    assert result.plot_calibration().get_xlabel() == "confidence"
    timeline = result.model.plot_timeline(bags_of(seed=1))
    assert timeline.get_title() == "song 00"
    assert [line.get_label() for line in timeline.get_lines()] == ["drift", "gallop"]
    assert len(compared.plot().get_yticklabels()) == 2
    mine = matplotlib.pyplot.subplots()[1]
    assert result.plot_confusion(mine) is mine
    matplotlib.pyplot.close("all")


def test_without_matplotlib_a_plot_says_what_to_install(result, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    monkeypatch.delitem(__import__("sys").modules, "matplotlib.pyplot", raising=False)
    with pytest.raises(songbag.SongbagError, match=r"pip install 'songbag\[plot\]'"):
        result.plot_confusion()


def test_a_misspelled_argument_is_named():
    with pytest.raises(songbag.SongbagError, match=r"'recipee'. Did you mean 'recipe'\?"):
        songbag.train(bags_of(), recipee="fast")


def test_commands_are_functions_of_the_same_name(result, compared, songs, tmp_path):
    judged = songbag.evaluate(
        result.model.path, bags_of(seed=1), tmp_path / "e", quiet=True, everything=True
    )
    assert judged.metrics["metrics"]["accuracy"]["value"] >= 0.8
    assert (tmp_path / "e" / "report.html").exists()
    assert compared.systems.index.tolist() == compared.systems.index.unique().tolist()
    assert {"difference", "low", "high"} <= set(compared.differences.columns)
    assert compared.said
    packed = songbag.pack(songs, tmp_path / "packed", recipe="fast", encoder="none", quiet=True)
    again = songbag.crossval(packed, recipe="fast", folds=2, quiet=True)
    assert len(again.predictions) == 24


@pytest.mark.full
def test_leakage_is_a_table(tmp_path):
    table = songbag.leakage(bags_of(), tmp_path, folds=2, quiet=True, epochs=2)
    assert table.loc["window", "accuracy"] >= 0
    assert (tmp_path / "report.html").exists()


def test_a_song_s_bag_is_an_item_for_torchs_loader():
    loader = torch.utils.data.DataLoader(bags_of(), batch_size=4, collate_fn=list)
    batch = next(iter(loader))
    assert [bag.id for bag in batch] == ["song 00", "song 01", "song 02", "song 03"]


# --- messages ---------------------------------------------------------------------------


def test_messages_go_where_a_program_sends_its_log(capsys):
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger = logging.getLogger("songbag")
    before, logger.handlers = logger.handlers, [handler]
    try:
        Console().say("hello")
        list(Console().track([1, 2], 2, "Counting"))
    finally:
        logger.handlers = before
    assert records[0] == "hello"
    assert records[-1].startswith("Counting: 2 of 2 songs")
    assert capsys.readouterr().err == ""
    Console().say("to stderr")
    assert capsys.readouterr().err == "to stderr\n"


def test_in_a_notebook_one_line_is_written_over(monkeypatch):
    published = []

    class Publisher:
        def publish(self, data, transient=None, update=False):
            published.append((data["text/plain"], transient["display_id"], update))

    shell = types.SimpleNamespace(kernel=object(), display_pub=Publisher())
    fake = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(__import__("sys").modules, "IPython", fake)
    monkeypatch.setattr("songbag.console._Cell.seconds", 0.0)
    assert list(Console().track(range(4), 4, "Listening")) == [0, 1, 2, 3]
    assert len({name for _, name, _ in published}) == 1
    assert [update for *_, update in published] == [False, True, True, True]
    assert published[-1][0].startswith("█" * 30 + " Listening: 4 of 4 songs")


# --- own parts are tried before a training ----------------------------------------------


def top_two(logits):
    return logits.topk(2, dim=1).values.mean(dim=1)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"pooling": top_two}, r"the pooling fails on an input of shape \(2, 1, 2\)"),
        ({"pooling": lambda logits: logits.mean()}, r"of shape \(2, 1, 2\) into \(\); needed is \(2, 2\)"),
        ({"pooling": lambda logits: logits.mean(dim=0)}, r"into \(1, 2\); needed is \(2, 2\), one row a song"),
        ({"pooling": lambda logits: logits.mean(dim=1).numpy()}, r"returns a ndarray .* needed is a tensor"),
        ({"loss": lambda z, y: z}, r"the loss of 2 songs has the shape \(2, 2\); needed is \(\) or \(2,\)"),
        ({"loss": lambda z, y: z[:, 7]}, r"the loss fails on an input of shape \(2, 2\) and \(2,\)"),
        ({"network": torch.nn.Sequential(torch.nn.Flatten(0), torch.nn.Linear(8, 2))}, "the network turns 2 windows"),
    ],
)  # fmt: skip
def test_parts_of_a_wrong_shape_are_named_before_the_training(own, message, monkeypatch):
    trainer = "songbag.training.trainer.Trainer.train"
    monkeypatch.setattr(trainer, lambda self: pytest.fail("trained"))
    with pytest.raises(TrainingError, match=message):
        songbag.train(bags_of(), quiet=True, **own)


def test_check_is_a_table(songs):
    found = songbag.check(songs, quiet=True)
    assert isinstance(found, pandas.DataFrame)
    assert found.columns.tolist()[:3] == ["kind", "severity", "id"]
