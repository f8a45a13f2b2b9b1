from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from pynq_writer import Net, conv, dense

from bnnsim.engine.reference import execute
from bnnsim.errors import SourceError
from bnnsim.frontends.pynq import from_pynq
from bnnsim.graph.folding import stated_folding
from bnnsim.graph.ir import Graph

# name: (layers, rows in the folder's last matrix, classes)
NETS = {
    "W1A1 dense": (
        [
            dense(63, 12, simd=21, pe=4),
            dense(12, 6, simd=3, pe=6),
            dense(6, 16, simd=2, pe=8, api=16),
        ],
        None,
        5,
    ),
    "W1A1 dense, thresholded output": (
        [dense(65, 9, simd=13, pe=3), dense(9, 8, simd=9, pe=2)],
        None,
        7,
    ),
    "W1A2 dense": (
        [dense(64, 10, simd=64, pe=5, api=2), dense(10, 8, simd=5, pe=1)],
        None,
        8,
    ),
    "W2A2 dense": (
        [
            dense(40, 8, simd=8, pe=8, wpi=2, api=2),
            dense(8, 4, simd=1, pe=1, wpi=2, api=2),
            dense(4, 16, simd=4, pe=4, wpi=2, api=16),
        ],
        None,
        3,
    ),
    "W1A1 convolutions, two pools": (
        [
            conv(3, 3, 12, 4, simd=3, pe=2),
            conv(3, 4, 10, 6, simd=12, pe=3),
            conv(3, 6, 4, 5, simd=2, pe=1),
            dense(5, 64, simd=1, pe=4, api=16),
        ],
        None,
        11,
    ),
    "W1A2 convolutions": (
        [
            conv(3, 3, 8, 4, simd=9, pe=4, api=2),
            conv(3, 4, 3, 7, simd=4, pe=7, api=2),
            dense(7, 10, simd=7, pe=5, api=16),
        ],
        None,
        10,
    ),
    "W2A2 convolutions, API 1 at the end, ragged rows": (
        [
            conv(2, 1, 4, 5, simd=2, pe=5, wpi=2, api=2),
            dense(45, 8, simd=15, pe=2, wpi=2, api=2),
            dense(8, 64, simd=1, pe=4, wpi=2, api=1),
        ],
        42,
        42,
    ),
    "fewer rows than processing elements": (
        [dense(8, 4, simd=8, pe=2), dense(4, 64, simd=2, pe=16, api=16)],
        10,
        10,
    ),
    "pool before a dense layer": (
        [conv(3, 2, 6, 3, simd=6, pe=3), dense(12, 6, simd=4, pe=2, api=16)],
        None,
        6,
    ),
    "one layer": ([dense(33, 4, simd=11, pe=2, api=16)], None, 4),
}


def run(graph: Graph, x: np.ndarray) -> np.ndarray:
    return execute(graph, x, keep=())[graph.outputs[0]]


def some_pixels(graph: Graph, seed: int, n: int = 4) -> np.ndarray:
    shape = graph.tensor("input").shape
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), np.uint8)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("seed", [1, 2])
def test_graph_equals_the_hardware(tmp_path: Path, name: str, seed: int) -> None:
    layers, rows, classes = NETS[name]
    net = Net(layers, seed=seed, rows=rows)
    graph = from_pynq(net.write(tmp_path / "net", classes), net.folding)
    x = some_pixels(graph, seed)
    expected = [net.simulate(image)[:classes] for image in x]
    assert run(graph, x).tolist() == expected
    assert graph.meta["classes"] == [f"class {i}" for i in range(classes)]
    thresholded = net.thresholds[-1] is not None
    assert graph.meta["decision"] == ("last-set-bit" if thresholded else "argmax")
    assert graph.meta["source_kind"] == "pynq"


