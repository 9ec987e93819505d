"""Models of task sequence: what follows, from what a user did before in all scenes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from polyscene._model import Model
from polyscene.models import _sequence_forms as forms


class _SequenceModel(Model):
    def export_inputs(self, batch: Any) -> tuple[torch.Tensor, ...]:
        """Returns what the forward of :meth:`export_form` takes.

        ``item`` int64 and ``valid`` bool, each [B, T], oldest first and padded with 0 at the end, and ``scene`` of the
        rows, int64 [B], with T = ``max_length``. Events are those that the model follows: the newest, of the scope, of
        items that training knew.
        """
        return forms.past(batch, self.options["scope"], self.history_length)


class SASRec(_SequenceModel):
    r"""Self-attentive sequential recommendation (Kang and McAuley, ICDM 2018).

    .. math:: x = \text{drop}(\sqrt{D}\, q_i + p), \quad u = \text{LN}(x), \quad y = \text{LN}(u + \text{Att}(u; x, x)),
        \quad x = y + W_2\, \text{relu}(W_1 y), \quad r_i = \text{LN}(x) \cdot q_i

    The defaults are the paper's form as its code has it: only queries are normalised, the residual comes from them, and
    the loss is the cross-entropy of what followed against one drawn item. ``norm="post"`` with ``positions="oldest"``,
    ``loss="ce"``, ``dim=64``, ``heads=2`` and ``feedforward=256`` is the form of RecBole, which takes the loss of the
    newest event alone where this one takes that of all. Cross-entropy over all items usually beats one drawn item:
    compare like with like. ``explain`` tells ``state`` [B, D], ``attention`` [B, heads, T] of the newest state over the
    events of each row, oldest first, in the last block, and ``events``, their number [B]. Tasks: sequence.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the items' vectors.
        max_length: events that are followed, the newest; longer pasts are cut into windows.
        scope: "overall" for events of all scenes in one sequence, "scene" for those of each scene by themselves.
        dropout: of embedded events, attention weights and inner layers.
        loss: "bce" (the paper), "bpr", or "ce" over the items of the scene.
        negatives: items drawn beside each that followed, none of which the user met there.
        sampler: "uniform", "popularity" or "in_batch".
        layers: blocks.
        heads: of each attention; must divide dim.
        norm: "pre" or "post".
        feedforward: width of the inner layers; 0 for dim ("pre") or four times dim ("post").
        positions: where they are counted from, the "newest" event (sequences padded on the left) or the "oldest".

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("sequence")
        >>> model = SASRec(data.schema, dim=8)
        >>> model(ps.testing.batch(data, 4)).shape[0], model.loss(ps.testing.batch(data, 4)).ndim
        (4, 0)
    """

    _cpp_name = "sasrec"

    def export_form(self) -> nn.Module:
        """See :meth:`Model.export_form`; scores [B, C] as ``forward`` has them, with C the most items of any scene.

        Its ``candidates``, int64 [S, C], are the items of each scene, -1 after the last. ``forward`` takes C from the
        scenes of the rows: where these are smaller ones, it leaves out last columns that are -inf here.
        """
        return forms.SASRecForm(self)


class BERT4Rec(_SequenceModel):
    r"""Bidirectional Transformer trained on masked events (Sun et al., CIKM 2019).

    .. math:: y = \text{LN}(x + W_o \text{Att}(x; x, x)), \quad x = \text{LN}(y + W_2\, \text{gelu}(W_1 y)),
        \quad r_i = \text{LN}(\text{gelu}(W x + b)) \cdot q_i + c_i

    Events are replaced by a mask with probability ``mask_ratio``, at least one a window, and predicted from those
    before and after; the first of a window, which is the newest of the window before, is none of them; a share of the
    windows masks the newest event alone. In serving a mask stands after the newest ``max_length`` - 1 events. The loss
    is cross-entropy against the items of the scene. The authors' program trains 400,000 steps on ten copies of each
    sequence; RecBole's loses a mask in the first place and, in serving, the first event of every sequence. Needs many
    more epochs than SASRec. ``explain`` tells what :class:`SASRec` does, of the mask's attention, whose own weight is
    left out. Tasks: sequence.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the items' vectors.
        max_length: events that are followed, the mask among them; longer pasts are cut into windows.
        scope: "overall" for events of all scenes in one sequence, "scene" for those of each scene by themselves.
        dropout: of embedded events, attention weights and layers.
        loss: "ce".
        negatives: not used.
        sampler: not used.
        layers: blocks.
        heads: of each attention; must divide dim.
        feedforward: width of the inner layers; 0 for four times dim.
        mask_ratio: probability that an event is masked, in (0, 1).
        last_ratio: share of the windows that mask the newest event alone.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("sequence")
        >>> model = BERT4Rec(data.schema, dim=8)
        >>> model(ps.testing.batch(data, 4)).shape[0], model.loss(ps.testing.batch(data, 4)).ndim
        (4, 0)
    """

    _cpp_name = "bert4rec"

    def export_form(self) -> nn.Module:
        """As that of :class:`SASRec`."""
        return forms.BERT4RecForm(self)

    def export_inputs(self, batch: Any) -> tuple[torch.Tensor, ...]:
        """As that of :class:`SASRec`, with T = ``max_length`` - 1: the form adds the mask itself."""
        return forms.past(batch, self.options["scope"], self.history_length - 1)


class GRU4Rec(_SequenceModel):
    r"""GRU4Rec (Hidasi et al., ICLR 2016; losses: Hidasi and Karatzoglou, CIKM 2018).

    .. math:: h_t = \text{GRU}(\text{drop}(q_{i_t}), h_{t-1}), \qquad r_i = (W h_t + b) \cdot q_i

    With the default ``loss="ce"`` this is what RecBole calls GRU4Rec: a GRU with cross-entropy over all items. The
    authors' own program is another thing: it runs sessions side by side in mini-batches, shares the other sessions'
    items and 2,048 drawn ones as negatives of all, keeps input and output vectors apart unless asked, and trains with
    Adagrad. ``loss="bpr_max"``, ``final_activation="elu"``, ``sampler="popularity"`` and many ``negatives`` come near
    it; figures here are not those of that program (Hidasi and Czapp, RecSys 2023, measure how far others fall behind
    it). ``top1`` is without the term that the paper takes out again because it scores the item that followed among the
    others. Tasks: sequence.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the items' vectors.
        max_length: events that are followed, the newest; longer pasts are cut into windows.
        scope: "overall" for events of all scenes in one sequence, "scene" for those of each scene by themselves.
        dropout: of embedded events.
        loss: "ce" over the items of the scene, "bce", "bpr", "top1" or "bpr_max".
        negatives: items drawn beside each that followed, none of which the user met there.
        sampler: "uniform", "popularity" or "in_batch".
        hidden: width of the recurrent states.
        layers: recurrent layers.
        recurrent_bias: whether the recurrence has biases.
        final_activation: of scores in losses that compare: "identity", "tanh" or "elu".
        bpr_max_reg: weight of the squared scores of the drawn items, for "bpr_max".

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("sequence")
        >>> model = GRU4Rec(data.schema, dim=8, hidden=16)
        >>> model(ps.testing.batch(data, 4)).shape[0], model.loss(ps.testing.batch(data, 4)).ndim
        (4, 0)
    """

    _cpp_name = "gru4rec"

    def export_form(self) -> nn.Module:
        """As that of :class:`SASRec`."""
        return forms.GRU4RecForm(self)
