"""What PROTOCOL.md 1 says that nobody can do, and the tests that hold it.

A clause has a test for each way that we know; a test of another name, or a clause of none, fails.
"""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.floors import ROOT

CHAIN = "unit/crypto/test_crypto_chain.py"
NOISE = "unit/crypto/test_crypto_noise.py"
LINK = "unit/wire/test_wire_link.py"
READER = "unit/member/test_member_reader.py"
REMOVED = "unit/member/test_member_removed.py"
OUTBOX = "unit/member/test_member_outbox.py"
GATE = "unit/relay/test_relay_gate.py"
LIES = "sim/test_sim_malicious.py"
RELAY = "sim/test_sim_relay.py"
PEOPLE = "sim/test_sim_people.py"

CLAIMS: dict[str, dict[str, list[str]]] = {
    "network, active, no KEY": {
        "read": [
            f"{NOISE}::test_a_frame_of_another_connection_does_not_open",
            "e2e/test_e2e_blind.py::test_nothing_said_passes_the_wire_or_the_console",
        ],
        "forge": [f"{NOISE}::test_a_changed_or_reflected_frame_does_not_open"],
        "replay": [
            f"{NOISE}::test_a_frame_opens_once_and_in_order",
            f"{LINK}::TestFrames::test_a_replayed_or_reordered_frame_is_a_bad_tag",
            f"{RELAY}::TestRequests::test_a_message_1_replayed",
            "e2e/test_e2e_peers.py::test_what_is_recorded_tells_nothing_and_replays_to_nothing",
        ],
        "reflect anything": [f"{NOISE}::test_a_changed_or_reflected_frame_does_not_open"],
        "learn usernames": [
            "e2e/test_e2e_blind.py::test_nothing_said_passes_the_wire_or_the_console",
        ],
        "test password guesses": [
            f"{NOISE}::test_message_1_takes_key_password_and_prologue",
            f"{NOISE}::test_a_changed_message_1_is_refused",
        ],
        "impersonate the relay": [f"{NOISE}::test_who_lacks_the_relays_key_cannot_answer"],
        "log in": [f"{NOISE}::test_message_1_takes_key_password_and_prologue"],
    },
    "KEY, not the password": {
        "guess offline": [f"{NOISE}::test_message_1_takes_key_password_and_prologue"],
        "impersonate the relay": [f"{NOISE}::test_who_lacks_the_relays_key_cannot_answer"],
        "read anything": [f"{NOISE}::test_a_frame_of_another_connection_does_not_open"],
    },
    "password, not KEY": {
        "more than the network attacker": [
            f"{NOISE}::test_message_1_takes_key_password_and_prologue",
            f"{LINK}::TestHandshake::test_another_key_or_password",
        ],
    },
    "KEY and password": {
        "impersonate the relay": [f"{NOISE}::test_who_lacks_the_relays_key_cannot_answer"],
        "use a name in use": [
            f"{GATE}::TestNames::test_a_name_is_held_in_any_letter_case_and_in_every_room",
            f"{GATE}::TestReplacement::test_only_once_it_is_disconnected",
            f"{RELAY}::TestJoin::test_to_resume_as_another",
        ],
        "read what was said before it joined": [
            f"{CHAIN}::test_a_late_recipient_opens_from_the_present_position_only",
            f"{READER}::TestSteps::test_3_what_was_sealed_before_we_came_is_not_for_us",
        ],
    },
    "malicious relay": {
        "read": [
            "e2e/test_e2e_blind.py::test_nothing_said_is_in_the_memory_of_the_relay",
            f"{LIES}::test_with_the_secret_a_ghost_is_given_nothing",
        ],
        "alter": [f"{CHAIN}::test_a_message_with_any_bit_changed_fails"],
        "forge": [
            f"{CHAIN}::test_a_sender_key_made_by_the_relay_opens_nothing",
            f"{READER}::TestNegative::test_a_relay_made_key",
        ],
        "replay": [
            f"{CHAIN}::test_a_replayed_message_fails",
            f"{LIES}::test_an_old_message_replayed_is_loud",
            f"{LIES}::test_an_old_stay_replayed_is_loud",
            f"{READER}::TestLines::test_a_receipt_that_is_kept_back_doubles_nothing",
        ],
        "re-attribute": [f"{READER}::TestNegative::test_another_members_number_on_it"],
        "re-address content": [
            f"{CHAIN}::test_a_message_of_the_other_scope_fails",
            f"{READER}::TestNegative::test_a_room_message_as_direct_and_the_reverse",
        ],
        "show members different histories": [
            f"{LIES}::test_two_members_shown_different_logs",
            f"{READER}::TestNegative::test_two_histories_are_seen_by_the_next_message",
        ],
        "member lists without every later message between them failing (4.4)": [
            f"{LIES}::test_a_hidden_member_breaks_the_log",
            f"{LIES}::test_a_ghost_is_listed_and_breaks_the_log",
            f"{LIES}::test_one_who_left_and_is_kept_listed_breaks_the_log",
        ],
    },
    "malicious member, against the others": {
        "have one record read as two texts (5.3)": [
            f"{CHAIN}::test_one_ciphertext_under_two_keys",
            f"{CHAIN}::test_whoever_accepts_a_record_reads_what_every_other_reads",
            f"{READER}::TestSteps::test_4_nothing_is_passed_over_on_a_chain_that_we_hold",
            f"{READER}::TestSteps::test_4_what_its_sender_has_seen_never_falls",
        ],
        "speak in another's name": [
            f"{CHAIN}::test_a_message_signed_by_a_member_who_knows_the_chain_key_fails",
            f"{CHAIN}::test_what_another_member_puts_among_them_fails_and_nothing_before_it",
            "unit/crypto/test_crypto_points.py::test_a_card_signed_once_for_all_is_invalid",
        ],
        "make a row that passes for another's words": [
            "sim/test_sim_rows.py::test_foreign_text_is_one_row_that_is_no_message",
            "sim/test_sim_rows.py::test_what_is_copied_with_names_has_one_message_a_row",
        ],
        "drop, repeat": [
            f"{READER}::TestLines::test_each_session_counts_for_itself",
            f"{CHAIN}::test_a_message_opens_once_and_in_its_place_only",
        ],
        "hold back what others say": [
            "unit/member/test_member_folding.py::test_a_screen_has_one_row_that_counts",
            f"{PEOPLE}::test_a_flood_of_keys_leaves_one_row_and_the_history",
        ],
        "end another's connection": [
            f"{RELAY}::TestEnding::test_no_flood_of_keys_ends_its_victim",
            "unit/relay/test_relay_limits.py::TestRecords::test_nobody_is_given_more_keys_than_it_counted",
        ],
        "keep it out, by keys, told passwords": [
            f"{PEOPLE}::test_a_liar_in_four_guises_keeps_nobody_offline",
            "unit/member/test_member_passwords.py::test_no_lie_locks_out",
        ],
        "sockets": [
            "e2e/test_e2e_strangers.py::test_silent_sockets_of_one_address_keep_nobody_out"
        ],
        "take a name that looks like a word of the program's": [
            "unit/test_names.py::test_what_is_refused_is_refused_at_both_ends",
        ],
        "fill what another keeps": [
            "unit/member/test_member_pinning.py::test_no_room_is_told",
            "unit/member/test_member_pinning.py::test_who_says_nothing_and_does_not_stay_is_not_kept",
            "unit/member/test_member_folding.py::test_it_is_bounded",
            f"{READER}::TestLines::test_a_number_is_new_once",
        ],
    },
    "removed member": {
        "read messages sealed after the sender saw its LEAVE": [
            f"{REMOVED}::test_who_was_removed_opens_nothing_later",
            f"{OUTBOX}::TestChains::test_a_new_chain_when_a_holder_leaves",
        ],
    },
    "later thief of an identity file": {
        "decrypt anything recorded": [
            f"{REMOVED}::test_whoever_takes_an_identity_file_opens_nothing_recorded",
        ],
    },
    "thief of the file of relays (8)": {
        "read anything": [f"{NOISE}::test_a_frame_of_another_connection_does_not_open"],
        "learn SECRET or a password": [
            "e2e/test_e2e_start.py::test_the_client_alone_asks_and_then_offers_what_it_kept",
        ],
    },
    "thief of a client's memory": {
        "read earlier messages": [
            f"{REMOVED}::test_what_was_read_is_not_in_the_memory_of_a_client",
        ],
        "if it stays passive, read on once its card, then the chains, have rotated (≤ 48 h)": [
            f"{OUTBOX}::TestChains::test_a_new_chain_after_a_day",
            f"{OUTBOX}::TestCards::test_a_card_is_replaced_after_a_day_and_the_old_key_opens_ten_minutes_more",
            f"{OUTBOX}::TestCards::test_others_seal_to_the_new_card",
        ],
    },
    "thief of the relay's key file": {
        "decrypt recorded transport frames": [
            f"{NOISE}::test_a_replayed_message_1_shows_its_ephemeral_and_gives_another_connection",
        ],
        "read content": ["e2e/test_e2e_blind.py::test_nothing_said_is_in_the_memory_of_the_relay"],
    },
    "recorder with a later quantum computer": {
        "read content": [
            "unit/crypto/test_crypto_primitives.py"
            "::test_whoever_breaks_one_half_of_a_card_key_opens_nothing",
        ],
        "without KEY, read transport": [
            f"{NOISE}::test_message_1_takes_key_password_and_prologue",
        ],
    },
}


