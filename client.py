# /// script
# requires-python = ">=3.11"
# dependencies = ["websockets>=17", "cryptography>=48"]
# ///
"""The client: `python client.py KEY --username ace` joins a room.

What travels is in common/PROTOCOL.md; how it looks and speaks, in common/UX.md; where each line
lives, in common/DESIGN.md. There is no more here than starts it, since Python compiles a script
anew at each start: every Python from 2.7 on, so that an old one can say what is needed.
"""

import os
import sys

if __name__ == "__main__":
    if sys.version_info < (3, 11):
        sys.exit(
            "termchat needs Python 3.11 or newer, and this is %d.%d. Where there is uv: "
            "uv run client.py" % sys.version_info[:2]
        )
    if sys.flags.safe_path:  # by -P, -I or PYTHONSAFEPATH: what lies beside us must be named
        sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
    try:
        from common.client.main import end, main

        end(main(sys.argv[1:]))
    except KeyboardInterrupt:  # while nobody takes signals: in the imports, or at the very end
        os._exit(130)
    except ImportError as problem:
        if problem.name != "common":
            raise
        sys.exit("The folder common is missing beside client.py. Get all files.")
