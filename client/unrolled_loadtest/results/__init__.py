"""Results of a run: histograms, records and their aggregation."""
