"""The command `unrolled-map`: runs every text of a corpus through networks with Ray Data."""
