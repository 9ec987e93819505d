"""Models of interests that move between scenes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from polyscene._model import Model
from polyscene.models import _interest_forms as forms


class _InterestModel(Model):
    def export_inputs(self, batch: Any) -> tuple[torch.Tensor, ...]:
        """As :meth:`Model.export_inputs`, then for each multi-hot column the share of each id, float [B, rows]."""
        return super().export_inputs(batch) + forms.list_weights(batch, self.schema)


class InterestMigration(_InterestModel):
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
        profile_history: how many past events join the profile as one more slot (the implicit part of SVD++; Koren, KDD
            2008), the newest; 0 for none.
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

    def export_form(self) -> nn.Module:
        """See :meth:`Model.export_form`."""
        return forms.InterestMigrationForm(self)

    def export_inputs(self, batch: Any) -> tuple[torch.Tensor, ...]:
        """As for the other models here; data with interests add those of the T events, multi-hot float [B, T, K]."""
        found = super().export_inputs(batch)
        if not self.schema.interests:
            return found
        return (*found, forms.event_interests(batch, self.schema, self.history_length))


class AttentionTransfer(_InterestModel):
    r"""Interest points under attention, carried from source scenes into a target scene.

    .. math::
        c_t = \text{attention}(x_t; x_1 .. x_t), \quad z = \text{interest points}(c), \quad
        d = \text{relu}(W [e; \text{numeric}; z] + b), \quad
        \text{logit} = \mu + b_s + W_o [d; \text{softmax}(W_a d) \odot d] + b_o

    :math:`x_t` are the user's events, :math:`e` the embedded fields of the row. Training has two phases: the sources
    fit all of it; then attention and filters stand still and the target learns what it adds to every other parameter,
    :math:`\theta_{target} = \theta_{source} + \delta`, with :math:`\delta = 0` at first. Data without a user or an item
    column have no events: attention and filters then run over the row's fields. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        dim: width of the embeddings of fields and events.
        hidden: width of the dense layer.
        attention: False for the same network without its attentions.
        heads: heads of the attention over events; must divide ``dim``.
        points: interest points.
        kernel: events that a filter of the interest points spans; odd.
        max_length: how many past events are followed, the newest.
        training: "transfer" for the sources first, then carried into the target; "joint" for all scenes at once;
            "target" for the target alone.
        target: name of the target scene; empty for the one with the fewest training rows.
        sources: names of the source scenes; empty for all but the target.
        target_lr: learning rate in the target as a share of that in the sources.
        dropout: dropout of the dense layer's input.
        embedding_l2: L2 on the rows looked up, in the target on what was added to them.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = AttentionTransfer(data.schema, points=8)
        >>> [(phase.name, phase.scenes) for phase in model.phases()]
        [('source', ['phone', 'tablet']), ('target', ['television'])]
        >>> batch = ps.testing.batch(data, 4, history=model.history_length)
        >>> model(batch).shape, model.explain(batch)["interest_points"].shape
        (torch.Size([4]), torch.Size([4, 8]))
    """

    _cpp_name = "attention_transfer"

    def export_form(self) -> nn.Module:
        """See :meth:`Model.export_form`."""
        return forms.AttentionTransferForm(self)


class SceneBranch(_InterestModel):
    r"""Attention where several scenes meet, the traditional method where there is one.

    .. math::
        \text{logit} = \mu + b_s + \sum_f b_f + w \cdot x + \sum_{f < g} v_f \cdot v_g, \qquad
        c = \sum_t \text{softmax}_t(\text{score}(q + t_s, k_t + u_{s_t})) k_t

    The plain branch is a factorisation machine over ids and features; in the attention branch its slots :math:`v` gain
    the attended interest :math:`c` and the scene :math:`t_s`. The branch follows from the schema unless it is named.
    Data without a user or an item column have no events: the attention then runs over the row's own fields. Tasks: ctr.

    Args:
        schema: fields, vocabularies and scenes of the data.
        branch: "auto" for attention where the data has several scenes and plain where it has one; or "attention" or
            "plain".
        dim: width of the factors.
        score: how the attention compares: "dot", "scaled_dot", "cosine", "additive" or "bilinear".
        max_length: how many past events are attended to, the newest.
        dropout: dropout of the attended interest.
        init_std: standard deviation of the initial factors.
        embedding_l2: L2 on the factors that take part in a row; half of it on their biases.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = SceneBranch(data.schema, dim=8)
        >>> batch = ps.testing.batch(data, 4, history=model.history_length)
        >>> model(batch).shape, model.explain(batch)["interest"].shape
        (torch.Size([4]), torch.Size([4, 8]))
        >>> SceneBranch(data.schema, branch="plain").history_length
        0
    """

    _cpp_name = "scene_branch"

    def export_form(self) -> nn.Module:
        """See :meth:`Model.export_form`."""
        return forms.SceneBranchForm(self)
