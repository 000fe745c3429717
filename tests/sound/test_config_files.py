"""Files of keys and values: no key is lost, and no value becomes another one without a word."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from steer_utils.sound.config_files import read_config_file, read_object, write_object


def read(folder: Path, text: str, name: str = "x.yaml") -> Any:
    (folder / name).write_text(text, encoding="utf-8")
    return read_config_file(folder / name, "a grid")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: [0, 7, -12, +3, 0.5, .5, 1., 1.5e+3, .inf]", [0, 7, -12, 3, 0.5, 0.5, 1.0, 1500.0, float("inf")]),
        ("a: [true, False, TRUE, null, ~]", [True, False, True, None, None]),
        ('a: ["010", "no", "1:30", \'2026-11-26\']', ["010", "no", "1:30", "2026-11-26"]),
        ("a: [late, 4GB, 1e5, 0o10, 08]", ["late", "4GB", "1e5", "0o10", "08"]),  # text to yaml too
        ("b: &x {c: 1}\na: {<<: *x, c: 2}", {"c": 2}),  # what is merged is meant to be replaced
    ],
)
def test_what_everybody_reads_alike(text: str, value: Any, tmp_path: Path) -> None:
    assert read(tmp_path, text)["a"] == value


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("010", "8"),
        ("0123", "83"),
        ("1:30", "90"),
        ("12:00:00", "43200"),
        ("1:30.5", "90.5"),
        ("1_0", "10"),
        ("1_000.5", "1000.5"),
        ("0x10", "16"),
        ("0b11", "3"),
        ("no", "false"),
        ("Off", "false"),
        ("yes", "true"),
        ("on", "true"),
        ("2026-11-26", "a date"),
        ("2026-11-26 10:00:00", "a date"),
    ],
)
@pytest.mark.parametrize("form", ["a: {}", "a: [1, {}]", "- {}", "{}: 1", "a: {{b: {{c: {}}}}}"])
def test_what_only_yaml_reads_so_is_refused(text: str, meaning: str, form: str, tmp_path: Path) -> None:
    if ":" in text and form == "{}: 1":
        form = "? {}\n: 1"
    with pytest.raises(ValueError) as raised:
        read(tmp_path, "# a comment\n" + form.format(text))
    assert f'x.yaml line 2: yaml takes {text} for {meaning}; write "{text}" in quotes' in str(raised.value)


@given(st.text(st.sampled_from("0123456789_:.+-exobnyf tT"), max_size=8))
def test_a_plain_value_is_itself_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever it is, it is not another number than Python reads there."""
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(f"a: {text}\n")
    try:
        value = read_config_file(path, "a grid")["a"]
    except (ValueError, TypeError, KeyError):
        return
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        assert value == float(text) and "_" not in text
    elif isinstance(value, str):
        assert value == text.strip()


@pytest.mark.parametrize(
    ("name", "text", "key"),
    [
        ("x.yaml", "a: 1\nb: 2\na: 3", "a"),
        ("x.yaml", "a: {b: {c: 1, c: 2}}", "c"),
        ("x.yaml", "- {c: 1, 'c': 2}", "c"),
        ("x.yaml", "{1: a, 1.0: b}", "1.0"),
        ("x.yaml", "a: &x {b: 1}\nc: &y {b: 2}\nd: {<<: *x, <<: *y}", "<<"),
        ("x.json", '{"a": 1, "a": 2}', "a"),
        ("X.JSON", '[{"a": {"b": 1, "b": 1}}]', "b"),
    ],
)
def test_a_key_stands_once(name: str, text: str, key: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"{name} has {key} twice.*; give each key once"):
        read(tmp_path, text, name)


def test_what_is_merged_may_be_said_anew(tmp_path: Path) -> None:
    """However deep the mapping lies from which others take their keys."""
    text = "base: &b {a: 1}\nlist: [{k: &x {<<: *b, a: 2}}]\ny: {<<: *x}\nz: {<<: [*b, *x], c: 3}"
    assert read(tmp_path, text) == {"base": {"a": 1}, "list": [{"k": {"a": 2}}], "y": {"a": 2}, "z": {"a": 1, "c": 3}}


DOUBLED = "\n".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 64))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.yaml", "a: &a [1, *a]", "line 1: a value holds itself"),
        ("x.yaml", "a: &a {b: {c: *a}}", "line 1: a value holds itself"),
        ("x.yaml", "a0: &a0 [1]\n" + DOUBLED, "aliases stand for more than"),
        ("x.yaml", "a: 1.0e+400", "yaml takes 1.0e.400 for inf"),
        ("x.json", '{"a": -1e400}', "-1e400 is too large for a number"),
    ],
)
def test_values_without_end_are_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text, name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    for name in ("x.yaml", "x.json"):
        (tmp_path / name).write_bytes('{"a": "é"}'.encode(encoding))
        assert read_config_file(tmp_path / name, "a grid") == {"a": "é"}


@pytest.mark.parametrize(
    "text", ["a: [1, 2", "a: " + "[" * 3000, "? [1]\n: 2", "a: !!python/object:os.system {}", "a: \0"]
)
def test_what_cannot_be_read_is_one_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^cannot read a grid from .*x\.yaml': [^\n]+$"):
        read(tmp_path, text)
    with pytest.raises(ValueError, match=r"^cannot read a grid from .*x\.json': [^\n]+$"):
        read(tmp_path, "[" * 100_000, "x.json")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_what_yaml_and_json_write_is_read_back(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    folder = tmp_path_factory.getbasetemp()
    assert read(folder, json.dumps(value), "back.json") == value
    assert read(folder, yaml.safe_dump(value), "back.yaml") == value


# -- one object ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Pair:
    first: float
    second: float = 2.0

    def __post_init__(self) -> None:
        if self.first < 0:
            raise ValueError(f"first is {self.first}; pass 0 or more")


@dataclass(frozen=True)
class Choice:
    """`none`: chosen to be None, where the default is another value, as a file must say."""

    chosen: int | None = None
    never: int | None = None
    none: int | None = 3


def test_what_was_left_unset_is_not_in_the_file_and_comes_back(tmp_path: Path) -> None:
    choice = Choice(chosen=0, none=None)
    write_object(choice, tmp_path / "choice.json")
    assert json.loads((tmp_path / "choice.json").read_text(encoding="utf-8")) == {"chosen": 0, "none": None}
    assert read_object(Choice, tmp_path / "choice.json", "a choice") == choice


def test_an_object_comes_back_as_it_was_or_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "pair.json"
    write_object(Pair(1.5), path)
    assert read_object(Pair, path, "a pair") == Pair(1.5)
    for text, words in [
        ("[1, 2]", "holds a list; pass a pair as one json object"),
        ('{"first": -1}', "pair.json: first is -1"),
        ('{"third": 1}', "pair.json: .*third"),
        ('{"first": 1, "first": 2}', "pair.json"),
        ("{", "cannot read a pair from"),
    ]:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=words):
            read_object(Pair, path, "a pair")
