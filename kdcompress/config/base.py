"""The manners that every configuration class shares: frozen, strict, plain data."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A configuration that cannot change after it was read and has no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
