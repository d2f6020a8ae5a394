"""What each column of a project's database may hold: types, enumerations, finite numbers, JSON, references."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..model.curation import Decision, Reason
from ..model.micrograph import MicrographState
from ..model.region import Origin, unpack_vertices

#: Whole numbers beyond are not exact as float64, and no id or size is so large.
_LARGEST = 2**53
#: No JSON text of ours is longer; a file list of 50,000 micrographs takes 5 MB.
_LONGEST_JSON = 64 * 2**20
#: Positions, sizes and scores beyond are damage.
FARTHEST = 1e30


@dataclass(frozen=True, slots=True)
class Rule:
    """What a column may hold.

    Attributes
    ----------
    good : str
        SQL condition with ``{c}`` for the column; a row where it is not true is a problem.
    message : str
    decode : callable (text) -> object, optional
        Looks at a text that passed ``good``; raises ValueError, TypeError or KeyError with what is wrong.
    """

    good: str
    message: str
    decode: Callable[[str], object] | None = None


# --- what a column may hold ------------------------------------------------------------------------------------------


def _whole(low: int = -_LARGEST, high: int = _LARGEST) -> Rule:
    return Rule(f"typeof({{c}}) = 'integer' AND {{c}} BETWEEN {low} AND {high}", "is not a whole number that can be")


def _number(low: float = -FARTHEST, high: float = FARTHEST) -> Rule:
    good = f"typeof({{c}}) IN ('real', 'integer') AND {{c}} BETWEEN {low!r} AND {high!r}"
    return Rule(good, "is not a finite number that can be")


def _or_null(rule: Rule) -> Rule:
    return Rule(f"{{c}} IS NULL OR ({rule.good})", rule.message, rule.decode)


def _text(longest: int = 2**20) -> Rule:
    good = f"typeof({{c}}) = 'text' AND length({{c}}) <= {longest} AND instr({{c}}, char(0)) = 0"
    return Rule(good, f"is not a text of at most {longest:,} characters")


def _one_of(words: Iterator[str] | list[str], *, empty: bool = False) -> Rule:
    known = ", ".join(f"'{word}'" for word in [*words, *([""] if empty else [])])
    return Rule(f"typeof({{c}}) = 'text' AND {{c}} IN ({known})", "is none of the words known here")


def _json(inspect: Callable[[Any], object], *, empty: bool = False) -> Rule:
    def decode(text: str) -> None:
        if text or not empty:
            inspect(decoded(text))

    return Rule(f"typeof({{c}}) = 'text' AND length({{c}}) <= {_LONGEST_JSON}", "is not a text of JSON", decode)


def decoded(text: str) -> Any:
    """A JSON text as Python's objects. Raises ValueError, also where it is nested without an end."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _refuse_constant(word: str) -> float:
    return math.nan if word == "NaN" else math.inf if word == "Infinity" else -math.inf


def _need(good: object, message: str) -> None:
    if not good:
        raise ValueError(message)


def _object(value: Any) -> dict[str, Any]:
    _need(isinstance(value, dict), "is not a JSON object")
    return dict(value)


def _finite(value: Any, message: str) -> float:
    _need(isinstance(value, int | float) and not isinstance(value, bool), message)
    _need(abs(value) < FARTHEST, message)
    return float(value)


def _texts(value: Any) -> None:
    for key, text in _object(value).items():
        _need(isinstance(text, str), f"its column {key!r} is no text")


def _frame(value: Any) -> None:
    frame = _object(value)
    if not frame:
        return
    for key in ("orientation", "anchor"):
        _need(isinstance(frame.get(key, ""), str), f"its {key} is no word")
    if "scale" in frame:
        _need(_finite(frame["scale"], "its scale is no number") > 0, "its scale is not above 0")
    if "first_index" in frame:
        _finite(frame["first_index"], "its first index is no number")


def _pick_set_parameters(value: Any) -> None:
    parameters = _object(value)
    for key in ("files", "companions", "unmatched"):
        names = parameters.get(key, [])
        _need(isinstance(names, list) and all(isinstance(name, str) for name in names), f"its {key} are no names")
        _need(not any("\0" in name for name in names), f"its {key} hold NUL characters")
    needed = ("format", "identity") if parameters.get("files") else ()
    for key in ("format", "identity", "suffix"):
        _need(isinstance(parameters.get(key, None if key in needed else ""), str), f"its {key} is no text")
    for number, name in _object(parameters.get("names", {})).items():
        _need(number.isdecimal() and isinstance(name, str), "its names of micrographs are none")
    for group in _object(parameters.get("optics", {})).values():
        _texts(group)


_SUMMARY_NUMBERS = ("share", "resolution_A", "posterior", "offset_px", "spread", "quality")


def _summary(value: Any) -> None:
    _need(isinstance(value, list), "is no list of classes")
    for entry in value:
        item = _object(entry)
        for key in ("number", "count"):
            _need(isinstance(item.get(key), int) and 0 <= item[key] < _LARGEST, f"a class has no {key}")
        for key in _SUMMARY_NUMBERS:
            _need(item.get(key) is None or isinstance(item[key], int | float), f"the {key} of a class is no number")
        suggestion = item.get("suggestion", 0)
        _need(isinstance(suggestion, int) and suggestion in list(Decision), "the suggestion for a class is none")
        for key in ("kind", "note"):
            _need(isinstance(item.get(key, ""), str), f"the {key} of a class is no text")


