"""Single-scene click models: one network for the rows of all scenes, for which the scene is a field like any other."""

from __future__ import annotations

from polyscene._model import Model


class FactorizationMachine(Model):
    r"""Second-order factorisation machine (Rendle, ICDM 2010).

    .. math:: \text{logit} = b + \sum_f w_f + u \cdot z + \sum_{f < g} v_f \cdot v_g

    Numeric columns are fields whose vector is their value times a vector of their own. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row; half of it on first-order weights.
        scene_field: whether the scene is one more field; if not, scenes are not known.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = FactorizationMachine(data.schema, dim=8)
        >>> sorted(model.explain(ps.testing.batch(data, 8)))
        ['body', 'linear', 'pairs']
    """

    _cpp_name = "factorization_machine"


class WideDeep(Model):
    r"""Wide & Deep (Cheng et al., DLRS 2016): a linear part and a deep network.

    .. math:: \text{logit} = b + \sum_f w_f + u \cdot z + \text{MLP}(x)

    The wide part is of first order; hand-made crosses are columns of the data. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row; half of it on first-order weights.
        scene_field: whether the scene is one more field; if not, scenes are not known.
        hidden: hidden widths of the deep part.
        norm: normalisation before each activation: "none", "batch" or "layer".
        dropout: dropout after each activation.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = WideDeep(data.schema, hidden=[32])
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "wide_deep"


class DeepFM(Model):
    r"""DeepFM (Guo et al., IJCAI 2017): a factorisation machine and a deep network on the same embeddings.

    .. math:: \text{logit} = b + \sum_f w_f + u \cdot z + \sum_{f < g} v_f \cdot v_g + \text{MLP}(x)

    Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row; half of it on first-order weights.
        scene_field: whether the scene is one more field; if not, scenes are not known.
        hidden: hidden widths of the deep part.
        norm: normalisation before each activation: "none", "batch" or "layer".
        dropout: dropout after each activation.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = DeepFM(data.schema, hidden=[32, 32])
        >>> model.explain(ps.testing.batch(data, 8))["deep"].shape
        torch.Size([8])
    """

    _cpp_name = "deep_fm"


class DCNv2(Model):
    r"""Deep & cross network, version 2 (Wang et al., WWW 2021).

    .. math::
        x_{l+1} = x_0 \odot (W_l x_l + b_l) + x_l, \qquad \text{logit} = \text{MLP}(x_L)
        \quad\text{or}\quad w \cdot x_L + \text{MLP}(x_0)

    With a rank :math:`W_l = U_l V_l^T`; with experts a sum of such matrices, with tanh in between and weighted by a
    softmax of :math:`G_l x_l`. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row.
        scene_field: whether the scene is one more field; if not, scenes are not known.
        cross_layers: cross layers (L).
        rank: rank of each cross matrix; 0: full.
        experts: low-rank experts of each cross layer; more than one needs a rank.
        structure: "stacked": the network reads what the cross layers make; "parallel": both read the input.
        hidden: hidden widths of the deep part; none and stacked: cross layers alone.
        norm: normalisation before each activation: "none", "batch" or "layer".
        dropout: dropout after each activation.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = DCNv2(data.schema, rank=4, experts=2, structure="parallel", hidden=[32])
        >>> model.explain(ps.testing.batch(data, 8))["gates"].shape
        torch.Size([8, 3, 2])
    """

    _cpp_name = "dcn_v2"


class XDeepFM(Model):
    r"""xDeepFM (Lian et al., KDD 2018): a compressed interaction network, a deep network and a linear part.

    .. math::
        X^k_h = \text{act}\Big(\sum_{i, f} W^k_{hif} \, X^{k-1}_i \odot X^0_f\Big), \qquad
        \text{logit} = b + \sum_f w_f + u \cdot z + o \cdot \Big[\sum_d X^1; \dots; \sum_d X^L\Big] + \text{MLP}(x)

    Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row; half of it on first-order weights.
        scene_field: whether the scene is one more field; if not, scenes are not known.
        cin: feature maps of each layer of the compressed interaction network.
        activation: activation between its layers: "identity", "relu", ...
        hidden: hidden widths of the deep part.
        norm: normalisation before each activation: "none", "batch" or "layer".
        dropout: dropout after each activation.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = XDeepFM(data.schema, cin=[8, 8])
        >>> sorted(model.explain(ps.testing.batch(data, 8)))
        ['body', 'cin', 'deep', 'linear']
    """

    _cpp_name = "xdeepfm"


class AutoInt(Model):
    r"""AutoInt (Song et al., CIKM 2019): multi-head self-attention over the fields; with ``hidden`` AutoInt+.

    .. math::
        a^h_{fg} = \text{softmax}_g(Q_h e_f \cdot K_h e_g), \qquad
        e'_f = \text{relu}\Big(\Big[\sum_g a^1_{fg} V_1 e_g; \dots\Big] + R e_f\Big), \qquad
        \text{logit} = w \cdot [e_1; \dots; e_F] + b + \text{MLP}(x)

    Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row.
        scene_field: whether the scene is one more field; if not, scenes are not known.
        layers: layers of attention.
        heads: heads of each layer; must divide the width.
        width: width of all heads together.
        hidden: hidden widths of a deep part beside the attention; none: no deep part.
        norm: normalisation before each activation of the deep part: "none", "batch" or "layer".
        dropout: dropout after each activation of the deep part.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = AutoInt(data.schema, layers=1, heads=4)
        >>> model.explain(ps.testing.batch(data, 8))["attention0"].shape  # four fields, a list, the scene, two numbers
        torch.Size([8, 4, 8, 8])
    """

    _cpp_name = "autoint"
