"""The embedded faces: what an id draws, and what each attribute does to the picture."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldsmc_bench.errors import UserError
from ldsmc_bench.toyfaces import LABELS, SIZE, SPLITS, VERSION, Face, array, attributes, ids, labels, paint
from ldsmc_bench.toyfaces.__main__ import main

NAMES = {
    "face_shape": {"round", "oval", "square", "heart", "long"},
    "hair_style": {"bald", "short", "fringe", "side_part", "quiff", "bob", "long", "curly", "bun", "ponytail"},
    "hair_colour": {"black", "brown", "auburn", "ginger", "blond", "grey", "teal", "pink"},
    "eye_colour": {"brown", "blue", "green", "grey"},
    "nose": {"button", "soft", "wide"},
    "mouth": {"smile", "neutral", "open", "frown"},
    "beard": {"none", "stubble", "moustache", "goatee", "full"},
    "glasses": {"none", "round", "square", "half_rim", "sunglasses"},
    "hat": {"none", "cap", "beanie", "brimmed", "headband"},
    "collar": {"crew", "v_neck", "shirt", "hoodie"},
    "background": {"plain", "gradient", "two_tone", "disc"},
    "light": {"left", "right", "top"},
}

# Mean colours of the 8x8 blocks of three faces, drawn by version 1 (row by row, RGB, hex).
GOLDEN_VERSION = 1
GOLDEN = {
    "train-000000": (
        "91ca8f91ca8f96ad7ba89b75b2af89b2af88c5d5acc8dbb291ca8f90c3897d56367b4d2f7e4f2f835230a69771c8dbb2"
        "91ca8f83996c8054398556377e5033784c31816245c2cfa791ca8f828d688f69538c6a589d715587655381715ec8dab1"
        "91ca8f9aac7ab07b5fa87a5daa7b5ea57962a98262c8dbb291ca8f91c98ea4815da36b50a36c50ab7859c5d1a9c8dbb2"
        "91ca8f91ca8f8aaf76966d4d966f4eaeb588c8dbb2c8dbb289be7f699343638b395f82375f8337638c3972984bbbd0a2"
    ),
    "validation-000007": (
        "c7cb91c7cb91c7c38ecab589c5a984cbba8cc8c990c7cb91c7cb91c7bd8cc98778ce887ad28b7cd68d7ed39f84c7cb91"
        "c7cb91b39071a26b62a26b63a56d65ab7168b7796dc6c48ec2c28b905343cea68c9a8170d4a88fa08371c78e75a78662"
        "bab582ba896ee3b99dbfad92e6ba9cc7b499ecbd9cab8665c4c58da4835bdbb795c6927aad6d5ddda98dcfa67eb6a273"
        "c7cb91c7cb91c8c992d4b696dfb799d8c79cc8cb91c7cb91c1c98e70ae6c54a76595c39888b98975bd8360b26aa8c485"
    ),
    "test-000042": (
        "d4c1e2d4c1e2d5bddbdbb1c2e9bfc6d6b8d2d4c1e2d4c1e2d4c1e2d4bfdfdf928de28c80e49185e0887cd9a5b1d4c1e2"
        "d4c1e2d1aebebd8376b57d6fb98072c4877bdb9990d4bfded4c1e29d848e6b4e4168565370504267514b654536d3c0e1"
        "d4c1e29a817e7b5749705c57795c51725f5d644432cebad9d4c1e28e756f5d3d2f6a41336b40336a443570543ad1bede"
        "d4c1e269514e4b35286148395d41325440324c3326d3c0e0cabbd554693856793b82956b74885c67854d4b612cb2abb5"
    ),
}


@pytest.fixture
def plain() -> Face:
    """A face that looks straight ahead, with nothing on and light from above."""
    return replace(
        attributes("test-000000"),
        yaw=0.0,
        tilt=0.0,
        shift_x=0.0,
        shift_y=0.0,
        scale=1.0,
        gaze=0.0,
        skin=0.2,
        face_shape="oval",
        hair_style="short",
        hair_colour="brown",
        hair_tone=0.0,
        beard="none",
        glasses="none",
        hat="none",
        earrings=0,
        background="plain",
        light="top",
    )


def changed(first: Face, second: Face, by: int = 8) -> np.ndarray:
    """Where the two pictures differ by more than `by` of 255, (64, 64)."""
    return np.asarray(np.abs(paint(first).astype(int) - paint(second)).max(axis=2) > by)


def person(face: Face) -> np.ndarray:
    """The pixels that another background leaves alone: the person."""
    plain = replace(face, background="plain", background_hue=0.0)
    return ~changed(plain, replace(plain, background_hue=0.5), by=0)


def test_an_id_draws_the_same_face_in_every_process() -> None:
    chosen = [ids(split)[number] for split in SPLITS for number in (0, 5, 1999)]
    code = (
        "import hashlib, sys; from ldsmc_bench.toyfaces import array, labels;"
        "print(hashlib.sha256(b''.join(array(i).tobytes() + labels(i).tobytes() for i in sys.argv[1:])).hexdigest())"
    )
    here = hashlib.sha256(b"".join(array(i).tobytes() + labels(i).tobytes() for i in chosen)).hexdigest()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code, *chosen],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == here


def test_faces_look_as_they_did_when_the_weights_were_trained() -> None:
    assert VERSION == GOLDEN_VERSION
    for image_id, code in GOLDEN.items():
        blocks = array(image_id).reshape(8, 8, 8, 8, 3).mean(axis=(1, 3))
        expected = np.frombuffer(bytes.fromhex("".join(code)), dtype=np.uint8).reshape(8, 8, 3)
        # Two levels: another Pillow may round the edge of a polygon differently.
        np.testing.assert_allclose(blocks, expected, atol=2.0, err_msg=image_id)


def test_splits_are_disjoint_and_their_faces_differ() -> None:
    every = [image_id for split in SPLITS for image_id in ids(split)]
    assert {split: len(ids(split)) for split in SPLITS} == {"train": 60000, "validation": 2048, "test": 10000}
    assert len(set(every)) == len(every)
    assert len({attributes(image_id) for image_id in every[::20]}) == len(every[::20])


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "train",
        "train-60000",
        "train-060000",
        "test-010000",
        "val-000000",
        "train--00001",
        "train-00000x",
        "test-\u0660\u0660\u0660\u0660\u0660\u0660",
    ],
)
@pytest.mark.parametrize("function", [attributes, labels, array])
def test_a_bad_id_is_named(function: Callable[[str], object], bad: str) -> None:
    with pytest.raises(UserError, match="toyfaces has no image") as problem:
        function(bad)
    assert repr(bad) in str(problem.value)


def test_an_unknown_split_is_named() -> None:
    with pytest.raises(UserError, match=r"split=valid: .*train, validation, test"):
        ids("valid")


def test_every_kind_occurs_among_500_faces() -> None:
    faces = [attributes(image_id) for image_id in ids("train")[:500]]
    for field, names in NAMES.items():
        assert {getattr(face, field) for face in faces} == names
    assert {face.earrings for face in faces} == {0, 1}


def test_labels_follow_the_attributes() -> None:
    chosen = ids("train")[:500]
    table = np.stack([labels(image_id) for image_id in chosen])
    assert table.dtype == np.int64
    for column, classes in zip(table.T, LABELS.values(), strict=True):
        assert set(column) == set(range(classes))
    for name in NAMES:  # a class and a name always go together
        pairs = {
            (int(row[list(LABELS).index(name)]), getattr(attributes(i), name))
            for row, i in zip(table, chosen, strict=True)
        }
        assert len(pairs) == LABELS[name] == len(NAMES[name])
    skin = table[:, list(LABELS).index("skin")]
    tones = np.array([attributes(image_id).skin for image_id in chosen])
    assert all(tones[skin == k].max() <= tones[skin == k + 1].min() for k in range(LABELS["skin"] - 1))


def test_a_straight_face_is_symmetric(plain: Face) -> None:
    def asymmetry(face: Face) -> float:
        picture = paint(face).astype(float)
        return float(np.abs(picture - picture[:, ::-1]).mean())

    straight = replace(plain, hair_style="bald")
    assert asymmetry(straight) < 1.0  # only the glints in the eyes and rounding remain
    assert asymmetry(replace(straight, yaw=0.9)) > 3.0
    assert asymmetry(replace(straight, tilt=6.0)) > 3.0


def test_a_turned_face_mirrors_the_opposite_turn(plain: Face) -> None:
    left, right = (paint(replace(plain, hair_style="bald", yaw=yaw)).astype(float) for yaw in (-0.8, 0.8))
    assert np.abs(left - right[:, ::-1]).mean() < 1.0 < np.abs(left - right).mean()


def test_faces_are_large_and_whole() -> None:
    for image_id in ids("test")[:150]:
        inside = person(attributes(image_id))
        assert 0.3 < inside.mean() < 0.85, image_id
        assert inside[22:46, 24:40].all(), image_id  # the middle of the face
        assert inside[0].sum() <= 6, image_id  # at most a lock leaves the picture at the top
        assert inside[:48, [0, -1]].mean() < 0.3, image_id


def test_sunglasses_darken_the_eyes_and_nothing_below(plain: Face) -> None:
    dark = replace(plain, glasses="sunglasses")
    eyes = np.s_[29:35, 20:44]
    assert paint(dark)[eyes].mean() < paint(plain)[eyes].mean() - 25
    where = changed(plain, dark)
    assert where.any() and not where[42:].any() and not where[:22].any()


@pytest.mark.parametrize("glasses", ["round", "square", "half_rim"])
def test_frames_leave_the_eyes_visible(plain: Face, glasses: str) -> None:
    where = changed(plain, replace(plain, glasses=glasses))
    assert 30 < where.sum() < 500 and not where[42:].any()
    x, y = round(32 + plain.eye_spacing), 32
    assert not where[y : y + 2, x].any()  # the pupil


@pytest.mark.parametrize("beard", ["stubble", "moustache", "goatee", "full"])
def test_a_beard_changes_the_lower_face_only(plain: Face, beard: str) -> None:
    where = changed(plain, replace(plain, beard=beard))
    assert where[40:56, 12:52].sum() > 15
    assert not where[:33].any() and not where[59:].any() and not where[:, :9].any() and not where[:, 55:].any()


def test_beards_grow(plain: Face) -> None:
    moustache, full = (changed(plain, replace(plain, beard=beard)).sum() for beard in ("moustache", "full"))
    assert full > 3 * moustache


@pytest.mark.parametrize("hat", ["cap", "beanie", "brimmed", "headband"])
def test_a_hat_changes_the_top_only(plain: Face, hat: str) -> None:
    where = changed(plain, replace(plain, hat=hat))
    assert where[:24].sum() > 60 and not where[34:].any()


def test_hats_hide_the_crown(plain: Face) -> None:
    for hat in ("cap", "beanie", "brimmed"):
        hatted = replace(plain, hat=hat)
        assert not changed(hatted, replace(hatted, hair_colour="blond", background_light=plain.background_light))[
            12:18, 26:38
        ].any()


@pytest.mark.parametrize("mouth", ["smile", "open", "frown"])
def test_the_mouth_moves_alone(plain: Face, mouth: str) -> None:
    where = changed(replace(plain, mouth="neutral"), replace(plain, mouth=mouth))
    assert where[42:51, 23:41].sum() > 6 and where.sum() == where[41:52, 22:42].sum()


@pytest.mark.parametrize("collar", ["v_neck", "shirt", "hoodie"])
def test_a_collar_stays_below_the_face(plain: Face, collar: str) -> None:
    where = changed(replace(plain, collar="crew"), replace(plain, collar=collar))
    assert where.any() and not where[:44].any()


def test_earrings_hang_on_both_sides(plain: Face) -> None:
    where = changed(plain, replace(plain, earrings=1))
    assert where[:, :18].any() and where[:, 46:].any() and not where[:, 18:46].any()


@pytest.mark.parametrize("background", ["gradient", "two_tone", "disc"])
def test_a_background_stays_behind_the_person(plain: Face, background: str) -> None:
    lively = replace(plain, background_turn=0.9)
    where = changed(lively, replace(lively, background=background), by=4)
    assert where.sum() > 100 and not (where & person(plain)).any()


def test_light_falls_from_its_side(plain: Face) -> None:
    bald = replace(plain, hair_style="bald", light_strength=0.2)
    left, right = (
        paint(replace(bald, light=light)).astype(float)[20:50, 16:48].mean(axis=(0, 2)) for light in ("left", "right")
    )
    assert left[:12].mean() > right[:12].mean() + 8 and right[-12:].mean() > left[-12:].mean() + 8


def test_hair_falls_behind_an_unchanged_face(plain: Face) -> None:
    bald = replace(plain, hair_style="bald")
    for style in NAMES["hair_style"] - {"bald"}:
        where = changed(bald, replace(bald, hair_style=style))
        assert where.sum() > 150, style
        assert not where[34:50, 24:40].any(), style  # from nose to chin


def test_the_sheet_is_a_picture_of_the_faces_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sheet.png"
    assert main(["--sheet", str(out), "--split", "validation", "--start", "4", "--count", "5"]) == 0
    assert str(out) in capsys.readouterr().out
    page = Image.open(out)
    assert page.format == "PNG" and page.size == (3 * 132 + 4, 2 * 132 + 4)
    last = page.crop((4 + 132, 4 + 132, 132 + 132, 132 + 132)).resize((SIZE, SIZE), Image.Resampling.BOX)
    assert np.abs(np.asarray(last).astype(float) - array("validation-000008")).mean() < 3


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--split", "tests"], "split=tests"),
        (["--count", "0"], "--count 0"),
        (["--start", "9999", "--count", "2"], "--start 9999"),
        (["--sheet", "/nowhere/at/all.png"], "/nowhere/at/all.png"),
        (["--sheet", "sheet.unknown"], "sheet.unknown"),
    ],
)
def test_a_sheet_that_cannot_be_drawn_is_one_clear_line(
    options: list[str],
    named: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--sheet", "out.png", "--count", "1", *options]) == 2
    error = capsys.readouterr().err
    assert named in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