@pytest.mark.parametrize("api", [1, 2])
def test_padding_columns_are_dropped(tmp_path: Path, api: int) -> None:
    net = Net([dense(128, 32, simd=64, pe=4, api=api), dense(32, 4, simd=4, pe=1)], seed=3)
    net.weights[0][:, 100:] = 1
    net.weights[0][0, 99] = -1
    graph = from_pynq(net.write(tmp_path / "net"), net.folding)
    assert graph.tensor("input").shape == (100,)
    x = some_pixels(graph, 5)
    assert run(graph, x).tolist() == [net.simulate(image) for image in x]
    wider = from_pynq(tmp_path / "net", net.folding, inputs=110)
    x = some_pixels(wider, 6)
    assert run(wider, x).tolist() == [net.simulate(image) for image in x]
    with pytest.raises(SourceError, match=r"inputs: got 99, expected 100 to 128"):
        from_pynq(tmp_path / "net", net.folding, inputs=99)


@pytest.mark.parametrize("wpi", [1, 2])
def test_padding_of_a_single_layer_reaches_the_logits(tmp_path: Path, wpi: int) -> None:
    net = Net([dense(64, 32, simd=8, pe=4, wpi=wpi, api=16)], seed=3)
    net.weights[0][:, 60:] = 1
    net.weights[0][0, 59] = -1
    graph = from_pynq(net.write(tmp_path / "net", 20), net.folding)
    x = some_pixels(graph, 5)
    assert x.shape == (4, 60)
    assert run(graph, x).tolist() == [net.simulate(image)[:20] for image in x]


def test_few_columns_of_plus_one_are_no_padding(tmp_path: Path) -> None:
    net = Net([dense(64, 4, simd=8, pe=4, api=16)], seed=3)
    net.weights[0][:, 62:] = 1
    graph = from_pynq(net.write(tmp_path / "net"), net.folding)
    assert graph.tensor("input").shape == (64,)
    assert graph.meta["notes"] == ["no classes.txt: all 4 rows of the last layer are outputs."]


def test_pixels_are_rounded_half_up_to_1_128(tmp_path: Path) -> None:
    net = Net([conv(1, 1, 1, 1, simd=1, pe=1), dense(1, 1, simd=1, pe=1, api=16)], seed=1)
    graph = from_pynq(net.write(tmp_path / "net"), net.folding)
    table = graph.tensor("encode.table")
    assert table.dtype.scale == 1 / 128
    pixels = np.arange(256, dtype=np.float32)
    as_written = np.floor((pixels / np.float32(255) * 2 - 1) * 128 + np.float32(0.5))
    assert table.data is not None
    assert table.data.tolist() == np.clip(as_written, -128, 127).tolist()


def a_net(tmp_path: Path, name: str = "mnist-tinyW1A1") -> tuple[Net, Path]:
    net = Net([dense(16, 8, simd=8, pe=4), dense(8, 8, simd=4, pe=2)], seed=4)
    return net, net.write(tmp_path / name, 5)


@pytest.mark.parametrize("wrap", ["direct", "networks", "golden", "beside", "single"])
def test_forms_of_folding(tmp_path: Path, wrap: str) -> None:
    net, folder = a_net(tmp_path)
    other = {"L0": dense(1, 1, simd=1, pe=1)}
    by_name = {"tiny": other, "tinyW1A1": net.folding, "W9": other}
    plain = {
        "direct": net.folding,
        "beside": net.folding,
        "networks": by_name,
        "golden": {"folding": by_name, "notes": "", "logits_printed_by_fpga": {}},
        "single": {"another name": net.folding},
    }[wrap]
    file = folder / "folding.json" if wrap == "beside" else tmp_path / "file.json"
    file.write_text(json.dumps(plain))
    graph = from_pynq(folder, None if wrap == "beside" else file)
    x = some_pixels(graph, 1)
    assert run(graph, x).tolist() == [net.simulate(image)[:5] for image in x]


def test_the_graph_keeps_pe_and_simd_of_each_layer(tmp_path: Path) -> None:
    net, folder = a_net(tmp_path)
    folded = stated_folding(from_pynq(folder, net.folding))
    due = list(net.folding.values())
    assert [(f.pe, f.simd) for f in folded.values()] == [(e["PE"], e["SIMD"]) for e in due]
    assert [f.columns for f in folded.values()] == [e["MW"] for e in due]