def _setting_value(value: Any) -> None:
    if isinstance(value, float):
        _need(math.isfinite(value), "is not finite")


#: Settings that are numbers above 0, or nothing.
NUMBER_SETTINGS = ("diameter_A", "pixel_size_A", "whole_box_px")
TEXT_SETTINGS = ("data_root", "polarity")


def _path(text: str) -> None:
    _need(all(len(part.encode("utf-8", "surrogatepass")) < 256 for part in text.split("/")), "no file has such a name")


_PATH = Rule(_text(4096).good, "is not a path", _path)
#: Where a run's averages lie in the project: the folder is deleted when the run is forgotten.
_RUN_FOLDER = Rule(
    "typeof({c}) = 'text' AND ({c} = '' OR ({c} GLOB 'classes/run-[0-9]*' AND substr({c}, 13) NOT GLOB '*[^0-9]*'))",
    "is not a folder of classes in the project",
)
_ID = _whole(1)
_SIZE = _whole(0, 2**31)
_ANGSTROM = _or_null(_number(-1e6, 1e9))
_DECISION = _whole(min(Decision), max(Decision))
_REASON = _whole(min(Reason), max(Reason))

_NAMES = {"name": _text(4096), "colour": _text(7), "key": _text(64)}
_SPECIES = {"id": _ID, **_NAMES, "diameter_A": _or_null(_number(0.0, 1e9))}

RULES: dict[str, dict[str, Rule]] = {
    "species": _SPECIES,
    "setting": {"key": _text(64), "value": _json(_setting_value)},
    "id_counter": {"name": _text(32), "next": _whole(1)},
    "micrograph": {
        "id": _ID,
        "name": _text(4096),
        "path": _PATH,
        "width": _SIZE,
        "height": _SIZE,
        "header_pixel_size_A": _or_null(Rule("typeof({c}) IN ('real', 'integer')", "is no number")),
        "own_pixel_size_A": _ANGSTROM,
        "n_frames": _whole(0, 2**31),
        "frame": _whole(-1, 2**31),
        "fingerprint": _text(),
        "state": _one_of([s.value for s in MicrographState]),
        "state_by": _text(),
        "problem": _text(),
        "optics": _json(_object, empty=True),
        "picture": _json(_object, empty=True),
        "assigned": _text(),
        "n_accepted": _SIZE,
        "n_undecided": _SIZE,
        "n_rejected": _SIZE,
    },
    "pick_set": {
        "id": _ID,
        "name": _text(4096),
        "kind": _text(64),
        "source": _text(),
        "curator": _text(),
        "frame": _json(_frame),
        "parameters": _json(_pick_set_parameters),
        "created": _text(64),
        "colour": _text(7),
    },
    "particle": {
        "id": _ID,
        "micrograph": _ID,
        "pick_set": _ID,
        "x": _number(),
        "y": _number(),
        "diameter_A": _or_null(_number()),
        "score": Rule("{c} IS NULL OR typeof({c}) IN ('real', 'integer')", "is no number"),
        "decision": _DECISION,
        "reason": _REASON,
        "class_id": _whole(-(2**31), 2**31 - 1),
        "species": _whole(0, 2**31 - 1),
        "extra": Rule(
            "{c} IS NULL OR CASE WHEN typeof({c}) = 'text' AND json_valid({c}) THEN json_type({c}) = 'object' END",
            "is no JSON object",
        ),
    },
    "change": {
        "id": _ID,
        "at": _text(64),
        "curator": _text(),
        "kind": _one_of(["do", "undo", "redo", "visit"]),
        "target": _or_null(_whole(0)),
        "state": _one_of(["applied", "undone", "abandoned"], empty=True),
        "verb": _text(),
        "title": _text(),
        "micrograph": _or_null(_whole(0)),
        "n_particles": _SIZE,
        "payload": Rule("{c} IS NULL OR typeof({c}) = 'blob'", "is no record of rows"),
    },
    "region": {
        "id": _ID,
        "micrograph": _ID,
        "reason": _REASON,
        "origin": _one_of([o.value for o in Origin]),
        "vertices": _json(lambda value: unpack_vertices(json.dumps(value))),
        "curator": _text(),
        "created": _text(64),
    },
    "record": {
        "id": _ID,
        "kind": _text(),
        "engine": _text(),
        "version": _text(),
        "parameters": _json(_object),
        "inputs": _json(_object),
        "counts": _json(_object),
        "seed": _or_null(_whole()),
        "curator": _text(),
        "started": _text(64),
        "seconds": _or_null(_number()),
    },
    "class_run": {
        "id": _ID,
        "record": _ID,
        "name": _text(4096),
        "head": _whole(0),
        "pixel_size_A": _number(),
        "folder": _RUN_FOLDER,
        "summary": _json(_summary, empty=True),
    },
    "class_member": {
        "run": _ID,
        "particle": _ID,
        "number": _whole(0, 2**31 - 1),
        "posterior": _or_null(_number()),
        "shift_x": _or_null(_number()),
        "shift_y": _or_null(_number()),
        "angle_deg": _or_null(_number()),
        "x": _number(),
        "y": _number(),
    },
}

#: (table, column, table it points to); class members may outlive their particles.
REFERENCES = (
    ("particle", "micrograph", "micrograph"),
    ("particle", "pick_set", "pick_set"),
    ("particle", "species", "species"),
    ("region", "micrograph", "micrograph"),
    ("class_run", "record", "record"),
    ("class_member", "run", "class_run"),
)
