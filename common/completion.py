"""Completion scripts for three shells, made of what the help says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

SHELLS = ("bash", "zsh", "fish")
COMMANDS = ("termchat", "client.py")
"""What a script is for: the name of an alias, and the file itself."""


class Flag(NamedTuple):
    """What can stand on the command line, and the kind of its value, "" if it takes none."""

    name: str
    value: str


def flags_of(help_text: str) -> list[Flag]:
    """Return the flags that a help names, each once."""
    kinds = {"": "", "FILE": "file", "DIR": "dir", "SHELL": "shell"}
    found = re.findall(r"(?<![\w-])(--[a-z-]+)(?: ([A-Z]+)\b)?", help_text.split("Examples:")[0])
    values = {name: kinds.get(value, "text") for name, value in reversed(found)}
    return [Flag(name, values[name]) for name in sorted(values)]


def script(shell: str, help_text: str) -> str:
    """Return what the shell must read, as `eval "$(termchat --completion bash)"`."""
    flags = flags_of(help_text)
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](flags)


def _bash(flags: Sequence[Flag]) -> str:
    def named(kind: str) -> str:
        return "|".join(flag.name for flag in flags if flag.value == kind)

    words = " ".join(flag.name for flag in flags)
    return f"""_termchat() {{
    local word=${{COMP_WORDS[COMP_CWORD]}}
    case ${{COMP_WORDS[COMP_CWORD-1]}} in
        {named("file")}) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
        {named("dir")}) mapfile -t COMPREPLY < <(compgen -d -- "$word") ;;
        {named("shell")}) mapfile -t COMPREPLY < <(compgen -W "{" ".join(SHELLS)}" -- "$word") ;;
        {named("text")}) COMPREPLY=() ;;
        *) mapfile -t COMPREPLY < <(compgen -W "{words}" -- "$word") ;;
    esac
}}
complete -o filenames -F _termchat {" ".join(COMMANDS)}
"""


def _zsh(flags: Sequence[Flag]) -> str:
    ends = {
        "": "",
        "file": ":file:_files",
        "dir": ":directory:_files -/",
        "shell": f":shell:({' '.join(SHELLS)})",
        "text": ":value: ",
    }
    rows = " \\\n        ".join(f"'{flag.name}[]{ends[flag.value]}'" for flag in flags)
    # A shell that was never set up has no compdef yet.
    return f"""(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit -D -i }}
_termchat() {{
    _arguments \\
        {rows}
}}
compdef _termchat {" ".join(COMMANDS)}
"""


def _fish(flags: Sequence[Flag]) -> str:
    ends = {
        "": "-f",
        "file": "-r -F",
        "dir": "-x -a '(__fish_complete_directories)'",
        "shell": f"-x -a '{' '.join(SHELLS)}'",
        "text": "-x",
    }
    rows = (
        f"complete -c {command} -l {flag.name[2:]} {ends[flag.value]}"
        for command in COMMANDS
        for flag in flags
    )
    no_files = [f"complete -c {command} -f" for command in COMMANDS]
    return "\n".join([*no_files, *rows]) + "\n"
