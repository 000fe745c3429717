"""Multiple-choice sets: an answer is always one of the choices, however its file spells it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steer_utils.sound.questions import LETTERS, TRACKS, Question, _answer, _Draft, _split, mmau, sakura

COLUMNS = "file attribute_label single_instruction single_answer multi_instruction multi_answer".split()
ROWS = [
    line.split("|")
    for line in (
        "dog28.wav|dog|Which animal is heard? (a) dog (b) crow (c) cow (d) hen|(a) dog|"
        "Which feature has it? (a) Feathers (b) Scales (c) Claws (d) Horns|(c) Claws",
        "cow1.wav|cow|Name the animal, please. (a) pig (b) cow| (b) cow|"
        "How does it   move?(a) By swimming. (b) By    walking.|(b) By walking.",
    )
]
Beep = Callable[[Path], None]


@pytest.fixture
def clone(tmp_path: Path, beep: Beep) -> Path:
    """SAKURA's repository with one track of two recordings."""
    root = tmp_path / "SAKURA"
    for row in ROWS:
        beep(root / "data" / "Animal" / "audio" / row[0])
    write(root, ROWS)
    return root


def write(clone: Path, rows: list[list[str]], columns: list[str] = COLUMNS) -> None:
    with (clone / "data" / "Animal" / "metadata.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *rows])


def record(name: str, **changes: Any) -> dict[str, Any]:
    """A question of MMAU as its json has it."""
    sound = {"id": name, "audio_id": f"./test-mini-audios/{name}.wav", "task": "speech", "difficulty": "easy"}
    return {**sound, "question": "Who speaks?", "choices": ["Man", "Woman", "Child"], "answer": "Woman", **changes}


@pytest.fixture
def mini(tmp_path: Path, beep: Beep) -> Path:
    """The folder with test-mini-audios and mmau-test-mini.json."""
    for name in "ab":
        beep(tmp_path / "test-mini-audios" / f"{name}.wav")
    dump(tmp_path, [record("a"), record("b", task="sound")])
    return tmp_path


def dump(folder: Path, records: Any) -> Path:
    path = folder / "mmau-test-mini.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


# One question ----------------------------------------------------------------------------------------------------


def test_the_prompt_letters_the_choices() -> None:
    question = Question("q", Path("a.wav"), "Which?", ("dog", "crow"), "crow", "t")
    assert question.prompt == "Which? (a) dog (b) crow"
    assert question.letter == "b"


@pytest.mark.parametrize(
    ("choices", "answer"), [(("dog",), "dog"), (("dog", "crow"), "cow"), (tuple("abcdefghijk"), "a")]
)
def test_a_question_without_an_answer_cannot_be_made(choices: tuple[str, ...], answer: str) -> None:
    with pytest.raises(ValueError, match="question q"):
        Question("q", Path("a.wav"), "Which?", choices, answer, "t")


letters = st.characters(categories=["L", "N", "P", "Zs"], exclude_characters="()")
words = st.text(letters, min_size=1).map(lambda text: " ".join(text.split())).filter(bool)
lists = st.lists(words, min_size=2, max_size=len(LETTERS), unique_by=str.casefold)


@settings(max_examples=60, deadline=None)
@given(question=words, choices=lists, data=st.data())
def test_prompt_and_split_are_inverse_and_every_spelling_finds_its_choice(
    question: str, choices: list[str], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(choices) - 1))
    made = Question("q", Path("a.wav"), question, tuple(choices), choices[index], "t")
    assert _split(made.prompt) == (made.question, made.choices)
    spellings = [made.answer, f" ({made.letter})  {made.answer} ", f"{made.letter.upper()}. {made.answer}"]
    spellings += [made.answer.upper()] if made.answer.upper().casefold() == made.answer.casefold() else []
    for spelt in spellings:
        assert _answer(_Draft("q", "a.wav", question, made.choices, spelt, "t")) == made.answer


