"""Models of texts."""

from __future__ import annotations

from polyscene._model import Model


class TextClassifier(Model):
    r"""Classes of texts: word vectors, an encoder with attention over words, hidden layers, one logit a class.

    .. math::
        r = \text{encoder}(E_{w_1}, \ldots, E_{w_n}) \; (+ e_s), \quad h = \text{hidden}(r), \quad
        \text{logits} = W_{(s)} h + b_{(s)}

    Returns logits [B, C] in the order of ``schema.classes``. The encoders are those of
    :class:`polyscene.nn.TextEncoder`. The loss is cross-entropy, with ``label_smoothing`` epsilon against
    (1 - epsilon) at the label and epsilon / C at every class (Szegedy et al., CVPR 2016). ``explain`` gives
    ``attention`` [B, T], the weight of each word, and ``words`` [B], their number. Other columns than the text are not
    read; an empty text is the vector 0.

    Tasks: text.

    Args:
        schema: vocabulary, classes and scenes of the data, with a text column.
        encoder: mean, bilstm, cnn or transformer.
        dim: width of the word vectors.
        width: width of the encoder's states; encoder mean has that of the word vectors.
        layers: layers of the encoder.
        kernel: cnn: words that a filter spans, an odd number.
        heads: transformer: heads of each attention.
        hidden: widths of the hidden layers behind the encoder.
        scene: what is special to a scene: none, embedding (a vector added to the text's) or heads (the output layer).
        dropout: dropout of word vectors, states and hidden layers.
        label_smoothing: share of the target that is spread over all classes, in [0, 1).
        init_std: standard deviation of the initial word vectors.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("text")
        >>> TextClassifier(data.schema, encoder="mean")(ps.testing.batch(data, 8)).shape, data.schema.classes
        (torch.Size([8, 3]), ['bad', 'fair', 'good'])
    """

    _cpp_name = "text_classifier"
