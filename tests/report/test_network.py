"""Blocks of what a network did."""

from __future__ import annotations

from bnnsim.report.network import prediction_blocks
from bnnsim.report.text import plain


def said(shown, taken) -> list[str]:
    result = {"images": 5000, "shown": shown, "taken": taken}
    return plain(prediction_blocks(result)).splitlines()


def test_predictions_name_classes_and_labels():
    shown = [{"best": [("3 cat", "12"), ("5 dog", "-1")], "label": "5 dog"}]
    lines = said(shown, [("3 cat", 4999), ("0 ant", 1)])
    assert lines[0] == "First 1 of 5,000 images"
    assert lines[1].split() == ["image", "class", "logit", "runner-up", "its", "logit", "label"]
    assert lines[3].split() == ["0", "3", "cat", "12", "5", "dog", "-1", "5", "dog"]
    assert lines[5:] == [
        "images by class: 3 cat: 4,999, 0 ant: 1",
        "-o Y.npy writes the outputs of all images",
    ]


def test_a_network_of_one_output_has_no_runner_up():
    lines = said([{"best": [("0", "0.5")], "label": None}], [("0", 5000)])
    assert lines[3].split() == ["0", "0", "0.5", "-", "-"]


def test_of_many_classes_the_most_frequent_are_named():
    taken = [(str(c), 100 - c) for c in range(23)]
    line = said([], taken)[-2]
    assert line.startswith("images by class: 0: 100, 1: 99, ")
    assert line.endswith("19: 81 and 3 more classes")