CROW = [(answer, "crow") for answer in ("b", "(B)", "B. crow", "CROW", "(a) crow")]
NONE = [(answer, None) for answer in ("c", "(b) cow", "", "crow dog", "\u0130", "k. dog")]


@pytest.mark.parametrize(("answer", "expected"), CROW + NONE)
def test_letters_and_texts_of_answers(answer: str, expected: str | None) -> None:
    assert _answer(_Draft("q", "a.wav", "?", ("dog", "crow"), answer, "t")) == expected


def test_a_choice_that_is_a_letter_wins_over_the_letter_of_a_choice() -> None:
    assert _answer(_Draft("q", "a.wav", "Which key?", ("C", "G", "B"), "B", "t")) == "B"


# SAKURA ----------------------------------------------------------------------------------------------------------


def test_sakura_asks_two_questions_about_a_recording(clone: Path) -> None:
    questions = sakura(clone, "Animal")
    audio = clone / "data" / "Animal" / "audio"
    animals, features = ("dog", "crow", "cow", "hen"), ("Feathers", "Scales", "Claws", "Horns")
    dog = audio / "dog28.wav"
    assert questions[:2] == [
        Question("animal-single-0002-dog28", dog, "Which animal is heard?", animals, "dog", "animal-single"),
        Question("animal-multi-0002-dog28", dog, "Which feature has it?", features, "Claws", "animal-multi"),
    ]
    assert questions[0].prompt == ROWS[0][2]
    assert (questions[2].answer, questions[2].letter) == ("cow", "b")
    assert (questions[3].question, questions[3].answer) == ("How does it move?", "By walking.")
    assert len({question.id for question in questions}) == len(questions) == 4


def test_sakura_is_found_from_each_of_its_folders(clone: Path) -> None:
    expected = sakura(clone, "animal")
    for folder in (clone / "data", clone / "data" / "Animal", clone.parent):
        assert sakura(str(folder), "ANIMAL") == expected


def test_sakura_uses_a_recording_twice_and_takes_any_case_in_column_names(clone: Path) -> None:
    write(clone, [*ROWS, ROWS[0]], [f" {name.upper()}" for name in COLUMNS])
    questions = sakura(clone, "Animal")
    assert len({question.id for question in questions}) == len(questions) == 6


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [
        (2, "Which animal? dog or crow", r"1 of the 4 questions.*animal-single-0002-dog28: '\(a\) dog' of"),
        (2, "Which? (a) dog (c) crow", "1 of the 4"),
        (2, "Which? (a) (b) dog", "1 of the 4"),
        (3, "(a) horse", r"'\(a\) horse' of dog, crow, cow, hen"),
        (3, "", "1 of the 4"),
    ],
)
def test_broken_questions_are_named_or_left_out(clone: Path, column: int, text: str, message: str) -> None:
    broken = [*ROWS[0]]
    broken[column] = text
    write(clone, [broken, ROWS[1]])
    with pytest.raises(ValueError, match=message):
        sakura(clone, "Animal")
    kept = sakura(clone, "Animal", drop_broken=True)
    assert [question.task for question in kept] == ["animal-multi", "animal-single", "animal-multi"]


def test_a_set_of_broken_questions_is_not_an_empty_set(clone: Path) -> None:
    row = [ROWS[0][0], "dog", "Which?", "dog", "Which?", "dog"]
    write(clone, [row])
    with pytest.raises(ValueError, match="2 of the 2"):
        sakura(clone, "Animal", drop_broken=True)


