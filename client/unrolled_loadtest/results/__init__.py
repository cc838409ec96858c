"""Results of a run: histograms, counts, and the record that reports are made from."""
