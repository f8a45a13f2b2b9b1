"""What run prints of its predictions where no file is asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from nets import mlp

from bnnsim import api


def test_run_without_an_output_prints_predictions(bnnsim, net):
    y = np.load(net / "y.npy")
    said = bnnsim("run", net / "tfc.bnn", "--input", net / "x.npy").out
    rows = said[said.index("First 7 of 7 images") :].splitlines()
    assert rows[1].split() == ["image", "class", "logit", "runner-up", "its", "logit"]
    taken: dict[int, int] = {}
    for image, row in enumerate(rows[3:10]):
        best, second = sorted(range(10), key=lambda c, i=image: (-y[i, c], c))[:2]
        expected = (image, best, y[image, best], second, y[image, second])
        assert row.split() == list(map(str, expected))
        taken[best] = taken.get(best, 0) + 1
    counts = sorted(taken.items(), key=lambda item: (-item[1], item[0]))
    assert f"images by class: {', '.join(f'{c}: {n}' for c, n in counts)}\n" in said
    assert said.endswith("-o Y.npy writes the outputs of all images\n")


def test_run_shows_ten_images_with_their_labels(bnnsim, net, tmp_path):
    x = np.load(net / "x.npy")
    np.save(tmp_path / "x.npy", np.concatenate([x, x]))
    np.save(tmp_path / "labels.npy", np.arange(14) % 10)
    argv = ("run", net / "tfc.bnn", "--input", tmp_path / "x.npy")
    rows = bnnsim(*argv, "--labels", tmp_path / "labels.npy").out.splitlines()
    begin = rows.index("First 10 of 14 images")
    assert rows[begin + 1].endswith("  label")
    assert [row.split()[-1] for row in rows[begin + 3 : begin + 13]] == [str(i) for i in range(10)]
    assert rows[begin + 13] == ""
    assert "First" not in bnnsim(*argv, "-o", tmp_path / "y.npy").out


def test_logits_of_integers_are_shown_whole_and_classes_by_name(bnnsim, tmp_path, monkeypatch):
    graph = mlp(1).with_meta(classes=[f"c{i}" for i in range(10)])
    api.save(graph, tmp_path / "net.bnn")
    np.save(tmp_path / "x.npy", np.zeros((1, 63), np.uint8))
    outputs = np.arange(10, dtype=np.int32)[None] * 1_234_567
    plain = api.run(graph, np.zeros((1, 63), np.uint8))
    monkeypatch.setattr(api, "run", lambda *_, **__: replace(plain, outputs=outputs))
    said = bnnsim("run", tmp_path / "net.bnn", "--input", tmp_path / "x.npy").out
    row = said[said.index("First 1 of 1 images") :].splitlines()[3]
    assert row.split() == ["0", "9", "c9", "11111103", "8", "c8", "9876536"]
