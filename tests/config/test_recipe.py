"""A recipe is read, overridden, refused with the key's name, and written so that it reads back the same."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kdcompress.config.objective import ObjectiveConfig
from kdcompress.config.recipe import Recipe, dump_recipe, load_recipe, make_recipe
from kdcompress.config.selection import SelectEliminate, SelectSymmetric
from kdcompress.config.student import PRESETS, ConformerConfig
from kdcompress.config.teacher import (
    CheckpointTeacher,
    EnsembleTeacher,
    HuggingFaceTeacher,
    OnnxTeacher,
    TorchaudioTeacher,
)
from kdcompress.errors import ConfigError


def written(folder: Path, text: str, name: str = "r.yaml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@given(
    seed=st.integers(0, 2**31),
    preset=st.sampled_from(list(PRESETS)),
    selection=st.sampled_from(
        [
            {"kind": "all"},
            {"kind": "eliminate"},
            {"kind": "symmetric", "frames": 2},
            {"kind": "symmetric", "ms": 55},
        ]
    ),
    kd_weight=st.floats(0, 1),
    peak_lr=st.floats(1e-9, 1),
    description=st.text(max_size=20),
)
def test_written_and_read_is_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    preset: str,
    selection: dict[str, object],
    kd_weight: float,
    peak_lr: float,
    description: str,
) -> None:
    layers = {
        "seed": seed,
        "description": description,
        "student": {"preset": preset},
        "objective": {"selection": selection, "kd_weight": kd_weight},
        "training": {"peak_lr": peak_lr},
        "teacher": {"kind": "huggingface", "path": "some/model"},
    }
    recipe = make_recipe(layers, [], "test")
    path = written(tmp_path_factory.getbasetemp(), dump_recipe(recipe))
    assert load_recipe(path) == recipe


def test_an_empty_mapping_is_the_default(tmp_path: Path) -> None:
    assert load_recipe(written(tmp_path, "{}")) == Recipe()


def test_overrides(tmp_path: Path) -> None:
    path = written(tmp_path, "training: {steps: 10, clip: 2}\nobjective: {selection: {kind: all}}")
    overrides = [
        "training.steps=500",
        "training.peak_lr=1e-3",
        "objective.selection={kind: symmetric, frames: 3}",
        "data.speed=[0.9, 1.1]",
        "student.preset=0.2M",
        "student.dropout=0",
        "training.steps=600",
    ]
    recipe = load_recipe(path, overrides)
    assert recipe.training.steps == 600, "the last one counts"
    assert recipe.training.clip == 2, "what is beside it stays"
    assert recipe.training.peak_lr == 1e-3, "as a number, though YAML 1.1 takes it for text"
    assert recipe.objective.selection == SelectSymmetric(frames=3)
    assert recipe.data.speed == (0.9, 1.1)
    assert recipe.student == ConformerConfig.model_validate({"preset": "0.2M", "dropout": 0})


def test_another_kind_replaces_instead_of_merging(tmp_path: Path) -> None:
    path = written(tmp_path, "objective: {selection: {kind: symmetric, ms: 80}}")
    assert load_recipe(path, ["objective.selection.kind=eliminate"]).objective.selection == SelectEliminate()


def test_one_knob_of_the_default_student_leaves_the_others() -> None:
    recipe = make_recipe({}, ["student.dropout=0"], "test")
    assert recipe.student == Recipe().student.model_copy(update={"dropout": 0.0})


def test_base(tmp_path: Path) -> None:
    written(tmp_path, "seed: 1\ntraining: {steps: 10, clip: 2}\nstudent: {width: 32, layers: 1}", "base.yaml")
    path = written(tmp_path, "base: base.yaml\ntraining: {steps: 20}\nstudent: {preset: 0.2M}")
    recipe = load_recipe(path)
    assert (recipe.seed, recipe.training.steps, recipe.training.clip) == (1, 20, 2)
    assert recipe.student == ConformerConfig.model_validate({"preset": "0.2M"}), "a preset starts afresh"


def test_a_base_of_a_base_is_refused(tmp_path: Path) -> None:
    written(tmp_path, "seed: 1", "a.yaml")
    written(tmp_path, "base: a.yaml", "b.yaml")
    with pytest.raises(ConfigError, match="one level keeps recipes readable"):
        load_recipe(written(tmp_path, "base: b.yaml"))


def test_paths_are_meant_from_the_recipe(tmp_path: Path) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    data = "data: {audio: ../speech, validation: {references: /far/m.jsonl}}"
    recipe = load_recipe(written(folder, f"{data}\nteacher: {{path: t, kind: checkpoint}}"))
    assert recipe.data.audio == tmp_path / "speech"
    assert recipe.data.validation.references == Path("/far/m.jsonl")
    assert recipe.teacher == CheckpointTeacher(path=folder / "t")


def test_a_hub_id_is_no_path(tmp_path: Path) -> None:
    path = written(tmp_path, "teacher: {kind: huggingface, path: facebook/hubert-large-ls960-ft}")
    assert load_recipe(path).teacher == HuggingFaceTeacher(path="facebook/hubert-large-ls960-ft")
    other = load_recipe(path, ["teacher.path=org/other"])
    assert other.teacher == HuggingFaceTeacher(path="org/other")
    local = load_recipe(written(tmp_path, "teacher: {kind: huggingface, path: ./mine}"))
    assert local.teacher == HuggingFaceTeacher(path=str(tmp_path / "mine"))


def test_paths_of_every_kind_of_teacher(tmp_path: Path) -> None:
    weights = "{kind: torchaudio, name: HUBERT_ASR_LARGE, state_dict: w.pt}"
    one = load_recipe(written(tmp_path, f"teacher: {weights}"))
    assert one.teacher == TorchaudioTeacher(name="HUBERT_ASR_LARGE", state_dict=tmp_path / "w.pt")
    members = f"[{{kind: onnx, path: b}}, {{kind: huggingface, path: org/model}}, {weights}]"
    path = written(tmp_path, f"teacher: {{kind: ensemble, members: {members}, weights: [1, 2, 0.5]}}")
    recipe = load_recipe(path)
    assert recipe.teacher == EnsembleTeacher(
        members=(OnnxTeacher(path=tmp_path / "b"), HuggingFaceTeacher(path="org/model"), one.teacher),
        weights=(1, 2, 0.5),
    )
    # A run's own copy lies in another folder.
    (tmp_path / "run").mkdir()
    assert load_recipe(written(tmp_path / "run", dump_recipe(recipe))) == recipe


def test_a_typed_path_is_meant_from_here_also_in_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = make_recipe({}, ["data.validation.audio=held-out"], "command line")
    assert recipe.data.validation.audio == tmp_path / "held-out"
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    assert load_recipe(written(run, dump_recipe(recipe))) == recipe


def test_the_layers_given_are_not_changed(tmp_path: Path) -> None:
    layers = {"data": {"audio": "a"}, "training": {"steps": 5}}
    make_recipe(layers, ["training.steps=6"], "test")
    assert layers == {"data": {"audio": "a"}, "training": {"steps": 5}}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("training: {stepz: 5}", r"r\.yaml: training\.stepz: unknown key \(did you mean 'steps'\?\)$"),
        ("training: {steps: 0}", r"training\.steps: Input should be greater than or equal to 1, found '0'"),
        ("training: {steps: many}", r"training\.steps: .*valid integer.*found 'many'"),
        ("student: {preset: huge}", r"student: .*no student preset 'huge'; there are 0\.2M"),
        ("student: {width: 20, heads: 4}", r"student: .*width 20 must be a multiple of 2·heads \(8\)"),
        ("student: {kernel: 4}", r"student: .*kernel 4 must be odd"),
        (
            "objective: {selection: {kind: some}}",
            r"objective\.selection: no kind 'some'; there are all, eliminate, symmetric",
        ),
        (
            "objective: {selection: {kind: symmetric}}",
            r"symmetric selection needs n in one unit: frames or ms",
        ),
        ("teacher: {kind: checkpoint}", r"teacher\.path: Field required"),
        (
            "teacher: {kind: ensemble, members: [{kind: onnx, path: a}]}",
            r"teacher\.members: .*at least 2",
        ),
        (
            "teacher: {kind: ensemble, members: [{kind: onnx, path: a}, {kind: onnx, path: b}], weights: []}",
            r"teacher: .*2 members need as many weights, found 0",
        ),
        ("teacher: {kind: ensemble, members: 3}", r"teacher\.members: "),
        ("seed: x\nobjective: {kd_weight: 2}", r"seed: .*; objective\.kd_weight: .* 1, found '2'$"),
        ("steps: 5", r"steps: unknown key \(did you mean training\.steps\?\)"),
        (
            "training: {batch_seconds: 5}",
            r"\.batch_seconds: unknown key \(did you mean data\.batch_seconds\?\)",
        ),
        ("student: {prest: 0.2M}", r"student\.prest: unknown key \(did you mean 'preset'\?\)"),
        ("student: {preset: 0.3M}", r"no student preset '0\.3M' \(did you mean '0\.6M'\?\)"),
        ("training: {precision: bf17}", r"training\.precision: .*found 'bf17' \(did you mean 'bf16'\?\)"),
        ("objective: {selection: {kind: symetric}}", r"no kind 'symetric' \(did you mean 'symmetric'\?\)"),
        (
            "objective: {selection: {kind: symmetric, frame: 2}}",
            r"objective\.selection\.frame: unknown key \(did you mean 'frames'\?\)",
        ),
        (
            "teacher: {kind: onnx, path: a, varian: b}",
            r"teacher\.varian: unknown key \(did you mean 'variant'",
        ),
        (f"{{{', '.join(f'no_key_{i}: 1' for i in range(11))}}}", r"no_key_7: unknown key; and 3 more$"),
        ("- a\n- b", r"expected a mapping of recipe keys, found list"),
        ("a: [1", r"r\.yaml is not YAML"),
        ("base: gone.yaml", r"cannot read recipe .*gone\.yaml: No such file"),
    ],
)
def test_a_wrong_recipe_names_the_key_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_recipe(written(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("training.steps", "expected KEY=VALUE"),
        ("=5", "expected KEY=VALUE"),
        ("training.steps=[1", "the value is not YAML"),
        ("training.steps=-1", r"training\.steps: .*found '-1'"),
        ("training.steps.more=1", r"training\.steps: "),
        ("nothing.at.all=1", r"nothing: unknown key$"),
    ],
)
def test_a_wrong_override_names_the_key_in_one_line(override: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        make_recipe({}, [override], "command line")
    assert "\n" not in str(caught.value)


def test_python_objects_in_yaml_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not YAML"):
        load_recipe(written(tmp_path, "description: !!python/object/apply:os.getcwd []"))


def test_a_recipe_cannot_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Recipe().seed = 1  # type: ignore[misc]


def test_every_value_is_written() -> None:
    data = yaml.safe_load(dump_recipe(Recipe()))
    assert set(data) == set(Recipe.model_fields)
    assert set(data["objective"]) == set(ObjectiveConfig.model_fields)
    assert "preset" not in data["student"]


@pytest.mark.parametrize(
    ("ms", "frame_shift", "n"), [(80, 0.02, 4), (80, 0.04, 2), (80, 0.08, 1), (0, 0.02, 0)]
)
def test_a_width_in_milliseconds_is_whole_frames(ms: float, frame_shift: float, n: int) -> None:
    assert SelectSymmetric(ms=ms).n(frame_shift) == n
    assert SelectSymmetric(frames=3).n(frame_shift) == 3


def test_a_selection_without_kind_is_symmetric() -> None:
    assert make_recipe({}, ["objective.selection.ms=40"], "here").objective.selection == SelectSymmetric(
        ms=40
    )
    with pytest.raises(ConfigError, match="selection"):
        make_recipe({}, ["objective.selection.kind=roll"], "here")


@pytest.mark.parametrize(
    ("overrides", "optimizer", "peak_lr"),
    [
        ((), "muon", 4e-3),
        (("training.optimizer=adamw",), "adamw", 1e-3),
        (("training.optimizer=adamw", "training.peak_lr=2e-3"), "adamw", 2e-3),
        (("training.start_from=runs/one",), "adamw", 1e-3),
        (("student={kind: pretrained}",), "adamw", 1e-3),
        (("student={kind: pretrained}", "training.optimizer=muon"), "muon", 4e-3),
    ],
)
def test_the_optimiser_follows_from_what_the_student_begins_with(
    overrides: tuple[str, ...], optimizer: str, peak_lr: float
) -> None:
    training = make_recipe({}, overrides, "test").training
    assert (training.optimizer, training.peak_lr) == (optimizer, peak_lr)
