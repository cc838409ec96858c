"""The three RPC methods: the request pipeline, streams, the reply cache and the reply writer."""
