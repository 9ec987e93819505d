"""Single-scene baselines: what any other model must beat."""

from __future__ import annotations

import torch
from torch import nn

from polyscene._model import Model
from polyscene.models._interest_forms import event_pool


class Logistic(Model):
    r"""Logistic regression on one-hot and multi-hot fields, the scene and numeric columns.

    .. math:: \text{logit} = b + t_{scene} + \sum_f w_{f, x_f} + v \cdot z

    Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        embedding_l2: L2 penalty on the weights that a batch looks up.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = Logistic(data.schema, embedding_l2=0.01)
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "logistic"

    def export_form(self) -> nn.Module:
        """See :meth:`Model.export_form`."""
        return _LogisticForm(self)


class Popularity(Model):
    r"""The smoothed mean label of the item in the row's scene, in closed form.

    .. math::
        r_i = \frac{\sum_i y + k m}{n_i + k}, \qquad r_{s,i} = \frac{\sum_{s,i} y + k r_i}{n_{s,i} + k}

    Its forward is the rate for ratings and its log-odds for ctr; for rankings the number of training rows. Tasks: ctr,
    rating, ranking.

    Args:
        schema: fields, vocabularies and scenes of the data, with an item column.
        scope: "scene" for the rate in the row's scene, "overall" for the one over all scenes.
        smoothing: rows that the prior counts for (k).

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = Popularity(data.schema, scope="overall")
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "popularity"

    def export_form(self) -> nn.Module:
        """See :meth:`Model.export_form`."""
        return _PopularityForm(self)


class ItemKNN(Model):
    r"""Item neighbourhoods by cosine (Sarwar et al., WWW 2001), with shrinkage (Bell and Koren, ICDM 2007).

    .. math:: \text{sim}(i, j) = \frac{n_{ij}}{\sqrt{n_i n_j} + \text{shrink}}, \qquad
        s(u, i) = \sum_{j \in N_u} \text{sim}(j, i)

    In closed form from the training pairs. In sequences N are the events before the row, and that of b events back
    counts ``recency ** b``: the plain baseline that models of sequences must beat. A user who met both items adds
    ``nearness ** g`` to :math:`n_{ij}`, with g events between the two where they came nearest (decays as of Garg
    et al., SIGIR 2019). With scope "overall" it is a cross-scene model, to which an event of another scene counts
    ``elsewhere``. Tasks: ranking, sequence.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        neighbours: neighbours that an item keeps, the most alike; 0 for all.
        shrink: added to the denominator of a similarity: rare pairs count less.
        scope: "scene" for the items of the row's scene alone, "overall" for what users met in all scenes.
        recency: of sequences, what an event counts of the one after it, in (0, 1]; 1 for all events alike.
        nearness: of sequences, what the weight of a pair is multiplied by for each event between the two, in (0, 1]; 1
            for no decay.
        elsewhere: of sequences with scope "overall", what an event of another scene counts, in [0, 1].

    Raises:
        ValueError: options out of range, those of sequences with another task, data without users or items.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = ItemKNN(data.schema, scope="overall")
        >>> history = ps.Trainer().fit(model, data)
        >>> ps.evaluate(model, data.test).overall["hit@10"] > 0.5
        True
    """

    _cpp_name = "item_knn"


class EASE(Model):
    r"""Embarrassingly shallow autoencoder (Steck, WWW 2019), in closed form.

    .. math:: P = (X^\top X + \lambda I)^{-1}, \qquad B = I - P / \text{diag}(P), \qquad s(u, \cdot) = x_u B

    The smaller side of X [users, items] is inverted, which gives the same numbers. Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        l2: weight of the L2 penalty.
        scope: "scene" for the items of the row's scene alone, "overall" for what users met in all scenes.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = EASE(data.schema, l2=10)
        >>> history = ps.Trainer().fit(model, data)
        >>> ps.evaluate(model, data.test).overall["hit@10"] > 0.5
        True
    """

    _cpp_name = "ease"


