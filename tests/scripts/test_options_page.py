"""The page of all options is what the configuration says."""

import re

from options_page import PAGE, options_page

from dptt.config.schema import configuration_schema


def test_the_page_of_options_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == options_page(), "run python scripts/options_page.py"


def test_the_page_of_options_has_every_option_with_its_meaning():
    text = PAGE.read_text(encoding="utf-8")
    for name, definition in configuration_schema()["$defs"].items():
        for key, option in definition["properties"].items():
            row = re.search(rf"^\| `{re.escape(key)}` \| .+ \| .+ \| (.+) \|$", text, re.MULTILINE)
            assert row or "const" in option, (name, key)
    assert not re.search(r"\|  \|$", text, re.MULTILINE), "an option without a meaning"
