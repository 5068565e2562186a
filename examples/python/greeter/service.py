"""What is answered."""

from bottle import Bottle, response

from .config import Config


def service(config: Config) -> Bottle:
    """Makes the application, which any WSGI server can run."""
    application = Bottle()

    @application.get("/")
    def greet() -> str:
        response.content_type = "text/plain; charset=utf-8"
        return f"{config.greeting}\n"

    @application.get("/health")
    def health() -> str:
        response.content_type = "text/plain; charset=utf-8"
        return "ok\n"

    return application
