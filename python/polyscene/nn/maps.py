"""Maps over the pixels of an image: classes of pixels, and boxes of objects."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from polyscene import _C
from polyscene.nn._block import Block


class UNet(Block):
    r"""A class for every pixel: U-Net (Ronneberger et al., MICCAI 2015), attention gates (Oktay et al., MIDL 2018).

    .. math::
        u_l = \text{block}([g_l; \text{up}(u_{l+1})]), \quad
        g_l = d_l \, \sigma(\psi(\text{relu}(W_x d_l + W_g u_{l+1})))

    Called with x [B, C, H, W] of any height and width; returns logits [B, K, H, W]. d_l is the way down, u_l that up. A
    gate is resized to the size of its level; the finest level has none, as in the paper. Unlike the U-Net of 2015
    convolutions keep the size (zeros around) and there is a norm; images are filled up with zeros at the right and the
    bottom to a multiple of 2^depth, and the maps are cut back. Norm batch (Ioffe & Szegedy, ICML 2015) takes its
    statistics from all images of the batch in training; with group (Wu & He, ECCV 2018; gcd(8, channels) groups, or one
    where these would be single channels) or none an image knows nothing of the others, but group measures each by
    itself, so that contrast, say, is lost. Convolutions of the blocks and those that grow start as in the paper of
    2015, gates nearly open.
    :func:`segmentation_loss` is its loss.

    Args:
        input_size: channels of an image (C).
        classes: classes of a pixel (K).
        options: ``channels`` (of the finest level; each coarser one has twice as many), ``depth`` (levels below the
            finest), ``attention`` (whether there are gates), ``norm`` (none, batch, group), ``dropout`` (of whole
            channels of the coarsest level).

    Example:
        >>> import torch
        >>> net = UNet(1, 3, channels=4, depth=2)
        >>> net(torch.ones(2, 1, 13, 18)).shape
        torch.Size([2, 3, 13, 18])
        >>> [gate.shape for gate in net.gates(torch.ones(2, 1, 13, 18))]
        [torch.Size([2, 7, 9])]
    """

    _impl_class = _C.nn.UNet

    def __init__(self, input_size: int, classes: int, **options: Any) -> None:
        super().__init__(input_size, classes, **options)

    def gates(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Returns the gates of levels 1 to depth - 1, [B, H / 2^l, W / 2^l] rounded up, in (0, 1).

        The finest comes first; without ``attention`` there are none. In training this is a pass like any other, which
        moves the statistics of norm batch: call ``eval`` first.
        """
        self._check()
        return list(self._impl.gates(x))


class Boxes(NamedTuple):
    """Boxes of images that lie one after another: image b has boxes ``offsets[b]`` to ``offsets[b + 1] - 1``."""

    boxes: torch.Tensor
    """floating [L, 4]: left, top, right, bottom in pixels; a box of one pixel at the corner is 0, 0, 1, 1."""
    labels: torch.Tensor
    """int64 [L], the class of each."""
    offsets: torch.Tensor
    """int64 [B + 1]."""
    scores: torch.Tensor | None = None
    """floating [L] in (0, 1), of found boxes, the likeliest of an image first; None for true ones."""


class CenterTargets(NamedTuple):
    """What the maps of :class:`CenterHead` are to be."""

    heat: torch.Tensor
    """[B, K, h, w] in [0, 1], 1 at the cell of each centre."""
    cells: torch.Tensor
    """int64 [L, 3]: image, row and column of each centre."""
    sizes: torch.Tensor
    """[L, 2]: width and height in pixels."""
    shifts: torch.Tensor
    """[L, 2]: x and y from the corner of the cell to the centre, in cells, in [0, 1)."""


class CenterHead(Block):
    r"""Detection without anchors: an object is the centre of its box (Zhou et al., arXiv:1904.07850, 2019).

    .. math:: Y_{kyx} = \max_i \exp(-((x - x_i)^2 + (y - y_i)^2) / (2 \sigma_i^2)), \quad \sigma_i = (2 r_i + 1) / 6

    Called with features [B, D, h, w], one cell every ``stride`` pixels; returns maps [B, K + 4, h, w]: logits of the
    heat of K classes, width and height in pixels, offsets of x and y in cells. r is :func:`gaussian_radius` in cells.
    The paper has sizes in pixels, as here; its authors' code has them in cells. Gaussians are not cut off.

    Args:
        input_size: channels of the features (D).
        classes: classes of objects (K).
        options: ``hidden`` (width of the layer of 3 x 3 in each branch), ``stride`` (pixels from cell to cell),
            ``min_overlap`` (intersection over union within the radius, in (0, 1)), ``size_weight`` and
            ``offset_weight`` (in the loss).

    Example:
        >>> import torch
        >>> head = CenterHead(6, 2, stride=4)
        >>> maps = head(torch.ones(1, 6, 8, 8))
        >>> truth = Boxes(torch.tensor([[2.0, 3.0, 12.0, 9.0]]), torch.tensor([1]), torch.tensor([0, 1]))
        >>> maps.shape, head.loss(maps, truth).shape
        (torch.Size([1, 6, 8, 8]), torch.Size([]))
        >>> head.targets(truth, 8, 8).cells  # the centre is at x = 7, y = 6
        tensor([[0, 1, 1]])
    """

    _impl_class = _C.nn.CenterHead

    def __init__(self, input_size: int, classes: int, **options: Any) -> None:
        super().__init__(input_size, classes, **options)

    def targets(self, truth: Boxes, height: int, width: int) -> CenterTargets:
        """Returns what the maps of height x width cells are to be.

        Raises:
            ValueError: a box has no width or height, its centre lies outside of the image, or a label is no class.
        """
        self._check()
        return CenterTargets(*self._impl.targets(truth.boxes, truth.labels, truth.offsets, height, width))

    def loss(self, maps: torch.Tensor, truth: Boxes) -> torch.Tensor:
        r"""Returns the loss of ``maps``, what the call returned, over the N boxes of the batch.

        .. math::
            \frac{1}{N} \Big[ -\sum_{Y = 1} (1 - p)^2 \log p - \sum_{Y < 1} (1 - Y)^4 p^2 \log(1 - p)
            + \sum_i \lambda_s |s_i - \hat s_i| + \lambda_o |o_i - \hat o_i| \Big]
        """
        self._check()
        return self._impl.loss(maps, truth.boxes, truth.labels, truth.offsets)

    def decode(self, maps: torch.Tensor, top: int = 100, threshold: float = 0.1) -> Boxes:
        """Returns the boxes of the peaks of the heat: cells whose p none of the eight around them exceeds.

        At most ``top`` an image, with p of ``threshold`` at least, the likeliest first. Nothing else is suppressed, and
        boxes may reach over the edge of the image. Without gradients.
        """
        self._check()
        return Boxes(*self._impl.decode(maps, top, threshold))


def gaussian_radius(width: float, height: float, min_overlap: float = 0.7) -> float:
    """Returns the radius in which the corners of a box may lie so that it still overlaps.

    The smallest of the three cases of CornerNet (Law & Deng, ECCV 2018): the intersection over union of the moved box
    with a box of ``width`` x ``height`` is ``min_overlap`` at least. Its authors' code, which most others copy, divides
    by 2 where the roots ask for 2 a, and gets other radii.

    Raises:
        ValueError: a side is not positive, or ``min_overlap`` is not in (0, 1).

    Example:
        >>> round(gaussian_radius(10.0, 10.0, 0.64), 6)  # both corners inside by 1: 8 x 8 of 10 x 10
        1.0
    """
    return float(_C.nn.gaussian_radius(width, height, min_overlap))
