"""Models of images."""

from __future__ import annotations

from polyscene._model import Model


class ImageClassifier(Model):
    r"""Classes of images: an encoder with attention over positions, hidden layers, one logit a class.

    .. math::
        r = \text{encoder}((x - m) / sd) \; (+ e_s), \quad h = \text{hidden}(r), \quad
        \text{logits} = W_{(s)} h + b_{(s)}

    Returns logits [B, C] in the order of ``schema.classes``. The encoders are those of
    :class:`polyscene.nn.ImageEncoder`. m and sd are mean and standard deviation of the pixels of each channel over the
    first training rows that the model is prepared with (``pixel_mean``, ``pixel_std``); they are saved with it and stay
    when it trains on, since its weights were made for them. In training images are changed by
    :class:`polyscene.nn.ImageAugment` first, as far as its amounts are given. The loss is cross-entropy, with
    ``label_smoothing`` epsilon against (1 - epsilon) at the label and epsilon / C at every class (Szegedy et al., CVPR
    2016). ``explain`` gives ``attention`` [B, h', w'], the weight of each position of the last map. Other columns than
    the image are not read; a missing image is black.

    Tasks: image.

    Args:
        schema: classes and scenes of the data, with an image column.
        encoder: cnn or resnet.
        widths: channels of the maps, stage by stage; each later stage halves the map.
        layers: convolutions (cnn) or residual blocks (resnet) of a stage.
        kernel: side of the filters, an odd number.
        norm: normalisation of the maps: group, batch or none.
        pool: how positions of the last map become one vector: attention or mean.
        hidden: widths of the hidden layers behind the encoder.
        scene: what is special to a scene: none, embedding (a vector added to the image's) or heads (the output layer).
        dropout: dropout of the last map and of hidden layers.
        label_smoothing: share of the target that is spread over all classes, in [0, 1).
        shift: training: largest shift along each axis, in whole pixels.
        rotate: training: largest rotation to either side, in degrees.
        scale: training: largest change of size, a factor between 1 / (1 + scale) and 1 + scale.
        crop: training: largest share of each side that is cut off, in [0, 1).
        flip: training: probability of a mirror image, left for right.
        brightness: training: largest number added to all pixels (0 to 1) of an image, or taken away.
        contrast: training: largest relative change of the distance of pixels from their mean.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("image")
        >>> ImageClassifier(data.schema, widths=[4])(ps.testing.batch(data, 8)).shape, data.schema.classes
        (torch.Size([8, 3]), ['bar', 'cross', 'ring'])
    """

    _cpp_name = "image_classifier"
