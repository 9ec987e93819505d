"""Which users and items scenes share, by name, and items that seem to be one thing under two ids."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polyscene.data._errors import counted

TWIN_USERS = 2
TWIN_ALIKE = 0.5


@dataclass(frozen=True)
class SceneSize:
    """What one scene holds: rows, users, items, different pairs of them, and the share of all pairs that these are."""

    name: str
    rows: int
    users: int
    items: int
    pairs: int

    @property
    def density(self) -> float:
        """Share of all pairs of a user and an item here that are there; 1 minus the sparsity."""
        return self.pairs / max(self.users * self.items, 1)


@dataclass(frozen=True)
class Twin:
    """Two items of two scenes with nearly the same users: ``alike`` is shared users over users of either."""

    first: str
    second: str
    shared: int
    alike: float


@dataclass(frozen=True)
class SharedPair:
    """What two scenes share by name, and their twins."""

    first: str
    second: str
    users: int
    items: int
    twins: tuple[Twin, ...] = ()


@dataclass
class Overlap:
    """Scenes and what each two of them share."""

    scenes: list[SceneSize] = field(default_factory=list)
    pairs: list[SharedPair] = field(default_factory=list)

    def text(self) -> str:
        """The overlap as lines of text."""
        lines = [
            f"scene '{each.name}': {counted(each.rows, 'row')}, {counted(each.users, 'user')}, "
            f"{counted(each.items, 'item')}, sparsity {1 - each.density:.4%}"
            for each in self.scenes
        ]
        for pair in self.pairs:
            twins = f", {counted(len(pair.twins), 'twin')} (items with nearly the same users)" if pair.twins else ""
            lines.append(
                f"'{pair.first}' and '{pair.second}' share {counted(pair.users, 'user')} and "
                f"{counted(pair.items, 'item')}{twins}"
            )
            lines += [
                f"  twins '{twin.first}' and '{twin.second}': {counted(twin.shared, 'user')}, "
                f"{twin.alike:.0%} of either's"
                for twin in pair.twins[:3]
            ]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()


def overlap(data: Any, least: int = TWIN_USERS, alike: float = TWIN_ALIKE) -> Overlap:
    """Counts what scenes share, over all rows of a data set (training, validation and test).

    Twins are items of two scenes, under different names, that at least ``least`` users met in both and that share at
    least ``alike`` of the users of either: as one product that two shops list. A model may then carry a test item over
    from the other scene, so that what looks like transfer is a look-up; measure with and without them.

    Args:
        data: a data set with users and items.
        least: shared users of twins.
        alike: shared users over users of either (Jaccard), in (0, 1].

    Raises:
        ValueError: the data name no users or no items.

    Example:
        >>> import polyscene as ps, pyarrow as pa
        >>> rows = {"user_id": list("ababc"), "item_id": list("xxyyz"), "scene": list("sstts")}
        >>> found = overlap(ps.read_table(train=pa.table(rows), task="ranking"))
        >>> found.pairs[0].users, [(twin.first, twin.second) for twin in found.pairs[0].twins]
        (2, [('x', 'y')])
    """
    roles, columns = data.roles, data.columns
    if roles.user is None or roles.item is None:
        raise ValueError("overlap: the data must name a user and an item column")
    user, item = (columns.codes[:, roles.categorical.index(each)].numpy() for each in (roles.user, roles.item))
    names = columns.ids[roles.categorical.index(roles.item)].list()
    return count_overlap(user, item, columns.scene.numpy(), list(columns.scene_names), names, least, alike)


def count_overlap(
    user: np.ndarray,
    item: np.ndarray,
    scene: np.ndarray,
    scene_names: list[str],
    item_names: list[str],
    least: int = TWIN_USERS,
    alike: float = TWIN_ALIKE,
) -> Overlap:
    """The overlap of rows given by their codes, -1 for an empty cell; see `overlap`."""
    from scipy import sparse

    out = Overlap()
    shape = (int(user.max(initial=-1)) + 1, int(item.max(initial=-1)) + 1)
    tables, present = [], []
    for code, name in enumerate(scene_names):
        rows = np.flatnonzero((scene == code) & (user >= 0) & (item >= 0))
        table = sparse.csr_matrix((np.ones(len(rows), np.float32), (user[rows], item[rows])), shape=shape)
        table.data[:] = 1
        tables.append(table)
        present.append((np.unique(user[rows]), np.unique(item[rows])))
        users, items = map(len, present[-1])
        out.scenes.append(SceneSize(name, int((scene == code).sum()), users, items, int(table.nnz)))
    for a in range(len(scene_names)):
        for b in range(a + 1, len(scene_names)):
            users, items = (len(np.intersect1d(present[a][side], present[b][side])) for side in (0, 1))
            twins = _twins(tables[a], tables[b], item_names, least, alike) if users else ()
            out.pairs.append(SharedPair(scene_names[a], scene_names[b], users, items, twins))
    return out


def _twins(first: Any, second: Any, names: list[str], least: int, alike: float) -> tuple[Twin, ...]:
    sizes = [np.asarray(each.sum(0)).ravel() for each in (first, second)]
    common = (first.T @ second).tocoo()
    share = common.data / (sizes[0][common.row] + sizes[1][common.col] - common.data)
    found = np.flatnonzero((common.data >= least) & (share >= alike) & (common.row != common.col))
    order = found[np.lexsort((common.col[found], common.row[found], -share[found], -common.data[found]))]
    return tuple(Twin(names[common.row[i]], names[common.col[i]], int(common.data[i]), float(share[i])) for i in order)
