"""Ray Serve's side: what stands where the server's own port would, on both ends of Serve's way.

The only room beside `ray_app` that knows how Serve passes calls on. It imports nothing of Ray: Serve is told
of it by names, and calls it.
"""
