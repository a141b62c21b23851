"""``nfd play --web``: worlds to play in a browser, several visitors at a time.

From the inside out: :mod:`~nfd_env.web.engine` (a thread that steps everybody's streams in one
batch), :mod:`~nfd_env.web.choices` (what visitors may choose),
:mod:`~nfd_env.web.timeline` (the tree of what a visitor has seen),
:mod:`~nfd_env.web.visitor` (one visitor's way through it), :mod:`~nfd_env.web.lobby` (who is here),
:mod:`~nfd_env.web.guard` (who may come in) and :mod:`~nfd_env.web.app` (HTTP and WebSockets).
"""
