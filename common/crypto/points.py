"""Which 32 bytes are no public key, though every library loads them."""

from __future__ import annotations

_P = 2**255 - 19
# u and y of order 8: the former on the curve or its twist ("How do I validate Curve25519 public
# keys?", https://cr.yp.to/ecdh.html), the latter on the curve (RFC 8032 5.1; the list is that of
# libsodium's ge25519_has_small_order). The other two of either are its inverse, and its negative.
_U_8 = 0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0
_Y_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_U = {0, 1, _P - 1, _U_8, pow(_U_8, -1, _P)}
_SMALL_ORDER_Y = {0, 1, _P - 1, _Y_8, _P - _Y_8}


def has_small_order(public: bytes) -> bool:
    """Tell whether an X25519 key makes every shared secret zero; a probe would cost an exchange."""
    # The top bit is ignored, and what is left need not be reduced (RFC 7748 5).
    return int.from_bytes(public, "little") % 2**255 % _P in _SMALL_ORDER_U


def is_identity(public: bytes) -> bool:
    """Tell whether an Ed25519 key may be somebody's (PROTOCOL.md 4.2).

    Under one of small order a signature fits many messages, or all. One that is not canonical
    (RFC 8032 5.1.3) is the same key in other bytes: two pins, two bans. Whether the bytes are on
    the curve is left to the first signature, which else does not verify.
    """
    # x is 0 only where y is 1 or -1, so the one wrong sign that is left has small order.
    y = int.from_bytes(public, "little") % 2**255
    return y < _P and y not in _SMALL_ORDER_Y
