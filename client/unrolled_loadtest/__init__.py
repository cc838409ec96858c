"""The load tester: honest numbers about a server that speaks the contract.

A package of its own because it is a tool and not a part of the SDK: calls do not need it, and it needs more
than they do.
"""
