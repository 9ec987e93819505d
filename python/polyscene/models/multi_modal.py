"""Models of several modalities."""

from __future__ import annotations

from polyscene._model import Model


class MultiModal(Model):
    r"""Classes from all that a row has: ids, texts and images, one vector each, fused by :class:`polyscene.nn.Fusion`.

    .. math::
        x_{ids} = [e_1; \ldots; e_{F+L}], \quad x_{text} = \text{encoder}(E_{w_1}, \ldots, E_{w_n}), \quad
        x_{image} = \text{encoder}(2 \cdot \text{pixels} - 1)

        r = \text{fusion}(x) \; (+ e_s), \quad h = \text{hidden}(r), \quad \text{logits} = W_{(s)} h + b_{(s)}

    Returns logits [B, C] in the order of ``schema.classes``. The data decide which modalities there are: ids, that is
    all categorical fields and multi-hot columns together (of a multi-hot column the mean of its vectors), the text
    column, and each image column; of these any will do. A row lacks the ids when all their cells are empty, a text
    without words and an image that is missing; an id that training did not know is there. What a row lacks changes
    nothing. Pixels are in [0, 1]. The loss is cross-entropy, with ``label_smoothing`` epsilon against (1 - epsilon) at
    the label and epsilon / C at every class (Szegedy et al., CVPR 2016). Numeric columns and sequences are not read.

    ``explain`` gives ``weights`` [B, M], what each modality weighs in the fusion, in the order ids, text, images;
    ``present`` (bool [B, M]); with a text ``attention`` [B, T] over its words and ``words`` [B], their number; and
    ``attention_<column>`` [B, h', w'] over the positions of each image's last map.

    Tasks: text, image.

    Args:
        schema: vocabularies, classes and scenes of the data.
        fusion: concat, gated or cross_attention.
        fused: width of the fused vector.
        fusion_heads: cross_attention: heads; must divide ``fused``.
        text: encoder of texts: mean, bilstm, cnn or transformer.
        dim: width of the vectors of words and of ids.
        width: width of the text encoder's states; mean has that of the word vectors.
        layers: layers of the text encoder.
        kernel: text cnn: words that a filter spans, an odd number.
        heads: text transformer: heads of each attention.
        image: encoder of images: cnn or resnet.
        image_widths: channels of the image encoder's maps, stage by stage; each later stage halves the map.
        hidden: widths of the hidden layers behind the fusion.
        scene: what is special to a scene: none, embedding (a vector added to the fused one) or heads (the output
            layer).
        dropout: dropout of word vectors, of the encoders, of the fused vector and of hidden layers.
        label_smoothing: share of the target that is spread over all classes, in [0, 1).
        init_std: standard deviation of the initial vectors of words and ids.

    Example:
        >>> import polyscene as ps
        >>> import pyarrow as pa
        >>> import torch
        >>> rows = {"text": ["good film", "bad film", "", "bad"], "year": ["a", None, "b", "b"]}
        >>> rows |= {"label": ["+", "-", "+", "-"], "scene": ["s"] * 4}
        >>> table = pa.table(rows)
        >>> data = ps.read_table(train=table, test=table, task="text", text=["text"], categorical=["year"])
        >>> model = MultiModal(data.schema).eval()
        >>> model.explain(data.test.batch(torch.arange(3)))["present"]  # ids, text
        tensor([[ True,  True],
                [False,  True],
                [ True, False]])
    """

    _cpp_name = "multi_modal"
