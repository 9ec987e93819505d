"""Encoders and changes of images."""

from __future__ import annotations

from typing import Any

import torch

from polyscene import _C
from polyscene.nn._block import Attended, Block


class ImageEncoder(Block):
    r"""Images to one vector an image, by additive attention over the positions of a map of states.

    .. math:: a_p = \text{softmax}_p(c \cdot \tanh(W h_p + b)), \quad out = \sum_p a_p h_p

    Called with x [B, C, h, w]; returns [B, H]. The map is that of convolutions with ReLU, between whose stages the
    largest of each 2 x 2 positions is kept (``cnn``), or of a residual network of basic blocks with "B" shortcuts (He
    et al., CVPR 2016; ``resnet``). The attention is that of Yang et al. (NAACL 2016). ``norm`` is "group" (Wu and He,
    ECCV 2018, gcd(8, channels) groups, or one where these would be single channels: an image knows nothing of the
    others of its batch, and no statistics of one scene stay behind for another), "batch" (Ioffe and Szegedy, ICML 2015)
    or "none".

    Args:
        channels: channels of an image (C).
        options: ``kind`` (cnn, resnet), ``widths`` (channels of the maps, stage by stage; the last is H), ``layers``
            (convolutions or residual blocks of a stage), ``kernel``, ``norm`` (group, batch, none), ``pool``
            (attention, mean), ``dropout``.

    Example:
        >>> import torch
        >>> encoder = ImageEncoder(1, widths=[4, 8])
        >>> found = encoder.attend(torch.ones(2, 1, 12, 10))
        >>> found.output.shape, found.weights.shape
        (torch.Size([2, 8]), torch.Size([2, 6, 5]))
    """

    _impl_class = _C.nn.ImageEncoder

    def __init__(self, channels: int, **options: Any) -> None:
        super().__init__(channels, **options)

    def attend(self, x: torch.Tensor) -> Attended:
        """Returns the vectors [B, H] and the weights of the positions [B, h', w'], which add up to 1 in each image."""
        self._check()
        return Attended(*self._impl.attend(x))

    def map(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the last map of states, [B, H, h', w']."""
        self._check()
        return self._impl.map(x)

    @property
    def output_size(self) -> int:
        """Width of an image's vector (H)."""
        return int(self._impl.output_size)


class ImageAugment(Block):
    r"""Images as they might have been, drawn anew at each call in training; as they are in evaluation.

    .. math::
        x'(p) = x(A (p - d) + o), \quad A = \tfrac{c}{z} R(\text{angle}), \qquad
        x'' = \text{clamp}((1 + u_c) (x' - \bar x') + \bar x' + u_b, 0, 1)

    Called with x [B, C, h, w] of values in [0, 1]; returns the same shape. p counts pixels from the centre, d is a
    drawn whole shift, z between 1 / (1 + scale) and 1 + scale, c between 1 - crop and 1 with o a place for what is
    left. Between pixels x is bilinear, outside of the image it is 0. Amounts are 0 unless given, which leaves a change
    out to the last bit. Draws come from torch's generator, ten numbers an image whatever the amounts (none where all
    are 0).

    Args:
        options: ``shift`` (whole pixels along each axis), ``rotate`` (degrees to either side), ``scale``, ``crop``
            (share of each side, in [0, 1)), ``flip`` (probability of a mirror image), ``brightness`` (added),
            ``contrast`` (relative, in [0, 1]): the largest of each.

    Example:
        >>> import torch
        >>> x = torch.rand(2, 1, 8, 8)
        >>> torch.equal(ImageAugment()(x), x), torch.equal(ImageAugment(shift=2).eval()(x), x)
        (True, True)
    """

    _impl_class = _C.nn.ImageAugment

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
