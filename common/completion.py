"""Completion scripts for three shells, made of the rows of what the command line takes."""

from __future__ import annotations

from collections.abc import Sequence

from common.config import CLIENT_FLAGS, SHELLS

COMMANDS = ("termchat", "client.py")
"""What a script is for: the name of an alias, and the file itself."""
_KINDS = {"": "", "[N]": "", "FILE": "file", "DIR": "dir", "SHELL": "shell"}
"""Of values; one that may be left out is none, since a flag can follow."""


def client_flags() -> list[tuple[str, str]]:
    """Return the flags of a client, and the kind of value each takes, "" if it takes none."""
    rows = (row for row in CLIENT_FLAGS if row.said)
    named = [(row.said, _KINDS.get(row.value, "text")) for row in rows]
    return sorted([*named, ("--help", ""), ("--version", "")])


def script(shell: str) -> str:
    """Return what the shell must read, as `eval "$(termchat --completion bash)"`."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](client_flags())


def _bash(flags: Sequence[tuple[str, str]]) -> str:
    def named(kind: str) -> str:
        return "|".join(flag for flag, value in flags if value == kind)

    words = " ".join(flag for flag, _ in flags)
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


def _zsh(flags: Sequence[tuple[str, str]]) -> str:
    ends = {
        "": "",
        "file": ":file:_files",
        "dir": ":directory:_files -/",
        "shell": f":shell:({' '.join(SHELLS)})",
        "text": ":value: ",
    }
    rows = " \\\n        ".join(f"'{flag}[]{ends[value]}'" for flag, value in flags)
    # A shell that was never set up has no compdef yet.
    return f"""(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit -D -i }}
_termchat() {{
    _arguments \\
        {rows}
}}
compdef _termchat {" ".join(COMMANDS)}
"""


def _fish(flags: Sequence[tuple[str, str]]) -> str:
    ends = {
        "": "-f",
        "file": "-r -F",
        "dir": "-x -a '(__fish_complete_directories)'",
        "shell": f"-x -a '{' '.join(SHELLS)}'",
        "text": "-x",
    }
    rows = (
        f"complete -c {command} -l {flag[2:]} {ends[value]}"
        for command in COMMANDS
        for flag, value in flags
    )
    no_files = [f"complete -c {command} -f" for command in COMMANDS]
    return "\n".join([*no_files, *rows]) + "\n"
