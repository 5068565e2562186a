"""Asks the service on this machine whether it is well."""

import sys
from urllib.error import URLError
from urllib.request import urlopen

from .config import read_config


def main() -> None:
    """Ends with exit code 1 where the service isn't well."""
    try:
        urlopen(f"http://127.0.0.1:{read_config().port}/health", timeout=3).close()
    except URLError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
