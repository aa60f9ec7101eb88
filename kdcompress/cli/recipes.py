"""`kdcompress recipes`: what can be trained, and whether one's own recipe is right before it costs hours."""

import json
import sys
from typing import Annotated

import typer

recipes = typer.Typer(
    help="List, show and check recipes: YAML files that say what to train.",
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


@recipes.command("validate")
def validate_recipes(
    names: Annotated[list[str], typer.Argument(metavar="RECIPE", help="Shipped recipes or YAML files.")],
) -> None:
    """Check recipes without running them.

    One line each; exit code 1 if any is wrong.

    \b
    Examples:
      kdcompress recipes validate mine.yaml
      kdcompress recipes validate recipes/*.yaml
    """
    from kdcompress.config.recipe import load_recipe
    from kdcompress.errors import ConfigError
    from kdcompress.resources import recipe_path

    wrong = 0
    for name in names:
        try:
            load_recipe(recipe_path(name))
        except ConfigError as error:
            wrong += 1
            sys.stdout.write(f"wrong  {name}: {' '.join(str(error).split())}\n")
        else:
            sys.stdout.write(f"ok     {name}\n")
    if wrong:
        raise typer.Exit(1)
