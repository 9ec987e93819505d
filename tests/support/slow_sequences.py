"""Slow references of models of sequences: one event at a time, float64, plain numpy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from scipy.special import erf, expit, logsumexp


def weights(model: Any) -> dict[str, np.ndarray]:
    """Parameters by name."""
    return {name: tensor.detach().double().numpy() for name, tensor in model.state_dict().items()}


def lists(events: Any) -> list[list[tuple[int, int]]]:
    """(item, scene) of each list of events."""
    at, item, scene = events.offsets.tolist(), events.item.tolist(), events.scene.tolist()
    return [list(zip(item[a:b], scene[a:b], strict=True)) for a, b in itertools.pairwise(at)]


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    mean = x.mean()
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean() + eps) * weight + bias


def linear(w: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    return w[f"{name}.weight"] @ x + w[f"{name}.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def attention(query: np.ndarray, keys: list[np.ndarray], values: list[np.ndarray], heads: int) -> np.ndarray:
    """What one query reads of some events."""
    width = len(query) // heads
    out = np.zeros_like(query)
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = np.array([query[part] @ key[part] for key in keys]) / np.sqrt(width)
        share = np.exp(scores - logsumexp(scores))
        for weight, value in zip(share, values, strict=True):
            out[part] += weight * value[part]
    return out


def sasrec_states(w: dict[str, np.ndarray], options: dict[str, Any], items: list[int]) -> list[np.ndarray]:
    """The state after each event."""
    dim, longest, pre = options["dim"], options["max_length"], options["norm"] == "pre"
    first = longest - len(items) if options["positions"] == "newest" else 0

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], 1e-8)

    scale = np.sqrt(dim) if pre else 1.0
    x = [scale * w["item.weight"][item] + w["positions"][first + t] for t, item in enumerate(items)]
    if not pre:
        x = [norm("norm", each) for each in x]
    for n in range(options["layers"]):
        asking = [norm(f"attention_norm.{n}", each) for each in x] if pre else x
        pairs = [linear(w, f"key_value.{n}", each) for each in x]
        keys, values = [each[:dim] for each in pairs], [each[dim:] for each in pairs]
        out = []
        for t, one in enumerate(asking):
            read = attention(linear(w, f"query.{n}", one), keys[: t + 1], values[: t + 1], options["heads"])
            if pre:
                y = norm(f"feedforward_norm.{n}", one + read)
                out.append(y + linear(w, f"outer.{n}", np.maximum(linear(w, f"inner.{n}", y), 0)))
            else:
                y = norm(f"attention_norm.{n}", x[t] + linear(w, f"output.{n}", read))
                out.append(norm(f"feedforward_norm.{n}", y + linear(w, f"outer.{n}", gelu(linear(w, f"inner.{n}", y)))))
        x = out
    return [norm("norm", each) for each in x] if pre else x


def gru_states(w: dict[str, np.ndarray], options: dict[str, Any], items: list[int]) -> list[np.ndarray]:
    """The projected state after each event, of one recurrent layer."""
    hidden = options["hidden"]
    h, out = np.zeros(hidden), []

    def gates(kind: str, x: np.ndarray) -> np.ndarray:
        bias = w.get(f"gru.bias_{kind}_l0", np.zeros(3 * hidden))
        return (w[f"gru.weight_{kind}_l0"] @ x + bias).reshape(3, hidden)

    for item in items:
        given, kept = gates("ih", w["item.weight"][item]), gates("hh", h)
        reset, update = expit(given[0] + kept[0]), expit(given[1] + kept[1])
        new = np.tanh(given[2] + reset * kept[2])
        h = (1 - update) * new + update * h
        out.append(linear(w, "projection", h))
    return out


def bert_states(w: dict[str, np.ndarray], options: dict[str, Any], items: list[int]) -> list[np.ndarray]:
    """The state at each place, which sees all others."""
    dim = options["dim"]

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], 1e-12)

    first = options["max_length"] - len(items)
    x = [norm("norm", w["item.weight"][item] + w["positions"][first + t]) for t, item in enumerate(items)]
    for n in range(options["layers"]):
        pairs = [linear(w, f"key_value.{n}", each) for each in x]
        keys, values = [each[:dim] for each in pairs], [each[dim:] for each in pairs]
        read = [attention(linear(w, f"query.{n}", each), keys, values, options["heads"]) for each in x]
        y = [norm(f"attention_norm.{n}", a + linear(w, f"output.{n}", b)) for a, b in zip(x, read, strict=True)]
        x = [norm(f"feedforward_norm.{n}", a + linear(w, f"outer.{n}", gelu(linear(w, f"inner.{n}", a)))) for a in y]
    return [norm("head_norm", gelu(linear(w, "head", each))) for each in x]


def loss_of_one(name: str, scores: np.ndarray, positive: float, negative: np.ndarray, reg: float) -> float:
    """The loss of one event that followed: ``scores`` of its scene's items, or of drawn ones."""
    if name == "ce":
        return float(logsumexp(scores) - positive)
    if name == "bce":
        return float(-np.log(expit(positive)) - np.log(1 - expit(negative)).mean())
    if name == "bpr":
        return float(-np.log(expit(positive - negative)).mean())
    if name == "top1":
        return float((expit(negative - positive) + expit(negative**2)).mean())
    share = np.exp(negative - logsumexp(negative))
    return float(-np.log((share * expit(positive - negative)).sum()) + reg * (share * negative**2).sum())


