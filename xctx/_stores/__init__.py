"""The stores: xlocal (scoped, read-only names) and local (mutable attributes).

From the ground up; each file uses only those before it:

names.h .pxd                  names of attributes: interned, reserved, of the class str itself
links.h .c                    chains of objects that are freed in a loop
getattro.h .c                 attribute look-ups that fail fast
fields.py                     names whose values a default_factory makes
declare.py                    the names that a subclass of xlocal declares by annotating them
bindings.pyx .pxd .pyi        the chain of bindings: immutable records of names and values
chains.pyx .pxd .pyi          chains of bindings in contexts: the variables that hold them, errands to other contexts
generators.h .c               in which generator a binding is made, and whether that generator runs
seen.pyx .pxd .pyi            what the current unit sees of a chain
blocks.pyx .pxd .pyi          how a block puts bindings into a context, and takes them out
transparent.py                generators that bind for their caller
pairing.h .c                  matches the two methods of one with statement
statements.pyx .pxd .pyi      with statements, and exits by hand: which block an exit ends
scopes.pyx .pxd .pyi          scopes: names and values to be bound for any number of blocks
unit_table.pxd                the hash table in which a unit finds what stores keep for it
values.pyx .pxd .pyi          unit values: what one store keeps for one unit
context_values.pyx .pxd .pyi  context values: what a store keeps in a context, under a key that has no units
inherited.pyx .pyi .h         threads that inherit a context: nothing in it is seen under the key `flow`
unseen.pyx .pxd .pyi          why a name is not seen: what errors say
xlocal.pyx .pxd .pyi          xlocal
works.pyx .pxd .pyi           units of work: how they are opened, found and ended
context_dict.py .pyi          the ``__dict__`` of a local whose values lie in a context
local.pyx .pxd .pyi           local
inspection.pyx .pyi           what stores keep for which units, for xctx.debug
"""
