"""Click models that meet a candidate item with what the user did before."""

from __future__ import annotations

from polyscene._model import Model


class DIN(Model):
    r"""Deep Interest Network (Zhou et al., KDD 2018): what a user did counts as far as it has to do with the candidate.

    .. math::
        a_j = \text{MLP}([v; k_j; v - k_j; v * k_j]), \qquad u = \sum_j a_j k_j, \qquad
        \text{logit} = \text{MLP}([x; u; u * v])

    :math:`k_j` are the embeddings of the item of event j and of its item-side fields, :math:`v` those of the candidate,
    x all fields of the row, the scene among them. The weights are not normalised: their sum says how much of the past
    speaks for the candidate. The paper's unit reads both vectors and their outer product; public code reads difference
    and product, as here. Dice takes statistics for each neuron over events or rows (Scenario-Wise-Rec's takes them over
    the neurons of one sample). Events are those of all scenes, strictly before the row, from training rows.
    ``explain`` tells ``attention`` [B, T], oldest event first, and ``events``, their number [B]. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data, with a user and an item column.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row; half of it on first-order weights.
        scene_field: whether the scene is one more field; if not, scenes are not known.
        max_length: how many past events of the user count, the newest.
        events: "positive" (label above 1/2, the clicks of the paper) or "all" (the label is embedded, too).
        attention: hidden widths of the unit that weighs events.
        softmax: whether the weights are put through a softmax; the paper keeps their size.
        hidden: hidden widths of the network.
        activation: "dice", or relu, gelu, silu, tanh, sigmoid, leaky_relu or identity.
        dropout: dropout after each activation of the network.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = DIN(data.schema, dim=8, hidden=[16])
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "din"


class DIEN(Model):
    r"""Deep Interest Evolution Network (Zhou et al., AAAI 2019): what evolves towards the candidate counts.

    .. math::
        h_t &= \text{GRU}(k_1, \dots, k_t), \qquad a_t = \text{softmax}_t\, \text{MLP}([v; h_t; v - h_t; v * h_t]) \\
        g_t &= (1 - a_t z_t)\, g_{t-1} + a_t z_t\, n_t, \qquad \text{logit} = \text{MLP}([x; g_T; s; s * v]),
        \quad s = \sum_t k_t \\
        L &= L_{task} - \text{auxiliary} \cdot
        \text{mean}_t [\log s(h_t, k_{t+1}) + \log(1 - s(h_t, k'_{t+1}))]

    z lets the new in, as in the paper (torch's GRU calls 1 - z by that name); :math:`k'` is of an item that is drawn in
    training, any but the one that followed. The mean is over steps that exist (the authors' code divides by padded ones
    as well). Rows without events have :math:`g_T = 0`. Otherwise as :class:`DIN`. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data, with a user and an item column.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row; half of it on first-order weights.
        scene_field: whether the scene is one more field; if not, scenes are not known.
        max_length: how many past events of the user count, the newest.
        events: "positive" (label above 1/2, the clicks of the paper) or "all" (the label is embedded, too).
        attention: hidden widths of the unit that weighs events.
        auxiliary: weight of the auxiliary loss.
        auxiliary_hidden: hidden widths of the network of the auxiliary loss.
        hidden: hidden widths of the network.
        activation: "dice", or relu, gelu, silu, tanh, sigmoid, leaky_relu or identity.
        dropout: dropout after each activation of the network.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = DIEN(data.schema, dim=8, hidden=[16])
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "dien"


class BST(Model):
    r"""Behaviour Sequence Transformer (Chen et al., DLP-KDD 2019): the candidate is one more event.

    .. math::
        z_0 = [v; p_0], \quad z_j = [k_j; p_{pos(j)}], \qquad s = \text{LN}(z + \text{MHA}(z)), \qquad
        o = \text{LN}(s + W_2\, \text{lrelu}(W_1 s)), \qquad \text{logit} = \text{MLP}([x; \text{pool}(o)])

    pos is the paper's time between event and candidate, by powers of two in the units of the data; data without times
    count events. ``explain`` tells ``attention`` [B, T], how the candidate attends to the events, newest first, in the
    last block (mean over heads), and ``events`` [B]. Otherwise as :class:`DIN`. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data, with a user and an item column.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row; half of it on first-order weights.
        scene_field: whether the scene is one more field; if not, scenes are not known.
        max_length: how many past events of the user count, the newest.
        events: "positive" (label above 1/2, the clicks of the paper) or "all" (the label is embedded, too).
        position_dim: width of the embedding of positions; 0 for the width of the embeddings.
        position: what a position is: "time" (how long before the candidate's row) or "order" (how many events before).
        heads: heads of the attention; must divide the width of an event with its position.
        layers: blocks.
        pool: what the network reads of the outputs: "concat" (the paper's), "mean", "sum" or "target".
        hidden: hidden widths of the network.
        dropout: dropout in the blocks and after each activation of the network.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = BST(data.schema, dim=8, heads=2, hidden=[16])
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "bst"


class DASL(Model):
    r"""Dual attentive sequential learning (Li et al., KDD 2021) over any number of scenes: a user has a vector in each.

    .. math::
        h_j &= \text{GRU}_r([k_j; u_s]), \qquad a = \text{softmax}_j\, u_s \cdot \tanh(W h_j + b), \qquad
        p = \sum_j a_j h_j \\
        \text{logit} &= c_s + b_i + b_{u,s} + \text{MLP}([x; p; u_s]) \\
        L &= L_{task} + \text{alignment} \cdot \overline{|u_s M_{st} - u_t|^2 + |u_t M_{st}^\top - u_s|^2} / 2U
        + \text{orthogonality} \cdot \overline{|M_{st} M_{st}^\top - I|^2} / U

    s is the scene of the row, r that of an event: each scene has an encoder of its own for its events, and the events
    of all scenes share one softmax. The first mean is over users of the batch and pairs of scenes in which training
    rows know them, so that somebody who is new in a scene has there a vector of the start, and users who are in one
    scene alone move no map. x are all fields of the row, where the paper reads the candidate. The authors' program has
    the row's own item among its events, aligns the past of the other scene by index instead of time, divides by the
    weights of both scenes but adds up one, keeps a tenth of the hidden numbers where it means to drop a tenth, and
    collects no loss of orthogonality; nothing of that is done here. ``explain`` tells ``attention`` [B, T], oldest
    event first, and ``events``, their number [B]. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data, with a user and an item column.
        dim: width of the embeddings.
        init_std: standard deviation of the initial embeddings and vectors of users.
        embedding_l2: L2 on the embeddings that a batch looks up, per batch row.
        scene_field: whether the scene is one more field.
        max_length: how many past events of the user count, the newest.
        events: "positive" (label above 1/2, the clicks of the paper) or "all" (the label is embedded, too).
        user_dim: width of a user's vectors, one a scene (U).
        states: width of the states of events.
        alignment: weight of what makes the vectors of a user in two scenes map onto one another; 0 for none.
        orthogonality: weight of what keeps these maps orthogonal; 0 for none.
        hidden: hidden widths of the network.
        activation: "dice", or relu, gelu, silu, tanh, sigmoid, leaky_relu or identity.
        dropout: dropout after each activation of the network.

    Raises:
        ValueError: options out of range, or data without users or items.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = DASL(data.schema, dim=8, states=8, hidden=[16])
        >>> model(ps.testing.batch(data, 8)).shape
        torch.Size([8])
    """

    _cpp_name = "dasl"
