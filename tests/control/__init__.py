"""Tests of the control socket: a real server on a real Unix socket, with small handlers of their own."""
