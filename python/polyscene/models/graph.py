"""Models of one scene that walk the graph of users and items with weights of their own."""

from __future__ import annotations

from polyscene._model import Model


class NGCF(Model):
    r"""Neural graph collaborative filtering (Wang et al., SIGIR 2019) on the training pairs of all scenes together.

    .. math::
        S = D^{-1/2} A D^{-1/2} X, \qquad X' = \text{drop}(\text{lrelu}((X + S) W_1 + b_1 + (X \odot S) W_2 + b_2))

        x = [X_0; X_1 / |X_1|; \dots; X_K / |X_K|], \qquad s(u, i) = x_u \cdot x_i

    The slope is 0.2. ``form="authors"``: :math:`S = D^{-1} (A + I) X` and
    :math:`X' = \text{drop}(\text{lrelu}(S W_1 + b_1) + \text{lrelu}((X \odot S) W_2 + b_2))`. ``form="recbole"``: as
    the paper, but a layer reads the last one's normalised rows. Each step walks the whole graph. Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the factors.
        loss: "bpr"; "bce" (1 for a row's item, 0 for the drawn ones); "mse".
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the initial factors of the rows of a batch, half the sum of squares for each row.
        layers: how often the graph is walked (K).
        form: "paper", "authors" or "recbole", see above.
        dropout: share of the features that each layer drops in training, in [0, 1).

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = NGCF(data.schema, dim=8)
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "ngcf"


class GCN(Model):
    r"""Graph convolutions (Kipf and Welling, ICLR 2017) over the training pairs of all scenes together.

    .. math:: X_{k+1} = \text{lrelu}(D^{-1/2} (A + I) D^{-1/2} \, \text{drop}(X_k) W + b), \qquad
        s(u, i) = x_u \cdot x_i

    The slope is 0.2, the last layer has no activation, and D counts the loops. Nodes without edges gather nothing.
    Each step walks the whole graph. Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the factors.
        loss: "bpr"; "bce" (1 for a row's item, 0 for the drawn ones); "mse".
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the initial factors of the rows of a batch, half the sum of squares for each row.
        layers: how often the graph is walked (K).
        combine: "concat" for the factors and all layers side by side, "last" for the last layer alone.
        dropout: share of the features that each layer reads that is dropped in training, in [0, 1).

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = GCN(data.schema, dim=8)
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "gcn"


class GAT(Model):
    r"""Graph attention (Velickovic et al., ICLR 2018) over the training pairs of all scenes together.

    .. math::
        h = X W, \qquad p_{ij} = \text{softmax}_{j \in N(i) \cup \{i\}} \, \text{lrelu}(a \cdot h_i + c \cdot h_j)

        X'_i = \text{elu}\Big(\sum_j \text{drop}(p_{ij}) h_j + b\Big), \qquad s(u, i) = x_u \cdot x_i

    Heads lie side by side; the last layer has one head and no elu. The slope is 0.2. Nodes without edges gather
    nothing. Each step walks the whole graph and keeps a number for each edge, head and layer. Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the factors.
        loss: "bpr"; "bce" (1 for a row's item, 0 for the drawn ones); "mse".
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the initial factors of the rows of a batch, half the sum of squares for each row.
        layers: how often the graph is walked (K).
        heads: heads of all layers but the last, a divisor of ``dim`` (H).
        combine: "concat" for the factors and all layers side by side, "last" for the last layer alone.
        dropout: share of the edges that each head drops in training, in [0, 1).

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = GAT(data.schema, dim=8)
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "gat"
