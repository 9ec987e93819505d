"""Multi-scene models that adapt: weights, gates and routes that are made from the scene, the user or the row."""

from __future__ import annotations

from polyscene._model import Model


class M2M(Model):
    r"""M2M (Zhang et al., WSDM 2022, arXiv:2201.06814) with one task: the scene makes weights of attention and tower.

    .. math::
        a = \text{softmax}_k(v \cdot \text{meta}([E_k; T]; s)), \quad L = \sum_k a_k E_k, \quad
        L \leftarrow \text{leaky}(\text{meta}(L; s) + L), \quad \text{logit} = \text{MLP}(L)

    :math:`E_k` are experts on the fields of the row, which attend to each other before; meta is a layer with weights
    :math:`W(u_s)` and :math:`c(u_s)` that the vector of the scene makes, once for each scene. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row.
        scene_field: whether the scene is a field of its own in the input.
        history: how many past events of the user, the newest, are pooled into one more field (as in SVD++); 0 for none.
        interaction: what is added to the logit on the same embeddings: "none", "fm" or "cross".
        cross_layers: cross layers of interaction "cross".
        blocks: Transformer blocks over the fields of a row; 0: none.
        heads: heads of each block; must divide ``dim``.
        feedforward: width of the inner layer of each block.
        experts: experts that all scenes share (K).
        width: width of experts, scene and task vectors.
        attention_layers: layers of the attention's meta unit.
        tower_layers: layers of the meta tower.
        head: hidden widths of the head.
        norm: normalisation in experts and head: "none", "batch" or "layer".
        dropout: dropout of blocks and head.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = M2M(data.schema, experts=4)
        >>> model.explain(ps.testing.batch(data, 8))["attention"].shape
        torch.Size([8, 4])
    """

    _cpp_name = "m2m"


class AdaSparse(Model):
    r"""AdaSparse (Yang et al., CIKM 2022, arXiv:2206.13108): one network whose neurons each scene prunes for itself.

    .. math::
        v_l = \beta \, \sigma(\alpha P_l [t_s; h_l]), \qquad \pi_l = v_l \, 1[v_l > \epsilon], \qquad
        h_l \leftarrow \pi_l h_l

    in front of each layer l; a sparsity term keeps the share of pruned factors of each scene within bounds. The form
    "binary" is :math:`\pi = 1[\sigma(\alpha u) > \epsilon]`, "scaling" has no :math:`\alpha`. Training alone moves
    :math:`\alpha`, which is saved with the model. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row.
        scene_field: whether the scene is a field of its own in the input.
        history: how many past events of the user, the newest, are pooled into one more field (as in SVD++); 0 for none.
        interaction: what is added to the logit on the same embeddings: "none", "fm" or "cross".
        cross_layers: cross layers of interaction "cross".
        hidden: hidden widths of the network.
        form: "binary" (factors 0 or 1), "scaling", or "fusion" of both.
        epsilon: factors below are 0.
        beta: upper bound of the factors of "scaling" and "fusion".
        alpha: how steep the sigmoid of "binary" and "fusion" starts.
        growth: what every training step adds to alpha.
        sparsity: weight of the sparsity term; 0: none.
        least: share of pruned factors below which the sparsity term sets in.
        most: share of pruned factors above which the sparsity term sets in.
        norm: normalisation before each activation: "none", "batch" or "layer".
        dropout: dropout after each activation.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = AdaSparse(data.schema, hidden=[32, 16])
        >>> model.explain(ps.testing.batch(data, 8))["pruned"].shape  # in front of each of the three layers
        torch.Size([8, 3])
    """

    _cpp_name = "ada_sparse"


class AdaptDHM(Model):
    r"""AdaptDHM (Li et al., arXiv:2211.12105): learned clusters take the place of scenes.

    .. math::
        k^* = \text{argmax}_k \, \frac{x}{|x|} \cdot c_k, \qquad
        \text{logit} = \text{MLP}(x; \, W_0 * W_{k^*}, \, b_0 + b_{k^*})

    Centres :math:`c_k` have unit length, are saved with the model, and only training moves them: towards the mean of
    the rows that fall to them. A row costs one network, that of its cluster. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row.
        scene_field: whether the scene is a field of its own in the input.
        history: how many past events of the user, the newest, are pooled into one more field (as in SVD++); 0 for none.
        interaction: what is added to the logit on the same embeddings: "none", "fm" or "cross".
        cross_layers: cross layers of interaction "cross".
        clusters: clusters that take the place of scenes (K).
        hidden: hidden widths of each cluster's network.
        beta: share of a centre that one routing step leaves, in [0, 1].
        steps: routing steps of each training step.
        temperature: temperature of the routing's softmax. At 1, as the paper has it, unit vectors hardly differ, and
            the centres fall together.
        dropout: dropout after each activation.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = AdaptDHM(data.schema, clusters=4)
        >>> model.explain(ps.testing.batch(data, 8))["similarity"].shape
        torch.Size([8, 4])
    """

    _cpp_name = "adapt_dhm"


