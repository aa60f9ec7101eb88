"""Kinds of students and teachers: built-in ones, those of installed packages, and those of this process."""

from pathlib import Path

import pytest

from kdcompress.config.kinds import Kinds
from kdcompress.config.recipe import dump_recipe, load_recipe, make_recipe
from kdcompress.config.student import STUDENTS, ConformerConfig, StudentConfig
from kdcompress.config.teacher import TEACHERS
from kdcompress.errors import ConfigError

MODULE = """
from typing import Literal
from kdcompress.config.student import StudentConfig

class Mine:
    class Config(StudentConfig):
        kind: Literal["mine"] = "mine"
        width: int = 8

class Bare:
    pass
"""
POINTS = """[kdcompress.students]
mine = some_students:Mine
bare = some_students:Bare
lost = some_students:Lost
absent = no_such_module:Mine
conformer = some_students:Mine
"""


@pytest.fixture
def students(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kinds[StudentConfig]:
    """Return the kinds of students as they are where a package adds some."""
    information = tmp_path / "some_students-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: some-students\nVersion: 1\n")
    (information / "entry_points.txt").write_text(POINTS)
    (tmp_path / "some_students.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    STUDENTS.__dict__.pop("_known", None)
    yield STUDENTS
    STUDENTS.__dict__.pop("_known", None)


def test_a_kind_of_an_installed_package_is_validated_by_its_own_class(students: Kinds[StudentConfig]) -> None:
    recipe = make_recipe({"student": {"kind": "mine", "width": 12}}, ["student.frame_shift_ms=40"], "r")
    assert type(recipe.student).__name__ == "Config"
    assert recipe.student.model_dump() == {"kind": "mine", "frame_shift_ms": 40, "width": 12}
    with pytest.raises(ConfigError, match=r"student\.width: Input should be a valid integer"):
        make_recipe({"student": {"kind": "mine", "width": "wide"}}, [], "r")
    with pytest.raises(ConfigError, match=r"student\.layers: unknown key"):
        make_recipe({"student": {"kind": "mine", "layers": 3}}, [], "r")


def test_a_recipe_with_such_a_kind_is_written_and_read(
    students: Kinds[StudentConfig], tmp_path: Path
) -> None:
    recipe = make_recipe({"student": {"kind": "mine", "width": 12}}, [], "r")
    (tmp_path / "r.yaml").write_text(dump_recipe(recipe))
    assert load_recipe(tmp_path / "r.yaml") == recipe


def test_a_package_cannot_replace_a_built_in_kind(students: Kinds[StudentConfig]) -> None:
    assert students.config("conformer") is ConformerConfig
    assert students.names().count("conformer") == 1


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("mien", r"no student kind 'mien' \(did you mean 'mine'\?\); there are conformer, .*mine.*"
                 r"entry points of the group kdcompress\.students"),
        ("bare", "has no class Config, which derives from kdcompress.config.student.StudentConfig"),
        ("lost", "cannot be imported from some_students:Lost .*repair or remove"),
        ("absent", "cannot be imported from no_such_module:Mine"),
    ],
)  # fmt: skip
def test_a_wrong_kind_is_refused_in_one_line(
    students: Kinds[StudentConfig], kind: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        make_recipe({"student": {"kind": kind}}, [], "r")
    assert "\n" not in str(caught.value)


def test_keys_that_are_none() -> None:
    with pytest.raises(ConfigError, match=r"teacher: .*the key kind is missing; there are checkpoint"):
        make_recipe({"teacher": {"path": "x"}}, [], "r")
    with pytest.raises(ConfigError, match=r"student: .*expected keys with a kind"):
        make_recipe({"student": [1]}, [], "r")
    assert isinstance(make_recipe({"student": {"width": 16}}, [], "r").student, ConformerConfig)


def test_a_kind_can_be_added_in_a_program() -> None:
    class Config(StudentConfig):
        depth: int = 2

    class Mine:
        pass

    Mine.Config = Config  # type: ignore[attr-defined]
    kinds = Kinds("student", StudentConfig, {})
    with pytest.raises(ConfigError, match="no student kind 'mine'"):
        kinds.validate({"kind": "mine"})
    kinds.add("mine", Mine)
    assert kinds.validate({"kind": "mine", "depth": 3}) == Config(kind="mine", depth=3)
    assert kinds.target("mine") is Mine


@pytest.mark.parametrize("kinds", [STUDENTS, TEACHERS], ids=["students", "teachers"])
def test_every_built_in_kind_names_what_there_is(kinds: Kinds) -> None:  # type: ignore[type-arg]
    pytest.importorskip("torch", reason="what they name needs torch")
    for kind in kinds.names():
        assert callable(kinds.target(kind))
        assert kinds.config(kind).model_fields["kind"].default == kind
