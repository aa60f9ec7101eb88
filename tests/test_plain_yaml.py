"""What a stranger's YAML may cost, and that each refusal is one line."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from kdcompress.config.comparison import is_comparison, load_comparison
from kdcompress.config.profile import read_profile
from kdcompress.config.recipe import load_recipe
from kdcompress.errors import ConfigError
from kdcompress.plain_yaml import parse_yaml, read_yaml

LISTS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 40))
WRONG = {
    "lists": (LISTS.encode(), "aliases expand"),
    "merge keys": (MERGED.encode(), "aliases expand"),
    "itself": (b"a: &a [*a]", "aliases expand"),
    "deep": (b"a: " + b"[" * 150 + b"]" * 150, "nested deeper than 100 levels"),
    "deeper": (b"a: " + b"[" * 20_000, "nested too deep"),
    "long": (b"a: " + b"x" * 2_000_000, "at most 1,000,000 are read"),
    "bytes": (b"description: \xff\xfe\xfa", "not UTF-8"),
    "number": (b"a: " + b"9" * 5_000, "not YAML"),
    "object": (b"a: !!python/object/apply:os.getcwd []", "not YAML"),
}


@pytest.mark.parametrize("read", [load_recipe, load_comparison, read_profile])
@pytest.mark.parametrize("kind", WRONG)
def test_what_costs_too_much_is_refused_in_one_line(
    tmp_path: Path, kind: str, read: Callable[[Path], object]
) -> None:
    data, reason = WRONG[kind]
    path = tmp_path / "x.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=reason) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert str(path) in str(caught.value)
    assert not is_comparison(path)


def test_aliases_of_a_person_are_read(tmp_path: Path) -> None:
    text = "base: &base {a: 1, b: [2, 3]}\nother: {<<: *base, c: *base}\nagain: *base\n"
    assert parse_yaml(text, "text") == yaml.safe_load(text)
    (tmp_path / "x.yaml").write_text(text)
    assert read_yaml(tmp_path / "x.yaml") == yaml.safe_load(text)
    assert parse_yaml("", "nothing") is None
