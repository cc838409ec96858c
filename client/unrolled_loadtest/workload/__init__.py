"""What a run sends and when: arrivals, distributions and words."""
