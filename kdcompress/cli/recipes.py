"""`kdcompress recipes`: what can be trained, and whether one's own recipe is right before it costs hours."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

recipes = typer.Typer(
    help="List, show, copy and check recipes: YAML files that say what to train.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@recipes.command("list")
def list_recipes(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list of name, description, path.")
    ] = False,
) -> None:
    """List the shipped recipes.

    The name is what `distill` takes.

    \b
    Examples:
      kdcompress recipes list
      kdcompress recipes list --json
    """
    from kdcompress.config.recipe import load_recipe
    from kdcompress.resources import recipe_files, recipe_name

    rows = [(recipe_name(path), load_recipe(path).description, str(path)) for path in recipe_files()]
    if as_json:
        data = [{"name": name, "description": description, "path": path} for name, description, path in rows]
        sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
        return
    width = max((len(name) for name, _, _ in rows), default=0)
    for name, description, _ in rows:
        sys.stdout.write(f"{name:<{width}}  {description}\n")


@recipes.command("show")
def show_recipe(
    name: Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe or a YAML file.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a value; repeatable.")
    ] = None,
) -> None:
    """Print a recipe with every value spelled out.

    It is what `distill` would use, and itself a valid recipe.

    \b
    Examples:
      kdcompress recipes show demo
      kdcompress recipes show an4 --set training.steps=500
    """
    from kdcompress.config.recipe import dump_recipe, load_recipe
    from kdcompress.resources import recipe_path

    sys.stdout.write(dump_recipe(load_recipe(recipe_path(name), overrides or [])))


@recipes.command("copy")
def copy_recipe(
    name: Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe or a YAML file.")],
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="A new YAML file, or a folder for it.")],
) -> None:
    """Copy a recipe, to change it.

    The copy means what the original means: comments stay unless it has a base or names files beside it, which
    are written out with absolute paths. Nothing is overwritten.

    \b
    Examples:
      kdcompress recipes copy an4 mine.yaml
      kdcompress recipes copy corpora/librispeech-100 experiments/
    """
    from kdcompress.config.recipe import standalone
    from kdcompress.errors import ConfigError
    from kdcompress.files import write_file
    from kdcompress.resources import recipe_path

    source = recipe_path(name)
    target = destination / f"{source.stem}.yaml" if destination.is_dir() else destination
    if target.suffix not in {".yaml", ".yml"}:
        raise ConfigError(f"{target} is neither a folder nor named *.yaml, by which a recipe is known")
    if target.exists():
        raise ConfigError(f"{target} exists already: choose another name, or delete it")
    write_file(target, standalone(source))
    sys.stdout.write(f"{target}\n")


@recipes.command("validate")
def validate_recipes(
    names: Annotated[list[str], typer.Argument(metavar="RECIPE", help="Shipped recipes or YAML files.")],
    schema_only: Annotated[
        bool,
        typer.Option("--schema-only", help="Do not look for the files that it names: it runs elsewhere."),
    ] = False,
) -> None:
    """Check recipes without running them.

    Keys, values, and whether the audio, manifests, teachers and runs that it names are there; what is not
    named (audio that --audio will give) is not missed. Of comparisons every row is checked. One line each,
    with all that is wrong; exit code 1 if any is wrong.

    \b
    Examples:
      kdcompress recipes validate mine.yaml
      kdcompress recipes validate recipes/*.yaml recipes/comparisons/*/comparison.yaml
      kdcompress recipes validate --schema-only cluster/*.yaml
    """
    from kdcompress.cli.screen import harmless
    from kdcompress.config.comparison import is_comparison
    from kdcompress.config.recipe import load_recipe
    from kdcompress.config.references import check_files
    from kdcompress.errors import ConfigError
    from kdcompress.resources import recipe_path

    wrong = 0
    for name in names:
        try:
            path = recipe_path(name)
            if is_comparison(path):
                _check_comparison(path, schema_only)
            elif schema_only:
                load_recipe(path)
            else:
                check_files(load_recipe(path))
        except ConfigError as error:
            wrong += 1
            # Errors of the file itself begin with its name already.
            line = " ".join(str(error).split()).removeprefix(f"{name}: ")
            sys.stdout.write(harmless(f"wrong  {name}: {line}\n"))
        else:
            sys.stdout.write(f"ok     {name}\n")
    if wrong:
        raise typer.Exit(1)


def _check_comparison(path: Path, schema_only: bool) -> None:
    """Check every row of a comparison, with stand-ins for teacher and audio, which `compare` is given."""
    from kdcompress.config.comparison import load_comparison, row_recipes
    from kdcompress.config.recipe import merge, read_layers
    from kdcompress.config.references import check_files
    from kdcompress.errors import ConfigError
    from kdcompress.resources import recipe_path

    given = Path("/given on the command line")
    comparison = load_comparison(path)
    flags = {"teacher": {"kind": "checkpoint", "path": str(given)}, "data": {"audio": str(given)}}
    layers = merge(read_layers(recipe_path(comparison.recipe)), flags)
    faults: dict[str, list[str]] = {}
    for row, recipe in row_recipes(comparison, layers, comparison.seeds[0], given).items():
        if not schema_only:
            try:
                check_files(recipe, {given})
            except ConfigError as error:
                faults.setdefault(str(error), []).append(row)
    if faults:
        raise ConfigError("; ".join(f"{', '.join(rows)}: {fault}" for fault, rows in faults.items()))
