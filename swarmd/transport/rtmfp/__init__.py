"""Sessions over UDP: RFC 7016, the Secure Real-Time Media Flow Protocol, without the socket.

`vlu`, `options`, `packet` and `chunks` are its bytes; what seals a packet and keys a session is a *crypto profile*
(`profile`; ours is `noise`). An endpoint has many sessions, a session has flows in both directions, and a flow is a
sequence of messages with a priority and a reliability of its own. No socket is touched here: see `swarmd.net`.
"""
