"""CSV files of results: every cell comes back as it was written."""

import pytest

from songbag.storage.files import csv_text, iter_csv, read_csv, write_csv

AWKWARD = ["plain", "a,b", 'say "yes"', "two\nlines", "lone\rreturn", " spaced ", "=1+1", "ü", ""]


def test_cells_come_back_as_they_were(tmp_path):
    write_csv(tmp_path / "a.csv", ({"id": cell} for cell in AWKWARD), ["id", "none"])
    assert read_csv(tmp_path / "a.csv") == [{"id": cell, "none": ""} for cell in AWKWARD]


def test_rows_are_read_one_by_one(tmp_path):
    write_csv(tmp_path / "a.csv", [{"id": 1}, {"id": 2}], ["id"])
    rows = iter_csv(tmp_path / "a.csv")
    assert next(rows) == {"id": "1"}
    rows.close()


@pytest.mark.parametrize(
    ("value", "text"),
    [(1 / 3, "0.333333"), (-0.0, "0.0"), (1e-9, "0.0"), (2e6, "2e+06"), (5, "5"), (None, "")],
)
def test_numbers_have_six_decimals(value, text):
    assert csv_text([{"x": value}], ["x"], header=False) == f"{text}\n"
