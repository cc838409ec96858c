"""Open-loop load tester for servers that speak the contract."""
