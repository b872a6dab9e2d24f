"""Tests of the Galaxy tools that need no server."""
