"""The control socket: how local programs, and the command line first of all, talk to the daemon.

JSON-RPC 2.0, one JSON object a line, on a Unix socket. `schema` is the one table of methods that the
server, both clients and the command line read; `server` and `dispatch` serve it; `client` (blocking) and
`async_client` call it. What a method does is not here: the daemon passes its handlers in.
"""