def slow_loss(model: Any, batch: Any, states_of: Any, candidates: list[list[int]]) -> float:
    """The mean over what followed something, walking through each row."""
    w, options = weights(model), model.options
    table, total, count, place = w["item.weight"], 0.0, 0, 0
    for b, past in enumerate(lists(batch.history)):
        full = [*past, (int(batch.item[b]), int(batch.scene[b]))]
        scenes = {scene for _, scene in full} if options["scope"] == "scene" else {None}
        for scene in scenes:
            mine = [t for t, event in enumerate(full) if scene is None or event[1] == scene]
            states = states_of(w, options, [full[t][0] for t in mine[:-1]])
            for state, t in zip(states, mine[1:], strict=True):
                item, where = full[t]
                positive = float(state @ table[item])
                scores = table[candidates[where]] @ state
                negative = np.zeros(1)
                if batch.next_negative is not None:
                    negative = table[batch.next_negative[place + t - 1].numpy()] @ state
                total += loss_of_one(options["loss"], scores, positive, negative, options.get("bpr_max_reg", 0.0))
                count += 1
        place += len(past)
    return total / count


def follower_shares(rows: list[tuple[int, int, int]], scene: int | None) -> dict[int, dict[int, float]]:
    """How often each item came right after another, as shares, in rows (user, item, scene) in the order of time."""
    last: dict[int, int] = {}
    counts: dict[int, dict[int, int]] = {}
    for user, item, where in rows:
        if scene is not None and where != scene:
            continue
        if user in last:
            mine = counts.setdefault(last[user], {})
            mine[item] = mine.get(item, 0) + 1
        last[user] = item
    return {a: {b: n / sum(mine.values()) for b, n in mine.items()} for a, mine in counts.items()}


def stacked_encoder(w: dict[str, np.ndarray], options: dict[str, Any], e: int, table: np.ndarray) -> dict[str, Any]:
    """What :func:`sasrec_states` wants of encoder ``e`` of several, which reads rows of ``table``."""
    longest = options["max_length"]
    out = {"item.weight": table, "positions": w["encoders.positions"][e * longest : (e + 1) * longest]}
    for n in range(options["layers"]):
        for name in ("query", "key_value", "inner", "outer"):
            out[f"{name}.{n}.weight"] = w[f"encoders.{name}"][n, e, 0]
            out[f"{name}.{n}.bias"] = w[f"encoders.{name}_bias"][n, e, 0]
        for name in ("attention", "feedforward"):
            out[f"{name}_norm.{n}.weight"] = w[f"encoders.{name}_scale"][n, e, 0]
            out[f"{name}_norm.{n}.bias"] = w[f"encoders.{name}_shift"][n, e, 0]
    out["norm.weight"], out["norm.bias"] = w["encoders.norm_scale"][0, e, 0], w["encoders.norm_shift"][0, e, 0]
    return out


