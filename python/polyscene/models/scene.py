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


class M3oE(Model):
    r"""Three mixtures of experts (M3oE: Zhang et al., SIGIR 2024), for several scenes and one task.

    .. math::
        z &= \text{MLP}((W \odot W_s) x + b + b_s) + \text{MLP}(x), \qquad
        u = \sum_k \text{softmax}(G_s \, \text{sg}(z))_k f_k(z) \\
        v &= \omega f_s(z) + \frac{1 - \omega}{S - 1} \sum_{j \neq s} f_j(z), \qquad t = \tau f_{\text{task}}(z), \qquad
        \text{logit} = \text{MLP}_s(u + \alpha v + \beta t)

    The balances omega (``scene_own``), alpha (``scene_share``), tau (``task_own``) and beta (``task_share``) are
    sigmoids of one parameter each and learn with the rest; the paper trains them apart, on other rows. The expert of a
    scene also learns from the rows of others. With one scene, or one task, there are no others to add. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row.
        scene_field: whether the scene is a field of its own in the input.
        interaction: what is added to the logit on the same embeddings: "none", "fm" or "cross".
        cross_layers: cross layers of interaction "cross".
        star: width of the star layer.
        width: width of what the experts read (z).
        experts: experts that all scenes share (K).
        expert: hidden widths of each expert.
        tower: hidden widths of each tower.
        norm: normalisation before each activation: "none", "batch" or "layer".
        dropout: dropout after each activation.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = M3oE(data.schema, experts=2)
        >>> model.explain(ps.testing.batch(data, 8))["balance"].shape  # experts of three scenes and of the task
        torch.Size([8, 4])
    """

    _cpp_name = "m3oe"
