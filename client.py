# /// script
# requires-python = ">=3.11"
# dependencies = ["websockets>=17", "cryptography>=48"]
# ///
"""The client: `python client.py KEY --username ace` joins a room.

What travels is in common/PROTOCOL.md; how it looks and speaks, in common/UX.md; where each line
lives, in common/DESIGN.md. There is no more here than starts it, since Python compiles a script
anew at each start.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    try:
        from common.client.main import end, main

        end(main(sys.argv[1:]))
    except KeyboardInterrupt:  # while nobody takes signals: in the imports, or at the very end
        os._exit(130)
