"""Tests of the answers and of the configuration that ships."""

import unittest
from wsgiref.util import setup_testing_defaults

from greeter.config import Config, read_config
from greeter.service import service


def ask(path: str) -> tuple[str, bytes]:
    """Asks without a server."""
    environment = {"PATH_INFO": path}
    setup_testing_defaults(environment)
    statuses = []

    def start(status: str, _headers: list, _error: object = None) -> None:
        statuses.append(status)

    body = service(Config(greeting="good day"))(environment, start)
    return statuses[0], b"".join(body)


class Answers(unittest.TestCase):
    """What a client gets."""

    def test_greeting(self) -> None:
        self.assertEqual(ask("/"), ("200 OK", b"good day\n"))

    def test_health(self) -> None:
        self.assertEqual(ask("/health"), ("200 OK", b"ok\n"))

    def test_elsewhere(self) -> None:
        self.assertEqual(ask("/elsewhere")[0], "404 Not Found")


class Configuration(unittest.TestCase):
    """What the service is told."""

    def test_production(self) -> None:
        config = read_config("config/production.toml")
        self.assertTrue(config.greeting)
        self.assertGreater(config.port, 0)