def test_network_can_be_named(tmp_path: Path) -> None:
    net, folder = a_net(tmp_path, "folder")
    folding = {"a": {}, "b": net.folding}
    assert from_pynq(folder, folding, network="b").name == "folder"
    with pytest.raises(SourceError, match=r"network: got 'folder', expected one of 'a', 'b'"):
        from_pynq(folder, folding)
    with pytest.raises(SourceError, match=r"network: got 'c', expected one of 'a', 'b'"):
        from_pynq(folder, folding, network="c")


def test_no_folding_names_the_option(tmp_path: Path) -> None:
    _, folder = a_net(tmp_path)
    with pytest.raises(SourceError, match=r"Give --folding FILE\.json\."):
        from_pynq(folder)


def test_every_bad_file_is_listed(tmp_path: Path) -> None:
    net, folder = a_net(tmp_path)
    (folder / "0-2-weights.bin").unlink()
    (folder / "0-3-thres.bin").write_bytes(b"\0" * 12)
    (folder / "1-2-weights.bin").write_bytes(b"")
    (folder / "2-0-thres.bin").write_bytes(b"")
    (folder / "notes.bin").write_bytes(b"")
    with pytest.raises(SourceError) as caught:
        from_pynq(folder, net.folding)
    text = str(caught.value)
    assert "0-2-weights.bin: got 'no such file', expected a file of 32 bytes." in text
    assert "0-3-thres.bin: got '12 bytes', expected a file of 16 bytes." in text
    assert "got '1-2-weights.bin', expected processing elements up to 1 in this layer" in text
    assert "got '2-0-thres.bin', expected layers up to 1" in text
    assert "got 'notes.bin', expected L-P-weights.bin or L-P-thres.bin" in text
    assert len(text.splitlines()) == 5


def test_truncated_last_layer_is_refused(tmp_path: Path) -> None:
    net, folder = a_net(tmp_path)
    path = folder / "1-1-weights.bin"
    path.write_bytes(path.read_bytes()[:-16])
    (folder / "1-1-thres.bin").write_bytes(b"\0" * 24)
    graph = from_pynq(folder, net.folding)  # 7 rows: row 7 is missing, 5 classes are used
    assert graph.result(graph.nodes[-1]).shape == (5,)
    path.write_bytes(path.read_bytes()[:-16])
    rule = r"1-1-weights\.bin: got '32 bytes', expected a file of 48 to 64, a multiple of 16, bytes"
    with pytest.raises(SourceError, match=rule):
        from_pynq(folder, net.folding)