class BPRMF(Model):
    r"""Matrix factorisation for rankings (Rendle et al., UAI 2009), blind to scenes.

    .. math:: s(u, i) = p_u \cdot q_i + b_i, \qquad L = \text{mean softplus}(s(u, j) - s(u, i))

    Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the factors.
        loss: "bpr"; "bce" (1 for a row's item, 0 for the drawn ones); "mse".
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the factors that a batch looks up, half the sum of squares for each row of the batch.
        item_bias: whether items have a bias, as in the paper; RecBole's have none.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = BPRMF(data.schema, dim=8)
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "bpr_mf"


class LightGCN(Model):
    r"""LightGCN (He et al., SIGIR 2020): factors smoothed over the graph of the training pairs of all scenes.

    .. math:: X_{k+1} = D^{-1/2} A D^{-1/2} X_k, \qquad X = \frac{1}{K + 1} \sum_{k=0}^K X_k, \qquad
        s(u, i) = x_u \cdot x_i

    The whole graph is walked at every step: large batches pay. Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the factors.
        loss: "bpr"; "bce" (1 for a row's item, 0 for the drawn ones); "mse".
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the initial factors of the rows of a batch, half the sum of squares for each row.
        layers: how often the graph is walked (K).
        init_std: standard deviation of the initial factors; 0 for that of Glorot and Bengio.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = LightGCN(data.schema, dim=8, layers=2)
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "light_gcn"


class NeuMF(Model):
    r"""Neural matrix factorisation (He et al., WWW 2017), blind to scenes: a weighted product beside a tower.

    .. math:: s(u, i) = w_g \cdot (p_u \odot q_i) + w_m \cdot \text{MLP}([x_u; y_i]) + b

    Both halves learn together from the start, without the paper's pre-training. The first layer of the tower is split
    into what it makes of users and of items, each of which is computed once. Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the product's factors.
        loss: "bce" (1 for a row's item, 0 for the drawn ones), as in the paper; "bpr"; "mse".
        negatives: items drawn for each training row, none of which the user met in the scene.
        sampler: "uniform", "popularity" or "in_batch".
        embedding_l2: L2 on the factors that a batch looks up, half the sum of squares for each row of the batch.
        tower_dim: width of the tower's factors; 0 for that of the product's.
        hidden: widths of the tower's hidden layers.
        dropout: on the tower's input and after its hidden layers.
        init_std: standard deviation of the initial factors; 0 for that of Glorot and Bengio.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = NeuMF(data.schema, dim=8, hidden=[16, 8])
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "neu_mf"


class MF(Model):
    r"""Biased matrix factorisation (Koren et al., IEEE Computer 2009), on labels or ratings.

    .. math:: \text{score} = \mu + b_u + b_i + (p_u + h_u) \cdot q_i

    :math:`h_u` is 0, or with ``history`` the implicit part of SVD++ (Koren, KDD 2008),
    :math:`|N|^{-1/2} \sum_{j \in N} y_j` over the items of what the user did before the row (in data without a time: in
    all other training rows), whatever the labels. In evaluation mode predicted ratings are clipped to the range of the
    training ratings. Tasks: ctr, rating.

    Args:
        schema: fields, vocabularies and scenes of the data, with a user and an item column.
        dim: width of the factors.
        init_std: standard deviation of the initial factors.
        embedding_l2: L2 penalty on the factors that a batch looks up; half of it on their biases.
        history: how many past events of a user join the user's factors, the newest; 0 for none.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = MF(data.schema, dim=8)
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "mf"

    def export_form(self) -> nn.Module:
        """See :meth:`Model.export_form`."""
        return _MFForm(self)


class NMF(Model):
    r"""Matrix factorisation without negative numbers, over the ratings that are there.

    .. math::
        \min_{p, q \ge 0} \sum_{(u, i)} (r_{ui} - p_u \cdot q_i)^2 + \lambda (|p_u|^2 + |q_i|^2), \qquad
        p_{uf} \leftarrow p_{uf} \frac{\sum_i q_{if} r_{ui}}{\sum_i q_{if}\, p_u \cdot q_i + \lambda n_u p_{uf}}

    and :math:`q` in the same way (Lee and Seung, NeurIPS 2000; Luo et al., IEEE TII 2014). Users move first and items
    see where they went, so that no step makes the sum larger (Surprise updates items by what it gathered before users
    moved, which has no such bound). Fitted in such steps from where the factors are, uniform in (0, 1) at first; there
    is nothing else to optimise. Users and items without ratings predict by the mean vector of the others. Predictions
    are clipped to the range of the training ratings, which must be 0 or more. Tasks: rating.

    Args:
        schema: fields, vocabularies and scenes of the data, with a user and an item column.
        dim: width of the factors.
        l2: L2 on the factors of users and of items, for each rating.
        passes: times that all users and all items are updated.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("rating")
        >>> model = NMF(data.schema, dim=4)
        >>> history = ps.Trainer().fit(model, data)
        >>> bool((model.user >= 0).all())
        True
    """

    _cpp_name = "nmf"

    def export_form(self) -> nn.Module:
        """See :meth:`Model.export_form`."""
        return _NMFForm(self)


def _copy(tensor: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().clone(), requires_grad=False)


class _LogisticForm(nn.Module):
    offsets: torch.Tensor  # [F]

    def __init__(self, model: Logistic) -> None:
        super().__init__()
        if any(column.kind == "multi_hot" for column in model.schema.lists):
            raise TypeError("Logistic: there is no export form for data with multi-hot columns")
        state = model._float_state()
        rows = torch.tensor([0] + [field.rows for field in model.schema.categorical])
        self.register_buffer("offsets", rows.cumsum(0)[:-1])
        self.weight = _copy(state["fields.weight"].squeeze(1))
        self.scene = _copy(state["scene"])
        self.numeric = _copy(state["numeric"]) if "numeric" in state else None
        self.bias = _copy(state["bias"])

    def forward(self, categorical: torch.Tensor, numeric: torch.Tensor, scene: torch.Tensor) -> torch.Tensor:
        out = self.weight[categorical + self.offsets].sum(1) + self.scene[scene] + self.bias  # [B]
        return out if self.numeric is None else out + numeric.to(self.numeric.dtype) @ self.numeric


class _PopularityForm(nn.Module):
    def __init__(self, model: Popularity) -> None:
        super().__init__()
        self.rate = _copy(model.state_dict()["rate"])  # [S, I] or [1, I]
        self.by_scene = model.options["scope"] == "scene"
        self.item = model.schema.field(model.schema.item)
        self.log_odds = model.schema.task != "rating"

    def forward(self, categorical: torch.Tensor, numeric: torch.Tensor, scene: torch.Tensor) -> torch.Tensor:
        row = scene if self.by_scene else torch.zeros_like(scene)
        rate = self.rate[row, categorical[:, self.item]]  # [B]
        return torch.logit(rate, 1e-6) if self.log_odds else rate


class _MFForm(nn.Module):
    def __init__(self, model: MF) -> None:
        super().__init__()
        state = model._float_state()
        self.fields = [model.schema.field(name) for name in (model.schema.user, model.schema.item)]
        self.p, self.q = _copy(state["user.weight"]), _copy(state["item.weight"])
        self.p_bias, self.q_bias = (_copy(state[f"{name}_bias.weight"].squeeze(1)) for name in ("user", "item"))
        self.mean = _copy(state["mean"])
        rating = model.schema.task == "rating"
        self.bounds = (model.schema.label_low, model.schema.label_high) if rating else None
        self.history = model.history_length
        self.y = _copy(state["past.item.weight"]) if self.history > 0 else None

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        categorical = inputs[0]
        user, item = categorical[:, self.fields[0]], categorical[:, self.fields[1]]  # [B]
        taste = self.p[user]
        if self.y is not None:
            taste = taste + event_pool(self.y, inputs[3], inputs[6], self.history, self.history)
        out = self.mean + self.p_bias[user] + self.q_bias[item] + (taste * self.q[item]).sum(1)
        return out if self.bounds is None else out.clamp(*self.bounds)


class _NMFForm(nn.Module):
    def __init__(self, model: NMF) -> None:
        super().__init__()
        state = model._float_state()
        self.fields = [model.schema.field(name) for name in (model.schema.user, model.schema.item)]
        self.p, self.q = _copy(state["user"]), _copy(state["item"])
        self.bounds = (model.schema.label_low, model.schema.label_high)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        user, item = (inputs[0][:, field] for field in self.fields)  # [B]
        return (self.p[user] * self.q[item]).sum(1).clamp(*self.bounds)
