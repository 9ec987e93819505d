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