def test_many_missing_files_give_a_short_list(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    folding = {"L0": dense(1, 65536, simd=1, pe=65536), "L1": dense(65536, 1, simd=1, pe=1)}
    with pytest.raises(SourceError, match=r"There may be more\.") as caught:
        from_pynq(folder, folding)
    assert len(str(caught.value).splitlines()) == 21


def test_last_threshold_files_of_a_convolutional_net_are_not_read(tmp_path: Path) -> None:
    layers, _, classes = NETS["pool before a dense layer"]
    net = Net(layers, seed=8)
    folder = net.write(tmp_path / "net", classes)
    for element in range(2):
        (folder / f"1-{element}-thres.bin").write_bytes(b"\0" * 24)
    graph = from_pynq(folder, net.folding)
    assert graph.meta["decision"] == "argmax"
    assert "L1: threshold files not read" in graph.meta["notes"][0]


def test_bits_past_simd_are_left_unread(tmp_path: Path) -> None:
    net, folder = a_net(tmp_path)
    x = some_pixels(from_pynq(folder, net.folding), 1)
    words = np.fromfile(folder / "0-0-weights.bin", "<u8") | np.uint64(1 << 40)
    words.tofile(folder / "0-0-weights.bin")
    graph = from_pynq(folder, net.folding)
    assert run(graph, x).tolist() == [net.simulate(image)[:5] for image in x]
    assert graph.meta["notes"] == ["L0: bits past the 8 used of a word are set; left unread."]


def test_two_bit_weight_of_minus_two_is_refused(tmp_path: Path) -> None:
    net = Net([dense(4, 2, simd=2, pe=1, wpi=2, api=16)], seed=1)
    folder = net.write(tmp_path / "net")
    words = np.fromfile(folder / "0-0-weights.bin", "<u8")
    words[3] = 0b1001
    words.tofile(folder / "0-0-weights.bin")
    with pytest.raises(SourceError, match=r"row 1, column 3: got -2, expected -1, 0 or 1"):
        from_pynq(folder, net.folding)


def test_classes_must_fit(tmp_path: Path) -> None:
    net, folder = a_net(tmp_path)
    (folder / "classes.txt").write_text("a\n" * 9)
    with pytest.raises(SourceError, match=r"classes\.txt: lines: got 9, expected at most 8"):
        from_pynq(folder, net.folding)
    (folder / "classes.txt").write_bytes(b"\n")
    with pytest.raises(SourceError, match=r"classes\.txt: got 'no line'"):
        from_pynq(folder, net.folding)
    (folder / "classes.txt").write_bytes(b"\xc4\r\nb\r\n")
    assert from_pynq(folder, net.folding).meta["classes"] == ["\ufffd", "b"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"SIMD": 3}, r"L0: SIMD: got 3, expected a divisor of the 16 columns"),
        ({"PE": 3}, r"L0: PE: got 3, expected a divisor of the 8 rows"),
        ({"WMEM": 5}, r"L0: WMEM: got 5, expected 4 words per processing element"),
        ({"TMEM": 5}, r"L0: TMEM: got 5, expected 2 rows per processing element"),
        ({"SIMDD": 3}, r"L0: got 'SIMDD', .*Did you mean 'SIMD'\?"),
        ({"WPI": 3}, r"L0: WPI: got 3, expected 1 or 2 bits"),
        ({"API": 3}, r"L0: API: got 3, expected 1 or 2 bits"),
        ({"APF": 4}, r"L0: APF: got 4, expected an integer, 0: fractional bits"),
        ({"MH": 0}, r"L0: MH: got 0, expected an integer, 1 to 65536"),
        ({"MH": True}, r"L0: MH: got True, expected an integer"),
        ({"MH": 2**40}, r"L0: MH: got 1099511627776, expected an integer, 1 to 65536"),
        (
            {"MW": 65536, "MH": 65536},
            r"L0: got '65536 x 65536', expected at most 268435456",
        ),
        ({"MH": 4}, r"L1: MW: got 8, expected 4, the rows before it"),
        ({"WPI": 2, "SIMD": 64, "MW": 64}, r"SIMD: got 64, expected SIMD x WPI of at most 64"),
    ],
)
def test_folding_rules(tmp_path: Path, change: dict, expected: str) -> None:
    net, folder = a_net(tmp_path)
    folding = net.folding
    folding["L0"] = {**folding["L0"], **change}
    with pytest.raises(SourceError, match=expected):
        from_pynq(folder, folding)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([conv(3, 1, 6, 2, simd=1, pe=1), dense(9, 2, simd=1, pe=1)], r"MW: got 9, expected .* 32"),
        ([conv(3, 1, 6, 2, simd=1, pe=1), conv(3, 3, 4, 2, simd=1, pe=1)], r"IFM_CH: got 3"),
        ([conv(3, 1, 6, 2, simd=1, pe=1), conv(3, 2, 3, 2, simd=1, pe=1)], r"IFM_DIM: got 3"),
        ([dense(8, 8, simd=1, pe=1), conv(3, 8, 3, 2, simd=1, pe=1)], r"no convolution after"),
        ([{**conv(3, 1, 6, 2, simd=1, pe=1), "OFM_DIM": 6}], r"OFM_DIM: got 6, expected .* = 4"),
    ],
)
def test_layers_must_follow_one_another(tmp_path: Path, layers: list, expected: str) -> None:
    with pytest.raises(SourceError, match=expected):
        from_pynq(tmp_path, {f"L{i}": layer for i, layer in enumerate(layers)})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1]", r"got 'list', expected a JSON object"),
        ("{", r"expected a JSON file"),
        ("[" * 100_000, r"expected a JSON file"),
        ('{"L0": 3}', r"L0: got 3, expected an object"),
        ('{"L0": {}}', r"L0: MW: got 'nothing', expected an integer"),
        ('{"L1": {}}', r"expected layers L0, L1, \.\.\. without a gap"),
        ('{"folding": 1}', r"folding: got 1, expected an object"),
        ('{"net": 1}', r"net: got 1, expected an object of layers"),
        (" " * (2**20 + 1), r"got 'a larger file', expected at most 1048576 bytes"),
    ],
)
def test_bad_folding_files(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "folding.json"
    file.write_text(text)
    with pytest.raises(SourceError, match=expected):
        from_pynq(tmp_path, file)


def test_missing_places(tmp_path: Path) -> None:
    net, folder = a_net(tmp_path)
    with pytest.raises(SourceError, match=r"none\.json: got 'No such file or directory'"):
        from_pynq(folder, tmp_path / "none.json")
    with pytest.raises(SourceError, match=r"nowhere: got 'no such folder', expected a folder of"):
        from_pynq(tmp_path / "nowhere", net.folding)
    (folder / "0-0-thres.bin").unlink()
    (folder / "0-0-thres.bin").mkdir()
    with pytest.raises(SourceError, match=r"0-0-thres\.bin: got 'no regular file'"):
        from_pynq(folder, net.folding)
    shutil.rmtree(folder)


# --- the nets that an FPGA ran -----------------------------------------------------------------


@pytest.fixture(scope="module")
def golden_folder(data_folder: Path) -> Path:
    folder = data_folder / "bnn-pynq"
    if not (folder / "golden.json").is_file():
        pytest.skip(f"no FPGA networks in {folder}")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("image", ["deer", "bird"])
def test_logits_that_the_fpga_printed(golden_folder: Path, image: str) -> None:
    golden = json.loads((golden_folder / "golden.json").read_text())
    graph = from_pynq(golden_folder / "cifar10-cnvW1A1", golden)
    with np.load(golden_folder / "golden_inputs_u8_chw.npz") as inputs:
        x = inputs[image].transpose(1, 2, 0)[None]
    expected = golden["logits_printed_by_fpga"][f"{image}/cnvW1A1"]
    assert run(graph, np.ascontiguousarray(x))[0].tolist() == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist-lfcW1A1", "mnist-lfcW1A2"])
def test_mnist_accuracy_that_the_fpga_printed(
    golden_folder: Path, data_folder: Path, name: str
) -> None:
    golden = json.loads((golden_folder / "golden.json").read_text())
    graph = from_pynq(golden_folder / name, golden_folder / "golden.json")
    images = gzip.decompress((data_folder / "mnist/t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((data_folder / "mnist/t10k-labels-idx1-ubyte.gz").read_bytes())
    x = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 784)
    bits = run(graph, x) == 1
    classes = np.where(bits.any(axis=1), bits.shape[1] - 1 - np.argmax(bits[:, ::-1], axis=1), 0)
    right = int((classes == np.frombuffer(labels, np.uint8, offset=8)).sum())
    assert len(x) == 10_000
    assert right / 100 == golden["accuracy_printed_by_fpga_percent"][name]
    assert graph.meta["decision"] == "last-set-bit"


def test_twenty_problems_of_a_folding_are_enough(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        from_pynq(tmp_path, {f"L{i}": 3 for i in range(25)})
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 5 more"


def test_pipes_are_never_read(tmp_path: Path) -> None:
    net, folder = a_net(tmp_path)
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(SourceError, match=r"pipe.json: got 'a pipe or device', expected a regular"):
        from_pynq(folder, tmp_path / "pipe.json")
    (folder / "classes.txt").unlink(missing_ok=True)
    os.mkfifo(folder / "classes.txt")
    with pytest.raises(SourceError, match=r"classes.txt: got 'a pipe or device', expected a regul"):
        from_pynq(folder, net.folding)
