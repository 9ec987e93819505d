"""What each column of a source is: label, scene, user, item, time, weight, interest, features."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from polyscene.data import _cells
from polyscene.data._errors import choice, mapping, name, unknown_key
from polyscene.data.frame import Frame
from polyscene.data.scenes import SceneRole, scene_role

TASKS = ("ctr", "ranking", "rating", "sequence", "text", "image")
CLASSED = ("text", "image")  # tasks whose labels are names of classes
RANKED = ("ranking", "sequence")  # tasks of items that users wanted, without a label
SCALINGS = ("z_score", "min_max", "zero_mean", "median", "none")
MISSING = ("mean", "median", "knn", "category")
OUTLIERS = ("keep", "clip", "drop", "interpolate")
TOKENIZERS = ("words", "bpe", "wordpiece")
MAX_TOKENS = 200  # of a text, unless its role says otherwise
PIECES = 8000  # of a bpe or wordpiece tokeniser, unless its role says otherwise
DEFAULTS = {"label": "label", "scene": "scene", "user": "user_id", "item": "item_id"}


@dataclass(frozen=True)
class LabelRole:
    """The label: a number as it is, 1 where it is at least ``at_least``, or what ``values`` says of a text."""

    column: str
    at_least: float | None = None
    values: dict[str, float] | None = None


@dataclass(frozen=True)
class TimeRole:
    """A time in ``unit`` since 1970 (UTC); "" until the column was read, where the unit was not given."""

    column: str
    unit: str = "s"


@dataclass(frozen=True)
class NumericRole:
    """A numeric feature and its preprocessing."""

    name: str
    scaling: str = "z_score"
    missing: str = "mean"
    outliers: str = "keep"


@dataclass(frozen=True)
class ListRole:
    """A multi-hot or sequence feature, the interests of a row, or a text (``max_length`` tokens, the first)."""

    name: str
    kind: str = "multi_hot"
    shares: str = ""
    max_length: int = 50
    separator: str = " "


@dataclass(frozen=True)
class TokenizerRole:
    """How texts become tokens; ``model`` is what training rows taught a bpe or wordpiece tokeniser, as JSON text."""

    kind: str = "words"
    size: int = 0
    model: str = ""


@dataclass(frozen=True)
class ImageRole:
    """How the images of a column are stored; without a size (0) they all have that of the first."""

    name: str
    channels: int = 1
    height: int = 0
    width: int = 0

    @property
    def pixels(self) -> int:
        """Numbers of one image."""
        return self.channels * self.height * self.width


@dataclass(frozen=True)
class Roles:
    """The roles of all columns, as read from the arguments of `read_table`."""

    task: str = "ctr"
    label: LabelRole | None = None
    scene: SceneRole | None = None
    user: str | None = None
    item: str | None = None
    time: TimeRole | None = None
    weight: str | None = None
    interest: ListRole | None = None
    categorical: tuple[str, ...] = ()
    numeric: tuple[NumericRole, ...] = ()
    lists: tuple[ListRole, ...] = ()
    unseen_scene: str = "error"
    min_count: int = 2
    fitted: dict[str, Any] = field(default_factory=dict, compare=False)  # fences and donors, from training rows
    tokenizer: TokenizerRole | None = None
    classes: tuple[str, ...] = ()  # of tasks text and image: the distinct labels of training rows
    images: tuple[ImageRole, ...] = ()

    def columns(self) -> list[str]:
        """Names of the columns that are read."""
        wanted = [self.label.column if self.label else "", self.time.column if self.time else "", self.weight or ""]
        wanted += [*(self.scene.columns if self.scene else ()), *self.categorical]
        wanted += [*(each.name for each in self.numeric), *(each.name for each in self.lists)]
        wanted += [self.interest.name if self.interest else ""]
        return list(dict.fromkeys(column for column in wanted if column))

    def json(self) -> str:
        """The roles as JSON text, as a schema and a compiled data set keep them."""
        values = asdict(self)
        for key in ("tokenizer", "classes", "images"):  # what others do not have stays out of their digests
            if not values[key]:
                del values[key]
        return json.dumps(values, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Roles:
        """Reads what `json` wrote."""
        given = json.loads(text)

        def made(kind: type, value: Any) -> Any:
            return None if value is None else kind(**value)

        scene = given["scene"]
        if scene is not None:
            scene = SceneRole(**scene | {"columns": tuple(scene["columns"]), "edges": tuple(scene["edges"])})
        return Roles(
            **given
            | {
                "label": made(LabelRole, given["label"]),
                "time": made(TimeRole, given["time"]),
                "interest": made(ListRole, given["interest"]),
                "scene": scene,
                "categorical": tuple(given["categorical"]),
                "numeric": tuple(NumericRole(**each) for each in given["numeric"]),
                "lists": tuple(ListRole(**each) for each in given["lists"]),
                "tokenizer": made(TokenizerRole, given.get("tokenizer")),
                "classes": tuple(given.get("classes", ())),
                "images": tuple(ImageRole(**each) for each in given.get("images", ())),
            }
        )


def resolve(frame: Frame, given: Mapping[str, Any], owner: str) -> Roles:
    """Checks the roles that were given against the columns of a source.

    Args:
        frame: the source; its pieces need not be read yet.
        given: the arguments of `read_table` by name.
        owner: what messages call the caller.

    Raises:
        ValueError: a role names no column, a column has two roles that exclude each other, or there is no feature.
        TypeError: a role is of the wrong type.
    """
    frame.require_common()
    task = given["task"]
    choice(f"{owner}: task", task, TASKS)
    given = dict(given)
    for role, default in DEFAULTS.items():
        if given[role] == default and default not in frame.names:
            given[role] = None
    label = _label(frame, given["label"], owner)
    if label is None and task in ("ctr", "rating", *CLASSED) and given["needs_label"]:
        frame.require("label", f"label (task {task!r} needs one)")
    user, item = (_column(frame, given[role], role) for role in ("user", "item"))
    categorical = _names(frame, given["categorical"], "categorical", owner)
    categorical = tuple(dict.fromkeys([*(id_ for id_ in (user, item) if id_ and id_ not in categorical), *categorical]))
    images = tuple(_image(frame, each, owner) for each in _each(given["image"], "image", owner))
    lists = tuple(
        _list(frame, each, kind, owner)
        for kind in ("multi_hot", "sequence", "text")
        for each in _each(given[kind], kind, owner)
    )
    lists += tuple(ListRole(each.name, "image", max_length=each.pixels or 1) for each in images)
    _check_images(images, task, owner)
    if task in CLASSED and label is not None and (label.at_least is not None or label.values is not None):
        raise ValueError(
            f"{owner}: label: task {task!r} takes the classes as they stand in a column; give its name alone"
        )
    tokenizer = _tokenizer(given.get("tokenizer"), lists, task, owner)
    time = _time(frame, given["time"], owner)
    roles = Roles(
        task=task,
        label=label,
        scene=scene_role(frame, given["scene"], time.column if time else None, owner),
        user=user,
        item=item,
        time=time,
        weight=_column(frame, given["weight"], "weight"),
        interest=None if given["interest"] is None else _list(frame, given["interest"], "interest", owner),
        categorical=categorical,
        numeric=tuple(_numeric(frame, each, owner) for each in _each(given["numeric"], "numeric", owner)),
        lists=lists,
        unseen_scene=choice(f"{owner}: unseen_scene", given["unseen_scene"], ("error", "shared", "nearest")),
        min_count=_positive(f"{owner}: min_count", _least(task) if given["min_count"] is None else given["min_count"]),
        tokenizer=tokenizer,
        images=images,
    )
    _exclusive(frame, roles, owner)
    if task == "sequence" and (user is None or item is None):
        frame.require(DEFAULTS["item" if user else "user"], f"{'item' if user else 'user'} (task 'sequence' needs one)")
    if task == "sequence" and roles.weight is not None:
        raise ValueError(f"{owner}: weight: rows of sequences are not weighed; leave it out")
    return roles


def _exclusive(frame: Frame, roles: Roles, owner: str) -> None:
    used: dict[str, str] = {}
    groups = {
        "categorical": roles.categorical,
        "numeric": [each.name for each in roles.numeric],
        "multi_hot": [each.name for each in roles.lists if each.kind == "multi_hot"],
        "sequence": [each.name for each in roles.lists if each.kind == "sequence"],
        "text": [each.name for each in roles.lists if each.kind == "text"],
        "image": [each.name for each in roles.images],
        "weight": [roles.weight] if roles.weight else [],
        "label": [roles.label.column] if roles.label else [],
    }
    for role, names in groups.items():
        for column in names:
            if column in used:
                why = "the model would see the answer; " if role == "label" else ""
                raise ValueError(f"{owner}: the column {column!r} is both {used[column]} and {role}; {why}name it once")
            used[column] = role
    features = [*roles.categorical, *groups["numeric"], *(each.name for each in roles.lists)]
    if not features:
        raise ValueError(
            f"{owner}: no features: name columns in categorical, numeric, multi_hot or sequence, or give user, item; "
            f"columns of {frame.name}: {', '.join(frame.names)}"
        )
    for each in roles.lists:
        if each.shares and each.shares not in roles.categorical:
            raise ValueError(f"{owner}: {each.name!r} shares the ids of {each.shares!r}, which is not categorical")


def _column(frame: Frame, given: Any, role: str) -> str | None:
    if given is None:
        return None
    return frame.require(name(f"{frame.owner}: {role}", given), role)


def _least(task: str) -> int:
    """Training rows that an id needs: rankings rank every item that somebody met."""
    return 1 if task in RANKED else 2


def _positive(owner: str, given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise ValueError(f"{owner} must be a whole number of at least 1, got {given!r}")
    return given


def _each(given: Any, role: str, owner: str) -> Sequence[Any]:
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable):
        raise TypeError(f"{owner}: {role} must be a list of columns, got {given!r}; write {role}=[{given!r}]")
    return list(given)


def _names(frame: Frame, given: Any, role: str, owner: str) -> tuple[str, ...]:
    names = tuple(frame.require(name(f"{owner}: {role}", each), role) for each in _each(given, role, owner))
    for i, column in enumerate(names):
        if column in names[:i]:
            raise ValueError(f"{owner}: {role} names {column!r} twice")
    return names


def _label(frame: Frame, given: Any, owner: str) -> LabelRole | None:
    if given is None or isinstance(given, str):
        column = _column(frame, given, "label")
        return None if column is None else LabelRole(column)
    given = mapping(f"{owner}: label", given)
    unknown_key(f"{owner}: label", given, ("column", "at_least", "mapping"))
    column = frame.require(name(f"{owner}: label: column", given.get("column")), "label")
    if "at_least" in given and "mapping" in given:
        raise ValueError(f"{owner}: label: give at_least or mapping, not both")
    at_least = given.get("at_least")
    if at_least is not None and (isinstance(at_least, bool) or not isinstance(at_least, (int, float))):
        raise TypeError(f"{owner}: label: at_least must be a number, got {at_least!r}")
    values = None
    if "mapping" in given:
        values = {}
        for key, value in mapping(f"{owner}: label: mapping", given["mapping"]).items():
            for text in (("true", "True") if key else ("false", "False")) if isinstance(key, bool) else (str(key),):
                values[text] = float(value)
    return LabelRole(column, None if at_least is None else float(at_least), values)


def _time(frame: Frame, given: Any, owner: str) -> TimeRole | None:
    if given is None or isinstance(given, str):
        column = _column(frame, given, "time")
        return None if column is None else TimeRole(column, "")
    given = mapping(f"{owner}: time", given)
    unknown_key(f"{owner}: time", given, ("column", "unit"))
    column = frame.require(name(f"{owner}: time: column", given.get("column")), "time")
    unit = given.get("unit")
    return TimeRole(column, "" if unit is None else choice(f"{owner}: time: unit", unit, _cells.UNITS))


def _numeric(frame: Frame, given: Any, owner: str) -> NumericRole:
    if isinstance(given, str):
        given = {"name": given}
    given = mapping(f"{owner}: numeric", given)
    unknown_key(f"{owner}: numeric", given, ("name", "scaling", "missing", "outliers"))
    role = NumericRole(**{"name": "", **given})
    frame.require(name(f"{owner}: numeric: name", role.name), "numeric")
    where = f"{owner}: numeric {role.name!r}"
    choice(f"{where}: scaling", role.scaling, SCALINGS)
    choice(f"{where}: missing", role.missing, MISSING)
    choice(f"{where}: outliers", role.outliers, OUTLIERS)
    return role


def _list(frame: Frame, given: Any, kind: str, owner: str) -> ListRole:
    if isinstance(given, str):
        given = {"name": given}
    given = mapping(f"{owner}: {kind}", given)
    known = {"interest": ("name", "separator"), "text": ("name", "max_length")}
    unknown_key(f"{owner}: {kind}", given, known.get(kind, ("name", "shares", "max_length", "separator")))
    defaults = {"name": ""} | ({"max_length": MAX_TOKENS} if kind == "text" else {})
    role = ListRole(**{**defaults, **given, "kind": kind})
    frame.require(name(f"{owner}: {kind}: name", role.name), kind)
    _positive(f"{owner}: {kind} {role.name!r}: max_length", role.max_length)
    if not isinstance(role.separator, str) or not role.separator:
        raise ValueError(f"{owner}: {kind} {role.name!r}: separator must be a text, got {role.separator!r}")
    return role


def _image(frame: Frame, given: Any, owner: str) -> ImageRole:
    if isinstance(given, str):
        given = {"name": given}
    given = mapping(f"{owner}: image", given)
    unknown_key(f"{owner}: image", given, ("name", "size", "channels"))
    column = frame.require(name(f"{owner}: image: name", given.get("name", "")), "image")
    where = f"{owner}: image {column!r}"
    channels = given.get("channels", 1)
    if channels not in (1, 3) or isinstance(channels, bool):
        raise ValueError(f"{where}: channels must be 1 (grey) or 3 (red, green, blue), got {channels!r}")
    size = given.get("size")
    if size is None:
        return ImageRole(column, channels)
    if isinstance(size, str) or not isinstance(size, Sequence) or len(size) != 2:
        raise ValueError(f"{where}: size must be [height, width], got {size!r}")
    height, width = (_positive(f"{where}: size", each) for each in size)
    return ImageRole(column, channels, height, width)


def _check_images(images: Sequence[ImageRole], task: str, owner: str) -> None:
    if task not in CLASSED and images:
        raise ValueError(
            f"{owner}: image names {images[0].name!r}, but images are for tasks 'image' and 'text', got task {task!r}"
        )
    if task == "image" and len(images) != 1:
        raise ValueError(f"{owner}: image must name one column (task 'image'), got {len(images)}")


def _tokenizer(given: Any, lists: Sequence[ListRole], task: str, owner: str) -> TokenizerRole | None:
    """The tokeniser of task text, whose texts are checked; None for other tasks."""
    texts = [each.name for each in lists if each.kind == "text"]
    if task != "text":
        if texts or given is not None:
            what = f"text names {texts[0]!r}" if texts else "tokenizer is given"
            raise ValueError(f"{owner}: {what}, but texts are for task 'text', got task {task!r}")
        return None
    if len(texts) != 1:
        raise ValueError(f"{owner}: text must name one column (task 'text'), got {len(texts)}; join several into one")
    if isinstance(given, str):
        given = {"kind": given}
    given = mapping(f"{owner}: tokenizer", given or {})
    unknown_key(f"{owner}: tokenizer", given, ("kind", "size"))
    kind = choice(f"{owner}: tokenizer: kind", given.get("kind", "words"), TOKENIZERS)
    if kind == "words":
        if "size" in given:
            raise ValueError(f"{owner}: tokenizer: size is for bpe and wordpiece; words are limited by min_count")
        return TokenizerRole()
    return TokenizerRole(kind, _positive(f"{owner}: tokenizer: size", given.get("size", PIECES)))
