"""Slow reference of interest migration over events: one event, one interest and one scene at a time, float64 numpy."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, log_softmax, logsumexp, softmax
from slow_sequences import attention, linear, loss_of_one, weights


@dataclass
class Event:
    item: int
    scene: int
    time: int
    interests: list[int]


def events_of(events: Any) -> list[list[Event]]:
    """The events of each list."""
    at = events.interest.offsets.tolist()
    about = [events.interest.values.tolist()[a:b] for a, b in itertools.pairwise(at)]
    rows = zip(events.item.tolist(), events.scene.tolist(), events.time.tolist(), about, strict=True)
    flat = [Event(*row) for row in rows]
    return [flat[a:b] for a, b in itertools.pairwise(events.offsets.tolist())]


def gap_step(seconds: int) -> int:
    return min(max(seconds, 0).bit_length(), 31)


class SlowInterestSequence:
    """From a model's weights; its encoder is a GRU of one layer."""

    def __init__(self, model: Any, scenes: int) -> None:
        self.w, self.options, self.scenes = weights(model), model.options, scenes
        self.count = len(self.w["interest_query"])

    def states(self, past: list[Event]) -> list[np.ndarray]:
        w, dim = self.w, self.options["dim"]
        h, out = np.zeros(dim), []

        def gates(kind: str, x: np.ndarray) -> np.ndarray:
            return (w[f"encoder.gru.weight_{kind}_l0"] @ x + w[f"encoder.gru.bias_{kind}_l0"]).reshape(3, dim)

        for event in past:
            x = w["item.weight"][event.item] + w["encoder.scene_embedding.weight"][event.scene]
            for k in event.interests if "event_interest" in w else []:
                x = x + w["event_interest"][k]
            given, kept = gates("ih", x), gates("hh", h)
            reset, update = expit(given[0] + kept[0]), expit(given[1] + kept[1])
            h = (1 - update) * np.tanh(given[2] + reset * kept[2]) + update * h
            out.append(h)
        return out

    def now(self, states: list[np.ndarray], t: int) -> tuple[np.ndarray, np.ndarray]:
        """c and the logits of y after event t."""
        dim = self.options["dim"]
        pairs = [linear(self.w, "key_value", h) for h in states[: t + 1]]
        keys, values = [each[:dim] for each in pairs], [each[dim:] for each in pairs]
        context = attention(linear(self.w, "query", states[t]), keys, values, self.options["heads"])
        return context, linear(self.w, "interest_head", np.concatenate([context, states[t]]))

    def answer(self, past: list[Event], states: list[np.ndarray], t: int, scene: int) -> dict[str, np.ndarray]:
        """What is asked of a scene after event t."""
        w = self.w
        context, logits = self.now(states, t)
        y = expit(logits)
        both = np.concatenate([context, y])
        move = linear(w, "transition_head", both)
        for k in range(self.count):
            move = move + y[k] * w["scene_transition"][past[t].scene * self.scenes + scene][k]
        p = softmax(move) if self.options["transition"] == "softmax" else expit(move)
        shares, mixed = np.zeros((self.count, t + 1)), np.zeros(self.options["dim"])
        for k in range(self.count):
            score = np.zeros(t + 1)
            for j in range(t + 1):
                score[j] = w["interest_query"][k] @ np.tanh(linear(w, "extraction", states[j]))
                score[j] += (
                    w["interest_step_bias"][t - j][k] + w["scene_pair_bias"][scene * self.scenes + past[j].scene][k]
                )
                if self.options["gaps"]:
                    score[j] += w["interest_gap_bias"][gap_step(past[t].time - past[j].time)][k]
            shares[k] = softmax(score)
            for j in range(t + 1):
                mixed += p[k] * shares[k][j] * states[j]
        z = linear(w, "state_projection", np.concatenate([context, states[t], mixed]))
        z = z + w["interest_projection.weight"] @ p + w["asked_scene"][scene]
        return {
            "state": z,
            "attention": shares,
            "interests": y,
            "interest_logits": logits,
            "move": move,
            "transitions": p,
            "scene_logits": linear(w, "scene_head", both) + w["scene_followed"][past[t].scene],
        }

    def loss(self, batch: Any, candidates: list[list[int]]) -> float:
        """All terms, walking through each row of a batch whose past is shown as it was."""
        options, table = self.options, self.w["item.weight"]
        about = batch.interest.offsets.tolist()
        item, now, move, where = [], [], [], []
        place = 0
        for b, past in enumerate(events_of(batch.history)):
            own = batch.interest.values.tolist()[about[b] : about[b + 1]]
            full = [*past, Event(int(batch.item[b]), int(batch.scene[b]), 0, own)]
            states = self.states(past)
            for t in range(len(past)):
                follower = full[t + 1]
                found = self.answer(past, states, t, follower.scene)
                negative = np.zeros(1)
                if batch.next_negative is not None:
                    negative = table[batch.next_negative[place + t].numpy()] @ found["state"]
                scores = table[candidates[follower.scene]] @ found["state"]
                positive = float(table[follower.item] @ found["state"])
                item.append(loss_of_one(options["loss"], scores, positive, negative, 0.0))
                where.append(logsumexp(found["scene_logits"]) - found["scene_logits"][follower.scene])
                if past[t].interests:
                    now.append(self._each(found["interest_logits"], past[t].interests))
                if follower.interests and options["transition"] == "softmax":
                    move.append(-log_softmax(found["move"])[follower.interests].mean())
                elif follower.interests:
                    move.append(self._each(found["move"], follower.interests))
            place += len(past)
        named = "event_interest" in self.w
        return float(
            np.mean(item)
            + (options["interest_weight"] * np.mean(now) if named else 0)
            + (options["transition_weight"] * np.mean(move) if named else 0)
            + options["scene_weight"] * np.mean(where)
        )

    def _each(self, logits: np.ndarray, interests: list[int]) -> float:
        truth = np.isin(np.arange(self.count), interests)
        return float(-np.where(truth, np.log(expit(logits)), np.log(expit(-logits))).mean())
