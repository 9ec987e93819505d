"""Cross-domain models of variational encoders and of what scenes say of each other."""

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
        scored: how a user with training rows in the scene and elsewhere is ranked: by "others", as in training; by
            the scene's "own" encoder; by the "mean" of all.
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
