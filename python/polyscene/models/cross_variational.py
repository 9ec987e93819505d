"""Cross-domain models that contrast what scenes say of a user."""

from __future__ import annotations

from polyscene._model import Model


class CDRIB(Model):
    r"""CDRIB (Cao et al., ICDE 2022) over any number of scenes: what one scene says of a user must predict the others.

    .. math::
        s(u, i, s) = \frac{1}{|P|} \sum_{s' \in P} e_{s'}(u) \cdot e_s(i), \qquad
        e_s = [x_1; \dots; x_{L-1}; z], \qquad z = \mu + \epsilon \sigma \text{ in training, else } \mu

        L = L_{BCE} + w \sum_s (\beta \, KL(z^s_u \| p) + KL(z^s_i \| p)) + \frac{c}{2S} L_{con}, \qquad p = N(0, 1)

        L_{con} = \overline{[m - d(e_a(u), e_b(u)) + d(e_a(u), e_b(v))]_+}
        + \overline{[m - d(e_a(u), e_b(u)) + d(e_a(w), e_b(u))]_+}

    P are the other scenes with training rows of u, or s itself without any; e_s are variational encoders that walk the
    graph of scene s there and back, with the outputs of all layers side by side; d is the sigmoid of an MLP. With two
    scenes it is the paper's exchange in both directions, and a user who is new in a scene is ranked by the other. The
    divergences are added over users (items) and divided by the number of scores of an epoch, as the evidence bound has
    them; the authors average them over users, which weighs them tens of times, and keep :math:`\sigma` above 1.1:
    ``form="authors", divergence=1, layers=3, dropout=0.3, init_std=1`` (their weight decay of 5e-4 is the trainer's).
    Who has no training rows anywhere scores 0. Without shared users each scene trains alone and nothing is contrasted.
    A step encodes all graphs once: large batches pay. Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the factors.
        loss: "bpr"; "bce" (1 for a row's item, 0 for the drawn ones); "mse".
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the tables' rows of a batch, half the sum of squares for each row.
        layers: how often a scene's graph is walked there and back (L).
        beta: weight of the users' divergences beside the items' (:math:`\beta`).
        divergence: weight of all Kullback-Leibler divergences (w before it is divided).
        form: "paper" or "authors", see above.
        scored: how a user with training rows in the scene and elsewhere is ranked: by "others"; by the scene's "own"
            encoder; by the "mean" of all.
        trained: how such a user is read in training: by "others", as in the paper; by the "mean" of all, the scene's
            own encoder too, which goes together with ``scored="mean"``. The paper serves new users and never trains a
            known one's own encoder for their own scene; "mean" in both reads their own rows as well.
        contrast: weight of the contrast between the scenes of a user (c); 0 for none.
        contrast_loss: "hinge", or "bce" (1 for a user's own pair, 0 for strange ones).
        margin: by how much the hinge wants a user's own pair above a strange one (m).
        contrasted: pairs of scenes of one user that each step contrasts.
        dropout: share of what each layer reads that is dropped in training, in [0, 1).
        init_std: standard deviation of the initial tables.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = CDRIB(data.schema, dim=8)
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "cdrib"


class UniCDR(Model):
    r"""UniCDR (Cao et al., WSDM 2023) for any number of scenes: a user is what their items say here and elsewhere.

    .. math::
        s(u, i, s) = (p + q) \cdot Q_{is}, \qquad p = a\, x_{us} + (1 - a) W_s\, g(x_{us}, C_{us} \setminus i), \qquad
        q = a\, x_u + (1 - a) W g(x_u, \cup_{t \ne s} C_{ut})

        g(x, C) = \sum_{j \in C} w_j Q_j, \qquad w = 1 / |C| \text{ or } \text{softmax}_j(x \cdot \tanh(A Q_j + b))
        \text{ or } \text{softmax}_j(\hat p_j)

        L = (1 - c) \left[BCE(s, 1) + \overline{BCE(s^-, 0)}\right]
        + c \left[BCE(p_u^T M_s q_u + m_s, 1) + BCE(p_v^T M_s q_u + m_s, 0)\right]

    C_us are the training items of u in s. The shared part q reads those of the *other* scenes, in training and in
    scoring, so that a user without rows in a scene is ranked by q alone: their own vector of that scene does not count,
    nor does any vector without training rows. v is the next user of the batch in the scene. In training a context holds
    at most ``max_length`` items, sampled from what a mask of 10 % leaves; in scoring at most ``scored_length``, evenly
    spread. The item that is scored never belongs to its own context: the authors' code tries to remove it and fails.
    :math:`\hat p_j` are the positive parts of :math:`x_C B`, how well the other items of the context predict j by EASE
    (the 100 greatest weights of each item), 0 below ``prior_floor``, over their sum; the authors' contexts also hold
    items that EASE predicts, which the user never met. Their masked softmax gives padding a weight; here it has none.
    With more than two scenes q reads one sample of the others together, the paper one of each. Scenes may share items
    as well, but their factors are apart: the paper's form for shared items alone is not there. Without shared users q
    is a second vector of the user. The defaults are the authors'; where users have few rows they overfit, and
    ``id_share=0.2, contrast=0.2, dropout=0.7`` did better on validation rows. Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the factors.
        loss: "bce" (a row's item weighs as much as all drawn ones); "bpr"; "mse".
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the vectors of users and items that a batch looks up, half the sum of squares for each row.
        aggregator: how items are weighed: "mean"; "attention" of the user's own vector; "similarity" by EASE.
        max_length: items of a context in training, at most.
        scored_length: items of a context in scoring, at most.
        mask: share of a user's items that a training row does not see, in [0, 1).
        id_share: share of the user's own vector beside the context (a), in [0, 1].
        contrast: share of the contrast in the loss (c), in [0, 1).
        warm_up: epochs of the parts of the scenes alone, before q joins; the authors take 15 for more than two scenes.
        dropout: share of p, q and the scored items that is dropped in training, in [0, 1).
        prior_l2: L2 of EASE behind "similarity".
        prior_floor: predictions of it below this count as 0.
        init_std: standard deviation of the initial vectors.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = UniCDR(data.schema, dim=8, aggregator="attention")
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "uni_cdr"
