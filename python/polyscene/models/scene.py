"""Multi-scene models that share: one network for many scenes, with experts and towers of their own."""

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
        history: how many past events of the user, the newest, are pooled into one more field (as in SVD++); 0 for none.
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
        history: how many past events of the user, the newest, are pooled into one more field (as in SVD++); 0 for none.
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


class PLE(Model):
    r"""Progressive layered extraction (Tang et al., RecSys 2020): experts of each scene beside shared ones, in levels.

    .. math:: z_s = \sum_j \text{softmax}(G_s x_s)_j [\text{MLP}_{s,j}(x_s); \text{MLP}_j(x_0)]_j, \qquad
        \text{logit} = \text{MLP}_s(z_s)

    In all levels but the last a shared gate mixes the experts of all scenes into the next :math:`x_0`. In the last a
    row meets the experts of its own scene and the shared ones alone. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row.
        scene_field: whether the scene is a field of its own in the input.
        history: how many past events of the user, the newest, are pooled into one more field (as in SVD++); 0 for none.
        interaction: what is added to the logit on the same embeddings: "none", "fm" or "cross".
        cross_layers: cross layers of interaction "cross".
        levels: extraction levels.
        specific: experts of each scene in each level.
        shared: experts that all scenes share in each level.
        expert: hidden widths of each expert.
        tower: hidden widths of each tower.
        norm: normalisation before each activation: "none", "batch" or "layer".
        dropout: dropout after each activation.
        reference: gates with batch norm in front of the softmax, as the public reference has them.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = PLE(data.schema, levels=2, specific=2, shared=1)
        >>> model.explain(ps.testing.batch(data, 8))["gates"].shape
        torch.Size([8, 3])
    """

    _cpp_name = "ple"


class STAR(Model):
    r"""Star topology adaptive recommender (Sheng et al., CIKM 2021): weights are products of shared and scene ones.

    .. math:: x' = (\gamma * \gamma_s) * \frac{x - \mu_s}{\sqrt{\sigma_s^2 + \epsilon}} + \beta + \beta_s, \qquad
        h \leftarrow \text{relu}((W * W_s) h + b + b_s), \qquad \text{logit} = h_L + \text{MLP}([x; e_s])

    Training moves the statistics of the scenes that a batch holds, evaluation reads them. ``scene_weight`` and
    ``scene_scale`` hold :math:`W_s - 1` and :math:`\gamma_s - 1`, so that weight decay draws scenes to the shared
    network. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row.
        scene_field: whether the scene is a field of its own in the input.
        history: how many past events of the user, the newest, are pooled into one more field (as in SVD++); 0 for none.
        interaction: what is added to the logit on the same embeddings: "none", "fm" or "cross".
        cross_layers: cross layers of interaction "cross".
        hidden: hidden widths of the star network.
        auxiliary: hidden widths of the auxiliary network.
        norm: normalisation before each activation of both networks: "none" or "batch".
        dropout: dropout after each activation.
        reference: the public reference's form: statistics of the whole batch, batch norm and relu on every layer and on
            the output, scene weights that start at random, an auxiliary network that does not see the scene.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = STAR(data.schema, hidden=[32, 16])
        >>> sorted(model.explain(ps.testing.batch(data, 8)))
        ['auxiliary', 'body', 'star']
    """

    _cpp_name = "star"


class SARNet(Model):
    r"""Scenario-aware ranking network (Shen et al., CIKM 2021): a linear map of each scene, then debias experts.

    .. math:: t = w_s * x + b_s, \qquad \text{logit} = \text{MLP}\Big(f \sum_j \text{softmax}(G t)_j O_j(t)\Big)

    O are linear experts behind a norm, some shared, some of the scene. ``fairness`` is an exponent p > 0 in
    :math:`f = \min(1, \text{share of the item in all scenes} / \text{its share in the scene})^p`, shares of training
    rows: a stand-in for the paper's coefficient, which needs a log of manual exposure. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row.
        scene_field: whether the scene is a field of its own in the input.
        history: how many past events of the user, the newest, are pooled into one more field (as in SVD++); 0 for none.
        interaction: what is added to the logit on the same embeddings: "none", "fm" or "cross".
        cross_layers: cross layers of interaction "cross".
        shared: experts that all scenes share.
        specific: experts of each scene.
        expert: width of an expert.
        head: hidden widths of the head.
        norm: normalisation before each activation of the head: "none", "batch" or "layer".
        dropout: dropout after each activation of the head.
        attention: whether scene and item attend to the user's events in all scenes; data without a user or an item
            column have none.
        max_length: how many past events attention follows, the newest.
        fairness: exponent of the fairness coefficient of pushed items; 0 for none.
        reference: scales w start by Xavier and shifts b in U(0, 1), as in the public reference, not at 1 and 0.

    Raises:
        ValueError: an option out of range, or ``fairness`` or ``history`` without a user and an item column.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = SARNet(data.schema, attention=True, max_length=5)
        >>> model.explain(ps.testing.batch(data, 8, history=5))["attention"].shape
        torch.Size([8, 2, 5])
    """

    _cpp_name = "sar_net"


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
        history: how many past events of the user, the newest, are pooled into one more field (as in SVD++); 0 for none.
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
