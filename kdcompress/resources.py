"""Find `recipes/` and `export/`: the live folders of a checkout, else the copies inside the wheel."""

from pathlib import Path

from kdcompress.errors import ConfigError, did_you_mean

_PACKAGE = Path(__file__).resolve().parent


def resource_dir(name: str) -> Path:
    """Return the folder `recipes` or `export`.

    Raises:
        ConfigError: neither the checkout nor the installed package has it.
    """
    checkout = _PACKAGE.parent
    for folder in (checkout / name, _PACKAGE / "_resources" / name):
        # `pyproject.toml` beside it tells a checkout from a stranger's folder in site-packages.
        if folder.is_dir() and (
            folder.parent.name == "_resources" or (checkout / "pyproject.toml").is_file()
        ):
            return folder
    raise ConfigError(f"the folder {name}/ is missing from this installation; reinstall kdcompress")


def recipe_path(name: str) -> Path:
    """Return the file of a recipe given by path (`my/recipe.yaml`) or by name (`an4`, `demo`).

    Raises:
        ConfigError: there is no such recipe; lists those that exist.
    """
    given = Path(name)
    if given.suffix in {".yaml", ".yml"} or given.is_file():
        return given
    for path in recipe_files():
        if recipe_name(path) == name:
            return path
    known = [recipe_name(path) for path in recipe_files()]
    raise ConfigError(
        f"no recipe named {name!r}{did_you_mean(name, known)} and no such file; "
        f"recipes: {', '.join(known) or 'none'}"
    )


def recipe_files() -> list[Path]:
    """Return every shipped recipe, sorted by name.

    They lie in recipes/ or one folder below; a `recipe.yaml` deeper down is the record of a finished run.
    """
    folder = resource_dir("recipes")
    return sorted([*folder.glob("*.yaml"), *folder.glob("*/*.yaml")], key=recipe_name)


def recipe_name(path: Path) -> str:
    """Return the name that `distill` takes: the path below recipes/ without suffix; `x/x.yaml` is x."""
    try:
        parts = path.resolve().relative_to(resource_dir("recipes").resolve()).with_suffix("").parts
    except ValueError:
        return str(path)
    return parts[0] if len(parts) == 2 and parts[0] == parts[1] else "/".join(parts)


def profile_path(name: str) -> Path:
    """Return the file of an export profile given by path (`my/profile.yaml`) or by name (`portable`).

    Raises:
        ConfigError: there is no such profile; lists those that exist.
    """
    given = Path(name)
    if given.suffix in {".yaml", ".yml"}:
        return given
    known = profile_files()
    if name not in known:
        raise ConfigError(
            f"no profile {name!r}{did_you_mean(name, known)} and no such file; there are {', '.join(known)}"
        )
    return known[name]


def profile_files() -> dict[str, Path]:
    """Return every shipped export profile by name."""
    return {path.stem: path for path in sorted((resource_dir("export") / "profiles").glob("*.yaml"))}


def consumer_path(program: str) -> Path:
    """Return where the smallest program for a runtime is."""
    return resource_dir("export") / "consumers" / program