def told() -> dict[str, str]:
    """The cells *cannot* of PROTOCOL.md 1, by attacker."""
    text = (ROOT / "common" / "PROTOCOL.md").read_text()
    section = text.partition("## 1. ")[2].partition("## 2. ")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$", section, re.MULTILINE)
    return dict(rows[1:])  # the first is the head


@cache
def defined(path: str) -> frozenset[str]:
    """The tests of a file: `name` or `Class::name`."""
    names: set[str] = set()
    for node in ast.parse((ROOT / "tests" / path).read_text()).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}::{method.name}"
                for method in node.body
                if isinstance(method, ast.FunctionDef)
            }
    return frozenset(names)


def test_every_attacker_has_a_row() -> None:
    assert CLAIMS.keys() == told().keys()


@pytest.mark.parametrize("attacker", CLAIMS)
def test_every_clause_has_its_tests(attacker: str) -> None:
    left = told()[attacker]
    for clause, tests in CLAIMS[attacker].items():
        assert clause in left, clause
        left = left.replace(clause, "", 1)
        assert tests, clause
        for test in tests:
            path, _, name = test.partition("::")
            assert name.rpartition("::")[2].startswith("test_")
            assert name in defined(path), test
    assert re.fullmatch(r"(?:[,; ]|\bor\b|\band\b)*", left), f"without a test: {left}"