def test_sakura_without_its_files(clone: Path) -> None:
    with pytest.raises(ValueError, match=", ".join(TRACKS)):
        sakura(clone, "Animals")
    with pytest.raises(ValueError, match=r"no Emotion/metadata.csv"):
        sakura(clone, "Emotion")
    with pytest.raises(ValueError, match="not a folder"):
        sakura(clone / "none", "Animal")
    (clone / "data" / "Animal" / "audio" / "cow1.wav").unlink()
    with pytest.raises(ValueError, match=r"1 of the 2 sound files of Animal/metadata.csv are not in.*: cow1.wav$"):
        sakura(clone, "Animal")
    write(clone, ROWS, ["name", *COLUMNS[1:]])
    with pytest.raises(ValueError, match=r"lacks the column\(s\) file; found: name, attribute_label"):
        sakura(clone, "Animal")
    write(clone, [])
    with pytest.raises(ValueError, match="no rows"):
        sakura(clone, "Animal")
    write(clone, [["../../../outside.wav", *ROWS[0][1:]]])
    with pytest.raises(ValueError, match="leads out"):
        sakura(clone, "Animal")


# MMAU ------------------------------------------------------------------------------------------------------------


def test_mmau_in_its_official_form(mini: Path) -> None:
    audio = mini / "test-mini-audios"
    table = mini / "mmau-test-mini.json"
    first, second = mmau(table, mini)
    assert first == Question("a", audio / "a.wav", "Who speaks?", ("Man", "Woman", "Child"), "Woman", "speech")
    assert second.task == "sound"
    assert mmau(str(table), str(audio)) == [first, second]


def test_mmau_of_the_first_release(mini: Path) -> None:
    """No ids, letters before some answers and choices, one choice twice."""
    records = [
        record("a", choices=["(A) Man", "(B)  Woman"], answer="(B) Woman"),
        record("b", choices=["two", "three", "three", "one"], answer="(D) one"),
    ]
    for entry in records:
        del entry["id"]
    first, second = mmau(dump(mini, records), mini)
    assert (first.id, first.choices, first.answer) == ("a", ("Man", "Woman"), "Woman")
    assert (second.answer, second.letter) == ("one", "d")


def test_mmau_answers_that_are_no_choice(mini: Path) -> None:
    table = dump(mini, [record("a"), record("b", answer="Robot")])
    with pytest.raises(ValueError, match=r"1 of the 2 .*b: 'Robot' of Man, Woman, Child.*drop_broken"):
        mmau(table, mini)
    assert [question.id for question in mmau(table, mini, drop_broken=True)] == ["a"]
    with pytest.raises(ValueError, match="not published"):
        mmau(dump(mini, [record("a", answer=""), record("b", answer="")]), mini, drop_broken=True)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "list of questions"),
        ({"a": 1}, "list of questions"),
        (["a"], "question 1 is no object"),
        ([record("a"), {"id": "b", "question": "?"}], "question 2 needs .*found: id, question"),
        ([record("a", choices="Man, Woman")], "question 1 needs"),
        ([record("a", choices=["Man", 2])], "question 1 needs"),
        ([record("a", answer=None)], "question 1 needs"),
        ([record("a"), record("a")], "1 ids .*not unique: a"),
        ([record("a", choices=["Woman"])], "1 of the 1"),
        ([record("a"), record("c")], r"1 of the 2 sound files.*test-mini-audios/c.wav"),
        ([record("a", audio_id="../../outside.wav")], "leads out|are not in"),
        ([record("a"), record("b", audio_id="../outside.wav")], "leads out"),
    ],
)
def test_mmau_files_that_cannot_be_used(mini: Path, records: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mmau(dump(mini, records), mini)


def test_mmau_without_its_files(mini: Path) -> None:
    table = mini / "mmau-test-mini.json"
    with pytest.raises(ValueError, match="not a folder"):
        mmau(table, mini / "none")
    with pytest.raises(ValueError, match="cannot be read"):
        mmau(mini / "none.json", mini)
    table.write_text('[{"id": ')
    with pytest.raises(ValueError, match="not json"):
        mmau(table, mini)


keys = st.sampled_from(["id", "audio_id", "question", "choices", "answer", "task"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None)
@given(value=anything)
def test_any_json_is_refused_with_a_sentence(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    folder = tmp_path_factory.mktemp("any")
    with pytest.raises(ValueError) as caught:
        mmau(dump(folder, value), folder)
    assert len(str(caught.value)) > 20