class SlowC2DSR:
    """C2DSR from a model's weights and the training rows (user, item, scene) in the order of time."""

    def __init__(self, model: Any, rows: list[tuple[int, int, int]], scenes: int) -> None:
        self.w, self.options, self.scenes = weights(model), model.options, scenes
        self.dim, self.items = self.options["dim"], len(self.w["item.weight"])
        self.known = [{item for _, item, where in rows if where == s} for s in range(scenes)]
        self.encoders = [self._encoder(e, rows) for e in range(1 + scenes)]

    def _encoder(self, e: int, rows: list[tuple[int, int, int]]) -> dict[str, np.ndarray]:
        shares = follower_shares(rows, e - 1 if e else None)
        table = self.w["input.weight"][e * self.items : (e + 1) * self.items]
        layers = [table]
        for n in range(self.options["graph_layers"]):
            gathered = np.zeros_like(table) + self.w["graph_bias"][n, e]
            for item, mine in shares.items():
                for other, share in mine.items():
                    gathered[item] += share * layers[-1][other]
            layers.append(gathered)
        return stacked_encoder(self.w, self.options, e, table + np.mean(layers, 0))

    def encode(self, e: int, items: list[int]) -> list[np.ndarray]:
        """States after each item, by encoder ``e``: 0 for all scenes, else 1 + scene."""
        return sasrec_states(self.encoders[e], self.options | {"norm": "pre"}, items) if items else []

    def view(self, past: list[tuple[int, int]], scene: int) -> list[int]:
        """Places of the events of a scene that training knew there."""
        return [t for t, (item, where) in enumerate(past) if where == scene and item in self.known[scene]]

    def state(self, past: list[tuple[int, int]], scene: int) -> np.ndarray:
        """What scores in a scene are made of after ``past``."""
        own = [past[t][0] for t in self.view(past, scene)]
        all_scenes = self.encode(0, [item for item, _ in past])
        return sum([*all_scenes[-1:], *self.encode(1 + scene, own)[-1:]], np.zeros(self.dim))

    def scores(self, state: np.ndarray, items: list[int]) -> np.ndarray:
        return self.w["item.weight"][items] @ state + self.w["bias.weight"][items, 0]

    def predicted(self, batch: Any, candidates: list[list[int]]) -> float:
        """The two means of cross-entropies."""
        together, joined = [], []
        for b, past in enumerate(lists(batch.history)):
            full = [*past, (int(batch.item[b]), int(batch.scene[b]))]
            states = self.encode(0, [item for item, _ in past])
            for t in range(len(past)):
                item, scene = full[t + 1]
                place = candidates[scene].index(item)

                def lost(state: np.ndarray, scene: int = scene, place: int = place) -> float:
                    scores = self.scores(state, candidates[scene])
                    return float(logsumexp(scores) - scores[place])

                together.append(lost(states[t]))
                # Positions of a window count from its newest event, so that each view is encoded as a whole.
                seen = self.view(past, scene)
                before = [k for k, at in enumerate(seen) if at <= t]
                if not before:
                    continue
                own = self.encode(1 + scene, [past[at][0] for at in seen])[before[-1]]
                at = seen[before[-1]] if self.options["joined_at"] == "own" else t
                joined.append(lost(states[at] + own))
        return float(np.mean(together) + np.mean(joined))

    def contrasted(self, batch: Any, candidates: list[list[int]], uniform: list[float]) -> float:
        """The sum over scenes; ``uniform`` says what replaces each event, windows of a scene after one another."""
        total, used = 0.0, 0
        for scene in range(self.scenes):
            losses = []
            for past in lists(batch.history):
                own = [past[t][0] for t in self.view(past, scene)]
                others = [t for t, (_, where) in enumerate(past) if where != scene]
                if not own or not others:
                    continue
                replaced = []
                for k, (item, where) in enumerate(past):
                    drawn = candidates[scene][int(uniform[used + k] * len(candidates[scene]))]
                    replaced.append(drawn if where == scene else item)
                used += len(past)
                h = np.mean(self.encode(1 + scene, own), 0)
                mapped = self.w["critic"][scene, 0] @ h
                for items, sign in (([item for item, _ in past], 1), (replaced, -1)):
                    states = self.encode(0, items)
                    score = np.mean([states[t] for t in others], 0) @ mapped + self.w["critic_bias"][scene]
                    losses.append(-np.log(expit(sign * score)))
            total += 2 * np.mean(losses) if losses else 0.0
        return total


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


