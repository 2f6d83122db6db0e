"""The ``__dict__`` of a local under the keys `flow` and `context`."""

# Underscored for a cheap start: each interpreter has this loaded, but not `collections` and `typing`. The types are in
# the stub for the same reason.
from _collections_abc import MutableMapping


class ContextDict(MutableMapping):
    """Reads and changes what a store keeps in the current context.

    Args:
        names: gives a new dict of it.
        put: sets one name to a value.
        publish: replaces all of it by a dict.
    """

    __slots__ = ("_names", "_publish", "_put")

    def __init__(self, names, put, publish):
        self._names = names
        self._put = put
        self._publish = publish

    def __getitem__(self, name):
        return self._names()[name]

    def __setitem__(self, name, value):
        self._put(name, value)

    def __delitem__(self, name):
        names = self._names()
        del names[name]
        self._publish(names)

    def __iter__(self):
        return iter(self._names())

    def __len__(self):
        return len(self._names())

    def copy(self):
        return self._names()

    def __repr__(self):
        return repr(self._names())
