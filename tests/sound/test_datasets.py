"""Data sets in their official layouts, made on the spot: what is read, and what is refused before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steer_utils.pocket.recipe import RECORDED_EVENTS
from steer_utils.sound.datasets import DATASETS, esc50, find_dataset, open_clips, same_recordings
from steer_utils.sound.recordings import NAMES, Clip, ClipBank, read_clips

HEADER = "filename,fold,target,category,esc10,src_file,take\n"
ROWS = (
    "1-100032-A-0.wav,1,0,dog,True,100032,A\n"
    "2-100038-A-14.wav,2,14,chirping_birds,False,100038,A\n"
    "5-9032-A-20.wav,5,20,crying_baby,True,9032,A\n"
)
ESC10 = "dog rooster rain sea_waves crackling_fire crying_baby sneezing clock_tick helicopter chainsaw".split()
Beep = Callable[[Path], None]
relaxed = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def esc(tmp_path: Path, beep: Beep) -> Path:
    """ESC-50's layout as its zip unpacks, with three clips."""
    root = tmp_path / "ESC-50-master"
    (root / "meta").mkdir(parents=True)
    (root / "meta" / "esc50.csv").write_text(HEADER + ROWS)
    for row in ROWS.splitlines():
        beep(root / "audio" / row.split(",")[0])
    return root


# Facts -----------------------------------------------------------------------------------------------------------


def test_every_data_set_says_what_it_may_be_used_for() -> None:
    for name, dataset in DATASETS.items():
        assert dataset.name == name and find_dataset(name) is dataset
        assert dataset.licence in str(dataset) and dataset.restriction in str(dataset)
        for fact in (dataset.title, dataset.holds, dataset.citation, dataset.obtain, dataset.restriction):
            assert len(fact) > 4
        assert dataset.homepage.startswith("http")
    assert "non-commercial" in DATASETS["esc50"].restriction.lower()
    assert "none stated" in DATASETS["sakura"].licence and DATASETS["sakura"].remote is None
    with pytest.raises(ValueError, match=r"'esc-10'.*esc50, sakura"):
        find_dataset("esc-10")


def test_downloads_are_encrypted_and_published_checksums_have_their_length() -> None:
    for dataset in DATASETS.values():
        if dataset.remote is not None:
            assert dataset.remote.url.startswith("https://")
            kind, _, digest = (dataset.remote.checksum or "").partition(":")
            assert len(digest) == {"md5": 32, "sha256": 64, "": 0}[kind]


# ESC-50 ----------------------------------------------------------------------------------------------------------


def test_esc50_in_its_official_layout(esc: Path) -> None:
    audio = esc / "audio"
    expected = [
        Clip(audio / "1-100032-A-0.wav", "dog bark", 1),
        Clip(audio / "2-100038-A-14.wav", "chirping birds", 2),
        Clip(audio / "5-9032-A-20.wav", "baby cry", 5),
    ]
    assert esc50(esc) == expected
    assert esc50(esc.parent) == expected  # the folder that the zip was unpacked in
    assert esc50(esc, esc10=True) == [expected[0], expected[2]]
    assert ClipBank(esc50(esc)).subset(folds=[5]).categories == ("baby cry",)


def test_esc10_classes_get_the_names_of_the_pocket_models() -> None:
    spoken = {name.replace("_", " ") for name in ESC10}
    assert {NAMES.get(name, name) for name in spoken} == set(RECORDED_EVENTS)
    assert set(NAMES) <= spoken


def test_training_recordings_are_found_under_the_names_of_each_release(esc: Path) -> None:
    clips = [*esc50(esc), Clip(esc / "1-30226-A.ogg", "dog bark"), Clip(esc / "street.wav", "siren")]
    used = ["1-100032-A.ogg", "1-30226-A-0.wav", "2-100038-B.ogg", "15-9032-A.ogg", "street.wav", "street.ogg"]
    assert same_recordings(clips, used) == {"1-100032-A-0.wav", "1-30226-A.ogg", "street.wav"}
    left = ClipBank(clips).subset(exclude_files=same_recordings(clips, used))
    assert left.categories == ("baby cry", "chirping birds")


def test_open_clips_recognises_esc50_and_else_reads_a_plain_folder(esc: Path, tmp_path: Path, beep: Beep) -> None:
    assert open_clips(str(esc)) == esc50(esc)
    plain = tmp_path / "plain"
    beep(plain / "dog.wav")
    (plain / "table.csv").write_text("filename,category\ndog.wav,dog\n")
    assert open_clips(plain) == read_clips(plain) == [Clip(plain / "dog.wav", "dog")]  # its own names stay
    flat = tmp_path / "flat"  # meta/esc50.csv alone is not the official layout
    beep(flat / "dog.wav")
    (flat / "meta").mkdir()
    (flat / "meta" / "esc50.csv").write_text("filename,category\ndog.wav,dog\n")
    assert open_clips(flat) == read_clips(flat)
    with pytest.raises(ValueError, match="not a folder"):
        open_clips(tmp_path / "none")


