"""Multi-scene models: one network for many scenes, each with parts of its own."""

from __future__ import annotations

from polyscene._model import Model


class SharedBottom(Model):
    r"""Shared bottom (Caruana, "Multitask learning", Machine Learning 28, 1997): one network, a tower of each scene.

    .. math:: h = \text{MLP}(x), \qquad \text{logit} = \text{MLP}_s(h)

    A tower sees the rows of its scene alone, and so do the statistics of its batch norm. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row.
        scene_field: whether the scene is a field of its own in the input.
        interaction: what is added to the logit on the same embeddings: "none", "fm" for biases and products of pairs of
            fields, or "cross" for cross layers.
        cross_layers: cross layers of interaction "cross".
        bottom: hidden widths of the bottom.
        tower: hidden widths of each tower.
        norm: normalisation before each activation: "none", "batch" or "layer".
        dropout: dropout after each activation.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = SharedBottom(data.schema, bottom=[32], interaction="fm")
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "shared_bottom"


class MMoE(Model):
    r"""Multi-gate mixture of experts (Ma et al., KDD 2018): shared experts, mixed by a gate of each scene.

    .. math:: z = \sum_k \text{softmax}(W_s x)_k \, \text{MLP}_k(x), \qquad \text{logit} = \text{MLP}_s(z)

    Gates are linear without bias, as in the paper. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row.
        scene_field: whether the scene is a field of its own in the input.
        interaction: what is added to the logit on the same embeddings: "none", "fm" or "cross".
        cross_layers: cross layers of interaction "cross".
        experts: experts that all scenes share (K); 0: as many as scenes.
        expert: hidden widths of each expert.
        tower: hidden widths of each tower.
        norm: normalisation before each activation: "none", "batch" or "layer".
        dropout: dropout after each activation.
        reference: gates with batch norm in front of the softmax, as the public reference has them.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = MMoE(data.schema, experts=4)
        >>> model.explain(ps.testing.batch(data, 8))["gates"].shape
        torch.Size([8, 4])
    """

    _cpp_name = "mmoe"


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
