"""The networks of the zoo, each written down once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from bnnsim.graph.dtypes import BIT, INT16, DType
from bnnsim.zoo import imagenet
from bnnsim.zoo.chain import Chain
from bnnsim.zoo.images import IMAGE, ImageChain
from bnnsim.zoo.residual import FloatChain, resnet20

_BNN = (
    "Hubara, Courbariaux, Soudry, El-Yaniv, Bengio, 'Binarized Neural Networks', NIPS 2016; "
    "MatthieuCourbariaux/BinaryNet, Train-time/{file}"
)
_FINN = (
    "Umuroglu et al., 'FINN: A Framework for Fast, Scalable Binarized Neural Network Inference', "
    "FPGA 2017{more}"
)
_IMAGE = (32, 32, 3)
_CLASSES = 10


@dataclass(frozen=True, slots=True)
class Network:
    """A network of the zoo: input shape, source, and how a chain of its class becomes it.

    ``trained`` says that bnnsim/data holds weights for it, in a .bnn of its name.
    """

    input_shape: tuple[int, ...]
    source: str
    layers: Callable[[Any], None]
    chain: type[Chain] = Chain
    trained: bool = False
    folding: tuple[tuple[int, int, int, int], ...] = ()  # PE, SIMD, MH, MW by layer, as published


def _mlp(chain: Chain, *, hidden: int) -> None:
    """Three hidden layers: dense, batch norm, sign; then dense, batch norm."""
    chain.encode(2 * np.arange(256) - 255, INT16)
    for _ in range(3):
        chain.dense(hidden)
        chain.batch_norm()
        chain.sign()
    chain.dense(_CLASSES)
    chain.batch_norm()


def _bits(chain: Chain, *, hidden: int, depth: int) -> None:
    """Pixels as bits, layers of bits alone; the last one gives its sums."""
    chain.encode(np.where(np.arange(256) >= 128, 1, -1), BIT)
    for _ in range(depth):
        chain.dense(hidden)
        chain.batch_norm()
        chain.sign()
    chain.dense(_CLASSES)


def _convnet(chain: Chain, *, widths: tuple[int, ...], dense: tuple[int, ...]) -> None:
    """Pairs of zero-padded convolutions, the second of each pooled, then dense layers."""
    chain.encode(2 * np.arange(256) - 255, INT16)
    for width in widths:
        for is_second in (False, True):
            chain.conv(width, padding=1)
            if is_second:
                chain.pool()
            chain.batch_norm()
            chain.sign()
    chain.flatten()
    for neurons in dense:
        chain.dense(neurons)
        chain.batch_norm()
        chain.sign()
    chain.dense(_CLASSES)
    chain.batch_norm()


def _finn_mlp(chain: Chain, *, hidden: int) -> None:
    """Binary pixels, three thresholded layers, popcounts out."""
    chain.encode(np.where(np.arange(256) >= 128, 1, -1), BIT)
    for _ in range(3):
        chain.dense(hidden)
        chain.threshold()
    chain.dense(_CLASSES)
    chain.match_count(hidden)


def _finn_cnv(chain: Chain) -> None:
    """Unpadded convolutions on pixels in units of 1/128, pools behind thresholds, popcounts out."""
    pixels = (256 * (2 * np.arange(256) - 255) + 255) // 510  # 128 (2p/255 - 1), rounded half up
    chain.encode(np.clip(pixels, -128, 127), DType("signed", 8, scale=1 / 128))
    for channels in (64, 128, 256):
        for is_second in (False, True):
            chain.conv(channels, padding=0)
            chain.threshold()
            if is_second and channels < 256:
                chain.pool()
    chain.flatten()
    for _ in range(2):
        chain.dense(512)
        chain.threshold()
    chain.dense(_CLASSES)
    chain.match_count(512)


# Xilinx/BNN-PYNQ, bnn/src/network/lfcW1A1/hw/config.h and cnvW1A1/hw/config.h. The hardware pads
# the first matrix of LFC to 13 words of 64 bits, and the last one of both to 64 rows.
_LFC_FOLDING = ((32, 64, 1024, 832), (64, 32, 1024, 1024), (32, 64, 1024, 1024), (16, 8, 64, 1024))
_CNV_FOLDING = (
    (16, 3, 64, 27), (32, 32, 64, 576), (16, 32, 128, 576), (16, 32, 128, 1152),
    (4, 32, 256, 1152), (1, 32, 256, 2304), (1, 4, 512, 256), (1, 8, 512, 512), (4, 1, 64, 512),
)  # fmt: skip

_TORCHVISION = "pytorch/vision, torchvision/models/{file}"
_LARQ = "larq/zoo, larq_zoo/{file}"
_IMAGENET: Mapping[str, tuple[Callable[[Any], None], str]] = {
    "alexnet": (
        imagenet.alexnet,
        "Krizhevsky, 'One weird trick for parallelizing convolutional neural networks', 2014; "
        + _TORCHVISION.format(file="alexnet.py"),
    ),
    "googlenet": (
        imagenet.googlenet,
        "Szegedy et al., 'Going Deeper with Convolutions', CVPR 2015; "
        + _TORCHVISION.format(file="googlenet.py"),
    ),
    "xnor-alexnet": (
        imagenet.xnor_alexnet,
        "Rastegari et al., 'XNOR-Net', ECCV 2016; " + _LARQ.format(file="literature/xnornet.py"),
    ),
    "xnor-resnet18": (
        imagenet.xnor_resnet18,
        "Rastegari et al., 'XNOR-Net', ECCV 2016, section 4.2: ResNet-18 of blocks batch norm, "
        "sign, convolution; float projections are our reading, no released code was read",
    ),
    "dorefa-alexnet": (
        imagenet.dorefa_alexnet,
        "Zhou et al., 'DoReFa-Net', arXiv 1606.06160, 1-bit weights, 2-bit activations; "
        + _LARQ.format(file="literature/dorefanet.py"),
    ),
    "twn-resnet18": (
        imagenet.twn_resnet18,
        "Li, Liu, 'Ternary Weight Networks', arXiv 1605.04711, on ResNet-18; float first and last "
        "layers are our reading",
    ),
    "resnet18": (
        imagenet.resnet18,
        "He, Zhang, Ren, Sun, 'Deep Residual Learning for Image Recognition', CVPR 2016; "
        + _TORCHVISION.format(file="resnet.py"),
    ),
    "bireal18": (
        imagenet.bireal18,
        "Liu et al., 'Bi-Real Net', ECCV 2018; " + _LARQ.format(file="literature/birealnet.py"),
    ),
    "bireal34": (imagenet.bireal34, "Liu et al., 'Bi-Real Net', ECCV 2018, 34 layers"),
    "reactnet-a": (
        imagenet.reactnet_a,
        "Liu et al., 'ReActNet', ECCV 2020; liuzechun/ReActNet, mobilenet/2_step2/reactnet.py",
    ),
    "quicknet-small": (imagenet.quicknet_small, _LARQ.format(file="sota/quicknet.py")),
    "quicknet": (imagenet.quicknet_medium, _LARQ.format(file="sota/quicknet.py")),
    "quicknet-large": (imagenet.quicknet_large, _LARQ.format(file="sota/quicknet.py")),
    "densenet28": (
        imagenet.densenet28,
        "Bethge et al., 'Back to Simplicity', arXiv 1906.08637; "
        + _LARQ.format(file="literature/densenet.py"),
    ),
    "meliusnet22": (
        imagenet.meliusnet22,
        "Bethge et al., 'MeliusNet', arXiv 2001.05936; "
        + _LARQ.format(file="literature/meliusnet.py"),
    ),
    "real2binary": (
        imagenet.real2binary,
        "Martinez et al., 'Training binary neural networks with real-to-binary convolutions', "
        "ICLR 2020; " + _LARQ.format(file="literature/real_to_bin_nets.py"),
    ),
}

NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        "mlp-3x2048": Network(
            (784,),
            "Hubara et al., 'Binarized Neural Networks', NIPS 2016; itayhubara/BinaryNet",
            partial(_mlp, hidden=2048),
            trained=True,
        ),
        "mlp-3x4096": Network((784,), _BNN.format(file="mnist.py"), partial(_mlp, hidden=4096)),
        "mnist-convnet": Network(
            (28, 28, 1),
            _BNN.format(file="cifar10.py") + ", in small: four convolutions, one dense layer",
            partial(_convnet, widths=(32, 64), dense=(256,)),
            trained=True,
        ),
        "mnist-bits": Network(
            (784,),
            "Umuroglu et al., 'FINN', FPGA 2017, in small: SFC with 256 neurons, two hidden layers",
            partial(_bits, hidden=256, depth=2),
            trained=True,
        ),
        "cifar10-convnet": Network(
            _IMAGE,
            _BNN.format(file="cifar10.py"),
            partial(_convnet, widths=(128, 256, 512), dense=(1024, 1024)),
        ),
        "svhn-convnet": Network(
            _IMAGE,
            _BNN.format(file="svhn.py"),
            partial(_convnet, widths=(64, 128, 256), dense=(1024, 1024)),
        ),
        "sfc": Network((784,), _FINN.format(more=""), partial(_finn_mlp, hidden=256)),
        "tfc": Network(
            (784,),
            "fastmachinelearning/qonnx_model_zoo, models/MNIST/Brevitas_FINN_TFC",
            partial(_finn_mlp, hidden=64),
        ),
        "lfc": Network(
            (784,),
            _FINN.format(more="; Xilinx/BNN-PYNQ, bnn/src/network/lfcW1A1/hw/config.h"),
            partial(_finn_mlp, hidden=1024),
            folding=_LFC_FOLDING,
        ),
        "cnv": Network(
            _IMAGE,
            _FINN.format(more="; Xilinx/BNN-PYNQ, bnn/src/network/cnvW1A1/hw/config.h"),
            _finn_cnv,
            folding=_CNV_FOLDING,
        ),
        # Table 6 of the paper: 0.27 M parameters. The 40.8 M multiply-accumulates often quoted
        # count projections in two shortcuts; those of the paper's CIFAR networks have none.
        "resnet20": Network(
            _IMAGE,
            "He, Zhang, Ren, Sun, 'Deep Residual Learning for Image Recognition', CVPR 2016, "
            "section 4.2 (option A shortcuts)",
            resnet20,
            FloatChain,
        ),
        **{
            name: Network(IMAGE, source, layers, ImageChain)
            for name, (layers, source) in _IMAGENET.items()
        },
    }
)
