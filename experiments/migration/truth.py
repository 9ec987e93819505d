"""Does the model learn the transitions that made the data? The simulator knows the true matrices.

Settings (the tests and the documentation name the same): 4 scenes, 20 interests, 20,000 users with 30 events on
average, half of them in several scenes, transition rows from Dirichlet(0.3), 10 % noise. Prints the correlation of
learned and true matrices over all ordered pairs of scenes, and the top-1 accuracy of the next interest on 10,000 test
transitions into the target scene beside the Bayes rate of the same transitions.

    python experiments/migration/truth.py [--seed 2022] [--epochs 4]
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import polyscene as ps
import torch

SETTINGS = {
    "scenes": 4,
    "interests": 20,
    "users": 20_000,
    "events": 30,
    "overlap": 0.5,
    "concentration": 0.3,
    "noise": 0.1,
}
MODEL = {
    "max_length": 6,
    "hidden": 32,
    "dim": 16,
    "transition_weight": 1.0,
    "interest_weight": 0.5,
    "embedding_l2": 2e-3,
}
TRAIN = {"optimizer": "lazy_adam", "lr": 5e-3, "batch_size": 1024, "patience": 2, "monitor": "auc"}


def transitions_into(data: ps.Dataset, scene: str, limit: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Test positions whose user's previous event is a training row, and the source rows of those events."""
    columns = data.columns
    user = columns.codes[:, columns.categorical.index("user_id")].numpy()
    order = np.lexsort((columns.time.numpy(), user))
    previous = np.full(columns.rows, -1)
    follows = user[order[1:]] == user[order[:-1]]
    previous[order[1:][follows]] = order[:-1][follows]
    rows = data.test.rows.numpy()
    trained = np.zeros(columns.rows, bool)
    trained[data.train.rows.numpy()] = True
    into = columns.scene.numpy()[rows] == columns.scene_names.index(scene)
    good = np.flatnonzero(into & (previous[rows] >= 0) & trained[previous[rows]])[:limit]
    return torch.from_numpy(good), torch.from_numpy(previous[rows[good]])


def measure(model: ps.Model, data: ps.Dataset, target: str, limit: int = 10_000) -> dict[str, float]:
    """Correlation of the matrices, and top-1 accuracy beside the Bayes rate."""
    truth = data.simulation.transition
    names = model.schema.interests
    order = [int(name.rpartition("_")[2]) for name in names]
    pairs = [(a, b) for a in range(len(truth)) for b in range(len(truth))]
    scene_names = data.columns.scene_names
    learned = torch.stack([model.transition_matrix(scene_names[a], scene_names[b]) for a, b in pairs]).double()
    true = torch.stack([truth[a, b][order][:, order] for a, b in pairs])
    correlation = float(torch.corrcoef(torch.stack([learned.flatten(), true.flatten()]))[0, 1])
    worst = min(
        float(torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1]) for x, y in zip(learned, true, strict=True)
    )

    positions, before = transitions_into(data, target, limit)
    columns = data.columns
    batch = data.test.batch(positions, history=model.history_length)
    with torch.no_grad():
        guess = model.eval().explain(batch)["transitions"].argmax(1)
    interest = torch.tensor([int(name.rpartition("_")[2]) for name in columns.interest_ids.list()])
    code = interest[columns.interest.values.long()]
    now, then = code[data.test.rows[positions]], code[before]
    a, b = columns.scene[before].long(), columns.scene[data.test.rows[positions]].long()
    scene_of = torch.tensor([int(name.rpartition("_")[2]) for name in scene_names])
    bayes = truth[scene_of[a], scene_of[b], then].max(1)
    return {
        "correlation": correlation,
        "worst_pair": worst,
        "top1": float((torch.tensor(order)[guess] == now).double().mean()),
        "bayes_top1": float((bayes.indices == now).double().mean()),
        "bayes_rate": float(bayes.values.mean()),
        "transitions": len(positions),
    }


def main() -> None:
    """Trains once and prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=2022)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--users", type=int, default=SETTINGS["users"])
    given = parser.parse_args()
    split = {"by": "random", "ratios": [7, 1, 2], "seed": given.seed}
    data = ps.datasets.load("simulator", split=split, seed=given.seed, **SETTINGS | {"users": given.users})
    ps.seed_everything(given.seed)
    model = ps.models.InterestMigration(data.schema, **MODEL)
    start = time.time()
    history = ps.Trainer(epochs=given.epochs, seed=given.seed, **TRAIN).fit(
        model, data, callbacks=ps.TrainingProgress()
    )
    out = measure(model, data, data.columns.scene_names[-1])
    out |= {"auc": ps.evaluate(model, data.test).overall["auc"], "epochs": len(history), "seconds": time.time() - start}
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
