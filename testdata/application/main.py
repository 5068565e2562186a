"""Proves that an application works in its image: as whom, with which packages, on which files."""

import datetime
import os
import tempfile
import zoneinfo

import babel.dates
import django
import sqlparse
from django.conf import settings
from django.template import Context, Engine

settings.configure(USE_TZ=True, TIME_ZONE="UTC")
django.setup()

# Without the system's zones the ones of the package `tzdata` count.
zoneinfo.reset_tzpath(to=[])
moment = datetime.datetime(2025, 1, 1, 12, tzinfo=zoneinfo.ZoneInfo("Asia/Tokyo"))
facts = {
    "user": f"{os.getuid()}:{os.getgid()}",
    "django": django.get_version(),
    "date": babel.dates.format_datetime(moment, "EEEE, HH:mm ", locale="de") + moment.tzname(),
    "sql": sqlparse.format("select 1", keyword_case="upper"),
    # Through the base's link, and where it leads.
    "library": open("/lib/application/greeting").read().strip(),
    "real": os.path.realpath("/lib/application/greeting"),
}
with tempfile.NamedTemporaryFile(dir="/tmp") as file:
    facts["temporary"] = os.path.dirname(file.name)

template = "{% for name, fact in facts.items %}{{ name }}={{ fact|safe }}\n{% endfor %}"
print(Engine().from_string(template).render(Context({"facts": facts})), end="")
