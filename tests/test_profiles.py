"""Every shipped profile can be read, names programs that exist, and is described; so is what became of it."""

import json
from pathlib import Path

import pytest
import yaml

from kdcompress.config.profile import read_profile
from kdcompress.errors import ConfigError
from kdcompress.graph.card import model_card
from kdcompress.resources import consumer_path, profile_files, profile_path, resource_dir
from kdcompress.runtime.bundle import open_bundle
from kdcompress.runtime.layout import LAYOUTS

PROFILES = pytest.mark.parametrize("name", profile_files())


@PROFILES
def test_profile_names_programs_that_exist(name: str) -> None:
    profile = read_profile(profile_path(name))
    assert profile.layout in LAYOUTS
    assert profile.consumers
    for consumer in profile.consumers:
        assert consumer_path(consumer.program).is_file()
        assert (consumer.refusal is not None) == consumer.only_normalized
    assert f"`{name}`" in (resource_dir("export") / "README.md").read_text(encoding="utf-8")


@PROFILES
def test_card_shows_each_runtime_with_the_bundles_own_names(name: str, tiny_bundle: Path) -> None:
    bundle, profile = open_bundle(tiny_bundle), read_profile(profile_path(name))
    card = model_card(bundle, profile, "mine")
    assert not [field for field in ("<name>", "<file>", "<quantization>") if field in card]
    assert all(f"mine/{bundle.variant().file}" in card or "mine" in card for _ in profile.consumers)
    assert card.count("\n## ") == 2 + sum(consumer.card is not None for consumer in profile.consumers)


def test_code_of_the_cards_is_python(tiny_bundle: Path) -> None:
    for name in profile_files():
        card = model_card(open_bundle(tiny_bundle), read_profile(profile_path(name)), "mine")
        for block in card.split("```python\n")[1:]:
            compile(block.partition("```")[0], name, "exec")


def test_a_profile_of_ones_own_is_taken_by_path(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(profile_path("portable").read_text("utf-8").replace("opset: 20", "opset: 18"), "utf-8")
    assert read_profile(profile_path(str(mine))).opset == 18


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("about: [", "is not YAML"),
        ("about: mine", "layout: Field required"),
        ({"about": "mine", "layout": "tensors", "frontend": "logmel"}, "layout"),
        ({"about": "mine", "layout": "kaldi", "frontend": "kaldi", "color": "red"}, "color"),
    ],
)
def test_what_is_no_profile_is_refused_in_one_line(tmp_path: Path, content: object, complaint: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), "utf-8")
    with pytest.raises(ConfigError, match=complaint) as caught:
        read_profile(path)
    assert "\n" not in str(caught.value)


def test_unknown_names_list_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"'web'.*kaldi, portable, streaming, telephone, waveform"):
        profile_path("web")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_profile(profile_path("nowhere/mine.yaml"))


def test_every_profile_has_been_verified() -> None:
    results = (resource_dir("export") / "results").glob("*.json")
    found = {json.loads(path.read_text(encoding="utf-8"))["profile"] for path in results}
    assert found == set(profile_files()) - {"telephone"}
