"""Models of interests that move between scenes."""

from __future__ import annotations

from polyscene._model import Model


class InterestMigration(Model):
    r"""How interest moves from one scene and one moment to the next: encoder, masked attention, interest, transition.

    .. math::
        h_t = \text{encoder}(x_1 .. x_t), \quad c_t = \text{attention}(h_t; h_1 .. h_t), \quad
        y_t = \sigma(W_h [c_t; h_t] + b_h), \quad
        p(y_{t+1} | y_t) = \sigma(W_p [c_t; y_t] + b_p + y_t A_{s_t, s_{t+1}})

    :math:`A` is the part of the transition that is special to an ordered pair of scenes. The logit scores the candidate
    against the state and the expected interests; profile adds biases and a factorisation machine over all fields.
    Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data, with a user and an item column.
        dim: width of the embeddings of events and candidates.
        hidden: width of the hidden states.
        encoder: "gru", "lstm", "cnn" or "transformer".
        layers: layers of the encoder.
        attention: "multi_head", or "pair" for attention over adjacent pairs of states.
        heads: heads of the multi-head attention; must divide ``hidden``.
        max_length: how many past events are followed, the newest.
        interests: latent interests where the data names none.
        transition: "softmax" for one next interest, "bernoulli" for each interest on its own.
        interest_weight: weight of the loss of the interest at the last event.
        transition_weight: weight of the loss of the next interest.
        profile: whether biases and a factorisation machine over the fields are added.
        factors: width of the factorisation machine.
        embedding_l2: L2 on the rows looked up by the profile, per batch row.
        mlp: hidden widths of the predictor.
        dropout: dropout of the states and of the predictor.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = InterestMigration(data.schema, dim=8, hidden=8)
        >>> batch = ps.testing.batch(data, 4, history=model.history_length)
        >>> model(batch).shape, model.explain(batch)["transitions"].shape
        (torch.Size([4]), torch.Size([4, 5]))
    """

    _cpp_name = "interest_migration"
