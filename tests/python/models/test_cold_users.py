"""What is said to a user without rows in a scene does not depend on a row of a table that nothing trained."""

from __future__ import annotations

from typing import Any

import every_model
import polyscene as ps
import pytest
import torch


def cold_pairs(data: Any) -> list[tuple[int, int]]:
    """(scene, user) with training rows of the user in other scenes alone."""
    batch = data.train.batch(torch.arange(data.train.size))
    met = {(int(s), int(u)) for s, u in zip(batch.scene, batch.user, strict=True)}
    users = {u for _, u in met}
    return [(s, u) for s in range(len(data.schema.scenes)) for u in sorted(users) if (s, u) not in met]


@pytest.mark.parametrize("name", sorted(every_model.RANKING))
def test_scores_of_cold_users_do_not_read_untrained_rows(name: str) -> None:
    data = ps.testing.tiny_data("ranking")
    cold = cold_pairs(data)
    assert cold
    torch.manual_seed(0)
    model = ps.models.create(name, data.schema)
    ps.Trainer(epochs=1, patience=0, seed=0, threads=1).fit(model, data.train)
    model.eval()
    users = data.schema.categorical[data.schema.field(data.schema.user)].rows
    items = torch.arange(2, data.schema.categorical[data.schema.field(data.schema.item)].rows)

    def scores() -> list[torch.Tensor]:
        model.encode()
        with torch.no_grad():
            return [model.score_items(torch.tensor([user]), scene, items).clone() for scene, user in cold]

    before, width = scores(), users * len(data.schema.scenes)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    for key, value in state.items():
        if "user" in key and value.dim() == 2 and value.shape[0] == width and value.is_floating_point():
            for scene, user in cold:
                value[scene * users + user] = torch.randn(value.shape[1])
    model.load_state_dict(state)
    for one, two in zip(before, scores(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
