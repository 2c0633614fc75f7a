"""Which of the formats a file looks like, for whoever named another one."""

import re
from pathlib import Path

JSON, CSV, YAML = "JSON", "CSV", "YAML"
LANGUAGES = {
    **dict.fromkeys(("proxyless", "once-for-all"), (YAML,)),
    "tunas": (JSON,),
    "nn-meter": (JSON, CSV),
    "hw-nas-bench-fbnet": (JSON,),
}
MARKS = {  # what files of a format have, and no others; once-for-all's keys are ProxylessNAS's and two more
    "tunas": re.compile(r'"cin_cout"\s*:'),
    "hw-nas-bench-fbnet": re.compile(r'"delta_vs_skip_ms"\s*:'),
    "nn-meter": re.compile(r'"conv(_\d+){5}_[a-z_]+_\d+_(nose|se)"|^hw,cin,cout,expand,stride,act,kernel,se,'),
    "once-for-all": re.compile(r"-input:\d+x\d+x\d+-output:.*-se:\d"),
    "proxyless": re.compile(r"-input:\d+x\d+x\d+-output:"),
}
MOST_READ = 1_000_000  # characters: a mark comes early


def hint(format_name: str, path: Path) -> str:
    """What to do where the file is of another format, or in another language than that one has; empty else."""
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read(MOST_READ)
    likely = next((name for name, mark in MARKS.items() if mark.search(text)), "")
    if likely and likely != format_name:
        return f"; it looks like a table of format {likely}: try `hwnas table import {likely}`"
    language = _language(text)
    if not likely and language and language not in LANGUAGES[format_name]:
        readers = [name for name, languages in LANGUAGES.items() if language in languages]
        wanted, of_it = " or ".join(LANGUAGES[format_name]), ", ".join(readers)
        return f"; it looks like {language}, and a table of {format_name} is {wanted}: of {language} are {of_it}"
    return ""


def _language(text: str) -> str:
    """JSON, CSV, or empty where it is neither."""
    if text.lstrip().startswith(("{", "[")):
        return JSON
    lines = text.splitlines()[:3]
    commas = {line.count(",") for line in lines}
    return CSV if len(lines) > 1 and len(commas) == 1 and commas != {0} and ":" not in lines[0] else ""
