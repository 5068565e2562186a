"""What the service is told by its file, read when it starts."""

import os
import tomllib
from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """The configuration; a name that isn't known is an error, for it's a misspelt one."""

    port: int = 8080
    greeting: str = "hello"


def read_config(path: str | None = None) -> Config:
    """Reads the file given, or the one that the environment names."""
    path = path or os.environ.get("GREETER_CONFIG", "/app/config.toml")
    with open(path, "rb") as file:
        return Config(**tomllib.load(file))
