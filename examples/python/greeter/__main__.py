"""`python3 -m greeter` serves; `python3 -m greeter.health` asks the one that runs."""

import signal
import sys

from waitress import serve

from .config import read_config
from .service import service


def stop(_signal: int, _frame: object) -> None:
    """Ends the server's loop; it finishes what it's at."""
    sys.exit()


def main() -> None:
    """Answers until it's told to stop."""
    config = read_config()
    signal.signal(signal.SIGTERM, stop)
    print(f"listening on port {config.port}", flush=True)
    serve(service(config), host="0.0.0.0", port=config.port, _quiet=True)
    print("stopped", flush=True)


if __name__ == "__main__":
    main()