def test_two_copies_of_esc50_in_one_folder_are_not_guessed_between(esc: Path) -> None:
    esc.rename(esc.parent / "one")
    for name in ("two", "two/meta"):
        (esc.parent / name).mkdir()
    (esc.parent / "two" / "meta" / "esc50.csv").write_text(HEADER + ROWS)
    with pytest.raises(ValueError, match=r"holds meta/esc50.csv, but .* does not \(it holds one, two\)"):
        esc50(esc.parent)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"lacks the column\(s\) filename, fold, category; found: none"),
        ("file,fold,category\na,1,x\n", r"lacks.*filename; found: file, fold, category"),
        (HEADER, "no rows"),
        (HEADER + "1-100032-A-0.wav,1,0\n", "line 2 has 3 cells for 7 columns"),
        (HEADER + "1-100032-A-0.wav,one,0,dog,True,1,A\n", "line 2, fold: 'one' is no whole number"),
        (HEADER + "1-100032-A-0.wav,-1,0,dog,True,1,A\n", "line 2, fold: '-1' is no whole number"),
        (HEADER + "1-100032-A-0.wav,,0,dog,True,1,A\n", "line 2 needs"),
        (HEADER + ROWS + "1-100032-A-0.wav,1,1,rooster,True,1,A\n", "is 'rooster', and 'dog bark' above"),
        (HEADER + ROWS + ",1,0,dog,True,1,A\n", "line 5 needs"),
        (HEADER + ROWS + "x.wav,1,0,dog,True,1,A\ny.wav,1,0,dog,True,1,A\n", r"2 of the 5 .*are not in.*x.wav, y.wav$"),
        (HEADER + "../../secret.wav,1,0,dog,True,1,A\n", "leads out"),
        (HEADER + "/etc/passwd,1,0,dog,True,1,A\n", "leads out"),
        (HEADER + '"1-100032-A-0.wav,1,0,dog,True,1,A\n', "line 2: a quote is not closed"),
    ],
)
def test_esc50_tables_that_cannot_be_used(esc: Path, text: str, message: str) -> None:
    (esc / "meta" / "esc50.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        esc50(esc)


def test_esc50_without_its_files(esc: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"lacks.*esc10"):
        (esc / "meta" / "esc50.csv").write_text("filename,fold,category\n1-100032-A-0.wav,1,dog\n")
        esc50(esc, esc10=True)
    (esc / "meta" / "esc50.csv").write_text(HEADER + ROWS.replace("True", "False"))
    with pytest.raises(ValueError, match="esc10 = True"):
        esc50(esc, esc10=True)
    (esc / "audio" / "1-100032-A-0.wav").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ValueError, match=r"1 of the 3 .*cannot be decoded in.*: 1-100032-A-0.wav$"):
        esc50(esc)
    (esc / "meta" / "esc50.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="UTF-8"):
        esc50(esc)
    (esc / "meta" / "esc50.csv").unlink()
    with pytest.raises(ValueError, match=r"ESC-50 holds meta/esc50.csv, but .*it holds audio, meta"):
        esc50(esc)
    with pytest.raises(ValueError, match="not a folder"):
        esc50(tmp_path / "none")


def test_esc50_as_one_mirror_packs_it(esc: Path) -> None:
    names = [clip.path.name for clip in esc50(esc)]
    (esc / "audio").rename(esc / "inner")
    (esc / "audio").mkdir()
    (esc / "inner").rename(esc / "audio" / "audio")
    assert [clip.path for clip in esc50(esc)] == [esc / "audio" / "audio" / name for name in names]
    (esc / "meta" / "esc50.csv").rename(esc / "esc50.csv")
    (esc / "meta").rmdir()
    assert [clip.path.name for clip in open_clips(esc)] == names


def test_esc10_is_true_or_false(esc: Path) -> None:
    (esc / "meta" / "esc50.csv").write_text(HEADER + ROWS.replace("True", "yes"))
    with pytest.raises(ValueError, match="line 2: esc10 is 'yes'; it must be True or False"):
        esc50(esc, esc10=True)


def test_a_link_that_leaves_the_folder_is_refused(esc: Path, tmp_path: Path, beep: Beep) -> None:
    outside = tmp_path / "outside.wav"
    beep(outside)
    (esc / "audio" / "1-100032-A-0.wav").unlink()
    (esc / "audio" / "1-100032-A-0.wav").symlink_to(outside)
    with pytest.raises(ValueError, match="leads out"):
        esc50(esc)


@relaxed
@given(text=st.text(st.characters(codec="utf-8"), max_size=60))
def test_any_text_as_a_table_is_read_or_refused(esc: Path, text: str) -> None:
    (esc / "meta" / "esc50.csv").write_bytes((HEADER + ROWS + text).encode())
    try:
        assert len(esc50(esc)) == 3  # at most blank lines were added
    except ValueError as error:
        assert str(error)


# The real ones ---------------------------------------------------------------------------------------------------


@pytest.mark.recordings
def test_real_recordings_open_as_they_did(real_folder: str) -> None:
    clips = open_clips(real_folder)
    assert len(clips) >= 2 and all(clip.path.is_file() and "_" not in clip.category for clip in clips)
    if not (Path(real_folder) / "meta" / "esc50.csv").is_file():
        assert clips == read_clips(real_folder)
