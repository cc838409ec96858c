"""Request bytes to jobs: parsing and every rule of the contract."""
