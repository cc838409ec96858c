"""Version 1 of the contract: `forward.proto`, the code generated from it, and `wire`."""
