"""The model card says what the model's figures say, and the hub's own reader reads it."""

import msgspec
import pytest

from songbag.encoders.encoder import EncoderFacts
from songbag.inference.model_file import load_model
from songbag.tasks.model_card import model_card
from tests.helpers.command import songbag


@pytest.fixture(scope="module")
def card(model_path):
    return load_model(model_path, parts=()).card


def read(text):
    hub = pytest.importorskip("huggingface_hub")
    return hub.ModelCard(text).data


def test_the_hub_reads_the_figures(model_path, card):
    done = songbag("info", model_path, "--markdown", "--license", "mit")
    data = read(done.stdout)
    assert (data.license, data.library_name) == ("mit", "songbag")
    assert data.pipeline_tag == "audio-classification"
    assert data.model_name == "genre"
    assert "multiple-instance-learning" in data.tags
    results = {result.metric_type: result for result in data.eval_results}
    for name, figure in card.figures["metrics"].items():
        assert results[name].metric_value == pytest.approx(figure["value"], abs=1e-6)
    low, high = (card.figures["metrics"]["accuracy"][side] for side in ("low", "high"))
    assert f"{low:.3f} to {high:.3f}" in results["accuracy"].metric_name
    assert {result.task_type for result in data.eval_results} == {"audio-classification"}


def test_people_read_labels_split_and_limits(card):
    facts = EncoderFacts("ear", "a thousand songs", "CC-BY-NC-4.0", ("Not for shops.",))
    text = model_card(msgspec.structs.replace(card, encoder=facts), "genre")
    for label in card.labels:
        counts = [str(card.split.counts[side].get(label, 0)) for side in card.split.counts]
        assert f"| {label} | {' | '.join(counts)} |" in text
    assert f"certificate `{card.split.hash}`" in text
    assert "encoder ear, trained on a thousand songs" in text
    assert "licence of the encoder: CC-BY-NC-4.0" in text
    assert "- Not for shops." in text
    assert f"{card.figures['songs']} tested songs are few" in text
    assert "Every song gets one of the labels" in text
    assert "changed copies" not in text
    augmented = msgspec.structs.replace(card.recipe, augment=2)
    text = model_card(msgspec.structs.replace(card, recipe=augmented), "genre")
    assert "- trained on changed copies, too, 2 a song: telephone; " in text
    unknown = model_card(msgspec.structs.replace(card, unknown=0.05), "genre")
    assert "about 5% of the songs" in unknown and "Every song gets" not in unknown


def test_a_model_that_was_not_tested_claims_nothing(card):
    changes = {"figures": {}, "split": None, "labels": ("a|b", "c\nd")}
    text = model_card(msgspec.structs.replace(card, **changes), 'my "best" model')
    assert read(text).eval_results is None
    assert "It was tested" not in text
    assert "not evaluated on songs that were not trained on" in text
    assert "| a\\|b |\n| c d |" in text
    table = msgspec.structs.replace(card, source="table")
    assert "songbag predict 'genre.songbag' windows.csv --song COLUMN" in model_card(table, "genre")