class EPNet(Model):
    r"""Embeddings that the scene gates: the EPNet of PEPNet (Chang et al., KDD 2023).

    .. math::
        \delta = 2 \sigma(W' \, \text{relu}(W [c_s; \text{sg}(x)] + b) + b'), \qquad
        \text{logit} = \text{MLP}(\delta \odot x)

    sg stops the gradient. The scene acts through its embedding c alone; the predictor is shared. W' and b' start at 0,
    and so the gate at 1. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        dim: width of the embeddings, those of scenes (c) as well.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row.
        scene_field: whether the scene is a field of its own in the input.
        history: how many past events of the user, the newest, are pooled into one more field (as in SVD++); 0 for none.
        interaction: what is added to the logit on the same embeddings: "none", "fm" or "cross".
        cross_layers: cross layers of interaction "cross".
        gate: hidden width of the gate; 0: that of the input.
        tower: hidden widths of the predictor.
        norm: normalisation before each activation of the predictor: "none", "batch" or "layer".
        dropout: dropout after each activation of the predictor.
        reference: a linear predictor whatever ``tower`` says, as the public reference has it, which hands the widths to
            another argument.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = EPNet(data.schema)
        >>> bool((model.explain(ps.testing.batch(data, 8))["gate"] == 1).all())
        True
    """

    _cpp_name = "ep_net"


class PPNet(Model):
    r"""Towers whose layers are scaled for each user and item: the PPNet of PEPNet (Chang et al., KDD 2023).

    .. math::
        \delta_{s,l} &= 2 \sigma(W'_{s,l} \, \text{relu}(W_{s,l} [\text{prior}; \text{sg}(\text{rest})] + b_{s,l})
            + b'_{s,l}) \\
        h_0 &= x, \qquad h_l = \delta_{s,l} \odot \text{relu}(\text{norm}(V_{s,l} h_{l-1})), \qquad
        \text{logit} = v_s \cdot h_L

    sg stops the gradient; prior holds the embeddings of user and item, rest what else x has. W' and b' start at 0, and
    so the gates at 1. In the public reference the towers read the rest without a gradient as well, so that its tables
    stay as they were drawn; here every table learns. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row.
        scene_field: whether the scene is a field of its own in the input.
        history: how many past events of the user, the newest, are pooled into one more field (as in SVD++); 0 for none.
        interaction: what is added to the logit on the same embeddings: "none", "fm" or "cross".
        cross_layers: cross layers of interaction "cross".
        prior: categorical fields that make the prior, such as user, item and author; []: user and item.
        gate: hidden width of each gate; 0: that of the layer it scales.
        tower: hidden widths of each tower.
        norm: normalisation before each activation of the towers: "none", "batch" or "layer".
        dropout: dropout after each activation of the towers.

    Raises:
        ValueError: the data has neither user nor item and ``prior`` names no field, or it names an unknown one.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = PPNet(data.schema, prior=["user_id", "item_id", "genre"], tower=[16, 8])
        >>> model.explain(ps.testing.batch(data, 8))["gates"].shape
        torch.Size([8, 24])
    """

    _cpp_name = "pp_net"


class HAMUR(Model):
    r"""Hyper adapters (HAMUR: Li et al., CIKM 2023): a backbone of each scene, adapters generated for each row.

    .. math::
        I &= \text{hyper}(x), \qquad h \leftarrow \text{relu}(\text{norm}(W_{s,l} h)) \\
        a &= \sigma(((h U_1) I) V_1 + b), \qquad u = ((a U_2) I) V_2, \qquad
        h \leftarrow h + \gamma \odot \frac{u - \text{mean}_s}{\sqrt{\text{var}_s + \epsilon}} + \beta

    The generated matrices U I V are never made. Mean and variance are of the rows of the scene, and running ones in
    evaluation: the public reference takes those of the batch that is scored. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row.
        scene_field: whether the scene is a field of its own in the input.
        history: how many past events of the user, the newest, are pooled into one more field (as in SVD++); 0 for none.
        interaction: what is added to the logit on the same embeddings: "none", "fm" or "cross".
        cross_layers: cross layers of interaction "cross".
        backbone: hidden widths of the backbone of each scene.
        adapters: how many of the last hidden layers an adapter follows.
        adapter: inner width of each adapter.
        rank: rank of the generated matrices: I is rank x rank.
        hyper: hidden widths of the hyper-network.
        norm: normalisation before each activation: "none", "batch" or "layer".
        dropout: dropout after each activation.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = HAMUR(data.schema, backbone=[32, 16], adapter=8, rank=5)
        >>> model.explain(ps.testing.batch(data, 8))["core"].shape
        torch.Size([8, 5, 5])
    """

    _cpp_name = "hamur"