class SlowTriCDR:
    """Tri-CDR from a model's weights; ``known`` are the items that training met in each scene."""

    def __init__(self, model: Any, known: list[set[int]]) -> None:
        self.w, self.options, self.known = weights(model), model.options, known
        tables = [self.w["mixed.weight"], *[self.w["item.weight"]] * len(known)]
        self.encoders = [stacked_encoder(self.w, self.options, e, table) for e, table in enumerate(tables)]

    def encode(self, past: list[tuple[int, int]]) -> tuple[list[np.ndarray], dict[int, np.ndarray]]:
        """States after each event by the encoder of all, and by that of the event's scene."""
        how = self.options | {"norm": "pre"}
        together = sasrec_states(self.encoders[0], how, [item for item, _ in past]) if past else []
        own: dict[int, np.ndarray] = {}
        for scene, known in enumerate(self.known):
            seen = [t for t, (item, where) in enumerate(past) if where == scene and item in known]
            if seen:
                states = sasrec_states(self.encoders[1 + scene], how, [past[t][0] for t in seen])
                own.update(zip(seen, states, strict=True))
        return together, own

    def asked(self, past: list[tuple[int, int]], own: dict[int, np.ndarray], t: int, scene: int) -> np.ndarray:
        """The newest state of the scene up to event t."""
        mine = [own[j] for j in range(t + 1) if j in own and past[j][1] == scene]
        return mine[-1] if mine else np.zeros(self.options["dim"])

    def views(self, past: list[tuple[int, int]], t: int, scene: int) -> tuple[list[np.ndarray], list[int]]:
        """What the three views answer after event t, and how many events each has."""
        together, own = self.encode(past)
        query = self.asked(past, own, t, scene)
        keys = [together[: t + 1]]
        keys += [[own[j] for j in range(t + 1) if j in own and (past[j][1] == scene) == same] for same in (False, True)]
        mean = np.mean(keys[0], 0)
        out = []
        for mine in keys:
            scores = np.array([self.score(key, query, mean) for key in mine])
            share = np.exp(scores - logsumexp(scores)) if mine else scores
            out.append(sum((weight * key for weight, key in zip(share, mine, strict=True)), np.zeros_like(query)))
        return out, [len(mine) for mine in keys]

    def score(self, key: np.ndarray, query: np.ndarray, mean: np.ndarray) -> float:
        z = np.concatenate([key, query, key * query, query - key, mean])
        z = self.w["attention.first"].reshape(-1, len(z)) @ z + self.w["attention.first_bias"]
        for n, slope in enumerate(self.w["attention.slope"]):
            z = linear(self.w, f"attention.linears.{n}", np.where(z > 0, z, slope * z))
        return float(z[0])

    def combined(self, views: list[np.ndarray]) -> np.ndarray:
        z = linear(self.w, "combine", np.concatenate(views))
        return self.options["scale"] * unit(linear(self.w, "output", np.where(z > 0, z, 0.01 * z)))

    def state(self, past: list[tuple[int, int]], scene: int, joint: bool = True) -> np.ndarray:
        if joint:
            return self.combined(self.views(past, len(past) - 1, scene)[0])
        together, own = self.encode(past)
        query = self.asked(past, own, len(past) - 1, scene)
        return self.options["scale"] * (unit(together[-1]) + (unit(query) if query.any() else query))

    def loss(self, batch: Any, candidates: list[list[int]], joint: bool = True) -> float:
        table, place = unit(self.w["item.weight"]), 0
        losses: list[list[float]] = [[], []]
        whole = []
        for b, past in enumerate(lists(batch.history)):
            full = [*past, (int(batch.item[b]), int(batch.scene[b]))]
            for t in range(len(past)):
                item, scene = full[t + 1]
                drawn = batch.next_negative[place + t].numpy() if batch.next_negative is not None else []

                def lost(state: np.ndarray, item: int = item, scene: int = scene, drawn: Any = drawn) -> float:
                    scores = table[candidates[scene]] @ state
                    positive, negative = float(table[item] @ state), table[drawn] @ state
                    return loss_of_one(self.options["loss"], scores, positive, negative, 0)

                if joint:
                    views, counts = self.views(past, t, scene)
                    losses[0].append(lost(self.combined(views)))
                    if t + 1 == len(past) and min(counts) > 0:
                        whole.append(views)
                    continue
                together, own = self.encode(past)
                query = self.asked(past, own, t, scene)
                losses[0].append(lost(self.options["scale"] * unit(together[t])))
                if query.any():
                    losses[1].append(lost(self.options["scale"] * unit(query)))
            place += len(past)
        total = sum(float(np.mean(each)) for each in losses if each)
        return total + (self.contrasted(whole) if whole else 0.0)

    def contrasted(self, windows: list[list[np.ndarray]]) -> float:
        projected = []
        for v in range(3):
            inner = [np.maximum(linear(self.w, f"project_in.{v}", views[v]), 0) for views in windows]
            projected.append([linear(self.w, f"project_out.{v}", each) for each in inner])
        everything, other, own = projected
        shares = np.array(self.options["contrast_shares"]) / sum(self.options["contrast_shares"])
        pairs = ((everything, other), (everything, own), (other, own))
        total = sum(share * self.told_apart(a, b) for share, (a, b) in zip(shares, pairs, strict=True))
        order = [
            max(np.linalg.norm(d - m + 1e-6) - np.linalg.norm(d - g + 1e-6) + self.options["margin"], 0)
            for m, d, g in zip(everything, other, own, strict=True)
        ]
        return float(self.options["contrast"] * total + self.options["triplet"] * np.mean(order))

    def told_apart(self, a: list[np.ndarray], b: list[np.ndarray]) -> float:
        rows, n = [unit(each) for each in [*a, *b]], len(a)
        losses = []
        for i, row in enumerate(rows):
            alike = [float(row @ other) / self.options["temperature"] for other in rows]
            others = [alike[j] for j in range(2 * n) if j != i]
            losses.append(logsumexp(others) - alike[(i + n) % (2 * n)])
        return float(np.mean(losses))
