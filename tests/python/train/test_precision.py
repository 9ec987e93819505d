"""``Trainer(precision="bf16")``, all models of `every_model`: which ones it rounds, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import torch
from every_model import WITHOUT_PARAMETERS, data_of, every_model, make

# Tables, graphs and attention over them, maps of whole tables by batched products, and what stands on mf.
WITHOUT_DENSE_LAYERS = {
    "scene_branch", "logistic", "mf", "factorization_machine", "bpr_mf", "light_gcn", "cmf", "clfm", "emcdr", "sscdr",
    "bi_tgcf", "uni_cdr", "side_tuned", "specialist",
}  # fmt: skip


def trained(name: str, precision: str) -> tuple[ps.Model, Any]:
    data = data_of(name)
    model = make(name, data)
    ps.seed_everything(0)
    training = {"epochs": 2, "patience": 0, "lr": 0.01, "batch_size": 64, "seed": 3, "threads": 1}
    history = ps.Trainer(precision=precision, **training).fit(model, data.train)
    assert all(torch.isfinite(torch.tensor(row["train_loss"])) for row in history)
    return model, data


@every_model
def test_bf16_rounds_the_dense_layers_of_a_model_and_nothing_else(name: str) -> None:
    (rounded, data), (exact, _) = trained(name, "bf16"), trained(name, "float32")
    ours, theirs = rounded.state_dict(), exact.state_dict()
    same = all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert same == (name in WITHOUT_DENSE_LAYERS | WITHOUT_PARAMETERS)
    # Parameters stay float32, and scores outside of training are not rounded.
    assert {key: each.dtype for key, each in ours.items()} == {key: each.dtype for key, each in theirs.items()}
    exact.load_state_dict(ours)
    a, b = ps.evaluation.predict(rounded, data.test), ps.evaluation.predict(exact, data.test)
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=0, atol=0)
